"""The tests; their processes hold the libraries to one thread.

Some of those processes run at once, and threads that spin while they wait for a core cost each other
more than they bring: the chroma's tests took 13 s of CPU time instead of 6. What a test starts has
the threads that it is told to have.
"""

import os

# Before numpy or torch is imported: later, nobody reads it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
