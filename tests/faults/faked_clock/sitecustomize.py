"""Lets a process sleep under libfaketime.

Python sleeps until a moment of the monotonic clock, and libfaketime takes that moment for one of the
wall clock, also where it was told to leave the monotonic one alone: every `time.sleep` fails with
EINVAL. `select` waits for a length of time.
"""

import select
import time
from typing import SupportsIndex


def _sleep(seconds: float | SupportsIndex) -> None:
    select.select([], [], [], float(seconds))


time.sleep = _sleep
