"""Translators between the cloud and the dialects that clients speak. They call services only."""
