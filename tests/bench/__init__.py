"""The figures of SPECIFICATION.md, measured: `python -m tests.bench`."""
