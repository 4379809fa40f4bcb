"""Pure vocabulary shared by every layer: no I/O, no asyncio, no clock of its own."""
