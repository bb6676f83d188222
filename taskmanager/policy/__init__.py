"""Pure rules: no I/O, no clock, no asyncio, no randomness but what is handed in."""
