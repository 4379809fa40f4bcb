"""Suites that nobody here wrote, run against a running kilonova by `make conformance`; counts go to docs/evidence."""
