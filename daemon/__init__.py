"""When and where: the edges that touch sockets, clocks, processes and the store."""

__version__ = "0.1.0"
