"""Servers: what a tenant asked for, the phase it is in, and the guests that realise it on hosts."""
