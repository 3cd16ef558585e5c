"""Task engines: one interface for independent tasks, run in processes of this machine or on a Ray cluster."""
