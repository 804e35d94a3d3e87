"""Is the fault suite awake? Breaks a copy of the project in ways that lose work, and runs the suite on it.

    python -m tests.faults.mutants

Each mutant must turn tests red; one that none of them notices is a hole in the suite. Exit code 1
then.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Mutant:
    """A change of one place in one file, and the part of the suite that must notice it."""

    name: str
    file: str
    old: str
    new: str
    rows: str


MUTANTS = [
    Mutant(
        "fsync does nothing",
        "pipeline/artifacts.py",
        "        os.fsync(descriptor)\n",
        "        pass\n",
        "B1 and lane",
    ),
    Mutant(
        "the rename before the manifest",
        "pipeline/artifacts.py",
        "    write_synced(attempt / manifests.FILE_NAME, text)\n",
        "    put_in_place(attempt, target, out=out)\n"
        "    attempt.symlink_to(target)\n"
        "    write_synced(attempt / manifests.FILE_NAME, text)\n"
        "    attempt.unlink()\n"
        "    return manifests.read(target)[1]\n",
        "B1 and replaced",
    ),
    Mutant(
        "the lane does not hold the lock",
        "pipeline/lane.py",
        "    lock_descriptor = int(sys.argv[3])\n",
        "    lock_descriptor = os.open(f'/proc/self/fd/{sys.argv[3]}', os.O_RDWR)\n"
        "    os.close(int(sys.argv[3]))\n",
        "D2",
    ),
    Mutant(
        "deaths counted at the claim",
        "pipeline/ledger/jobs.py",
        ".values(state=State.RUNNING)",
        ".values(state=State.RUNNING, deaths=jobs.c.deaths + 1)",
        "A8 or A2 and sendto",
    ),
]


def main() -> int:
    """Try every mutant; print what became of each."""
    asleep = 0
    for mutant in MUTANTS:
        red, green = _outcome(mutant)
        verdict = f"{red} tests turn red" if red else "NOBODY NOTICES"
        print(f"{mutant.name:<34}{verdict} ({red + green} run: {mutant.rows})", flush=True)
        asleep += not red
    return 1 if asleep else 0


def _outcome(mutant: Mutant) -> tuple[int, int]:
    with tempfile.TemporaryDirectory(prefix="nightshift-mutant-") as folder:
        copy = Path(folder) / "main"
        left_out = shutil.ignore_patterns(".*", "__pycache__", "demo-music")
        shutil.copytree(ROOT, copy, ignore=left_out)
        file = copy / mutant.file
        text = file.read_text(encoding="utf-8")
        if text.count(mutant.old) != 1:
            raise SystemExit(f"{mutant.name}: {mutant.file} has not one place {mutant.old!r}")
        file.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-P", "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider",
             "--rootdir", str(copy), "tests/faults", "-k", mutant.rows],
            cwd=copy, env={"PATH": _path(), "PYTHONPATH": str(copy)}, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
    counted = {
        word: int(number)
        for number, word in re.findall(r"(\d+) (passed|failed|error)", done.stdout)
    }
    red, green = counted.get("failed", 0) + counted.get("error", 0), counted.get("passed", 0)
    if not red + green:
        raise SystemExit(f"{mutant.name}: nothing ran\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return red, green


def _path() -> str:
    return f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


if __name__ == "__main__":
    sys.exit(main())
