"""Aggregates: hosts that operators gather under a name, with metadata that steers the scheduler, or as a zone."""
