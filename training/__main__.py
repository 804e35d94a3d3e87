"""Makes the model `nano`, from its songs to its file and what it is worth. Goes on where it stopped.

python -m training work/    # see docs/nano.md
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

# glibc gives large blocks back to the kernel when they are freed, and each comes back page by page,
# zeroed: without these a step takes half as long again.
_SURROUNDINGS = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(8 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(16 << 30),
    "MALLOC_TOP_PAD_": str(256 << 20),
    "OMP_NUM_THREADS": "1",  # every part has one song or example on each core
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


def main() -> None:
    """Render, train, evaluate."""
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("folder", type=Path)
    folder = given.parse_args().folder
    from training import evaluate, train  # once memory is as it should be

    train.train(folder, train.Settings())
    rows = list(evaluate.evaluate(str(folder / "nano.safetensors")))
    (folder / "results.json").write_text(json.dumps(rows, indent=0) + "\n", encoding="utf-8")
    print(evaluate.table(rows))


if __name__ == "__main__":
    if not _SURROUNDINGS.items() <= os.environ.items():
        os.execve(
            sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **_SURROUNDINGS}
        )
    main()
