"""Hosts: what they have, what is claimed on them, whether they live, and what they still owe."""
