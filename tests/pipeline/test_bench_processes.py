"""What a measured process took is that of its whole tree."""

from __future__ import annotations

import os
import subprocess
import sys

from pipeline.bench.processes import spent

PEAK = """
import os, sys
from pipeline.bench.processes import spent
commands = [[sys.executable, "-c", code] for code in sys.argv[1:]]
print(spent(commands, environment=os.environ, what="this").peak_bytes)
"""


def child(code: str) -> str:
    """Code that runs code in a process of its own."""
    return f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}], check=True)"


def peak_bytes(*codes: str) -> int:
    """Measured by a small process: a child's memory counts from that of its parent on."""
    return int(subprocess.check_output([sys.executable, "-c", PEAK, *codes]))


def test_the_highest_memory_is_that_of_the_largest_of_all_processes() -> None:
    large = child("held = b'x' * 200_000_000")

    assert 200e6 < peak_bytes(large, "pass") < 260e6
    assert peak_bytes("pass") < 100e6


def test_the_cpu_time_of_a_childs_children_counts() -> None:
    busy = child("import time\nwhile time.process_time() < 0.4: pass")

    took = spent([[sys.executable, "-c", busy]] * 2, environment=os.environ, what="this")

    assert 0.8 < took.cpu_s < took.wall_s
