"""Placement's API, versions 1.0 to 1.39."""
