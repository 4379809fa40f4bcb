"""Choosing a host: a pure function over arrays that also says why not. No SQL, no I/O."""
