"""The Compute API v2.1, as Nova speaks it: one file or folder per resource."""
