"""Verbs: one file each, and the only place where nouns meet."""
