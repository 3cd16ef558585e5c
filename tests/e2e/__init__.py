"""The whole daemon with real sockets and brokers, in this process or in processes of its own."""
