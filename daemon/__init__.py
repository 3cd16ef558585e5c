"""When and where: the edges that touch sockets, clocks, processes and the store."""

import os

# NumPy's linear algebra spins in idle threads: on two busy cores a fit of HAR takes ten times as long with two threads
# as with one. OpenBLAS reads the variable when NumPy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

__version__ = "0.1.0"
