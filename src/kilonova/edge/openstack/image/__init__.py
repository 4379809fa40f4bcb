"""The Image API v2 (Glance's)."""
