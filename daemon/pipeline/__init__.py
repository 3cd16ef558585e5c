"""The sans-I/O core: trades, answers and time in, events out. Nothing here reads a clock, a socket or a file."""
