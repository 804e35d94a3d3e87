"""A stage that uses a known amount of the processor on a known number of threads. A registry, too.

As many threads as OMP_NUM_THREADS says, as libraries have them; two where it says nothing. Setting
`shared`: whether they share the work, or each does all of it.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from pathlib import Path

from stages.base import Declaration, Facts, Scope, Stage, StageSettings, Track

CPU_S = 0.12
_BLOCK = bytes(1 << 20)  # hashing so much releases the interpreter's lock


class BurningSettings(StageSettings):
    shared: bool = True


class Burning(Stage[BurningSettings]):
    """Burns."""

    hears = ()

    def run(self, track: Track, out: Path) -> Facts:
        count = int(os.environ.get("OMP_NUM_THREADS", "2"))
        each_s = CPU_S / count if self.settings.shared else CPU_S
        threads = [threading.Thread(target=burn, args=(each_s,)) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (out / "done.txt").write_text("done")
        return {}


class Breaking(Burning):
    """Cannot be loaded."""

    def load(self) -> None:
        raise RuntimeError("there is nothing to burn")


def burn(cpu_s: float) -> None:
    """Use so much of the processor in this thread."""
    end = time.thread_time() + cpu_s
    while time.thread_time() < end:
        hashlib.sha256(_BLOCK)


def _declared(name: str, kind: str) -> Declaration:
    return Declaration(
        name=name,
        target=f"tests.burning:{kind}",
        version=1,
        lane="features",
        scopes=(Scope.MIX,),
        settings=BurningSettings,
        extra="features",
        libraries=("numpy",),
        parallel=True,
    )


STAGES = {"burning": _declared("burning", "Burning"), "breaking": _declared("breaking", "Breaking")}
