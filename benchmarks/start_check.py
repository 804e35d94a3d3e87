"""What it costs a start to see whether published outputs were touched.

    python -m benchmarks.start_check --folders 100000 --out /dev/shm

Against the cheapest look there is, whether each manifest is there. With --cold (root) also after the
kernel's caches were emptied: of the whole machine.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.artifacts import TRACKS, OutputFolder, settle

STAGES = ("loudness", "onsets", "chroma", "spectral", "separation")
FILES = ("features.json", "frames.npz", "manifest.json")
TRACKS_PER_ALBUM = 12


def make(out: OutputFolder, count: int) -> list[tuple[bytes, str, str]]:
    """Make folders of two files and a manifest; only their names and times matter."""
    jobs = []
    for number in range(count):
        track, stage = divmod(number, len(STAGES))
        folder = f"album {track // TRACKS_PER_ALBUM:05}/{track:06} a title.flac".encode()
        jobs.append((folder, STAGES[stage], "mix"))
        place = out.stage(*jobs[-1])
        place.mkdir(parents=True)
        for name in FILES:
            (place / name).write_bytes(bytes(300))
        settle(place, place.stat().st_mtime_ns)
    return jobs


def seconds(
    look: Callable[[bytes, str, str], bool],
    jobs: list[tuple[bytes, str, str]],
    clock: Callable[[], float],
) -> float:
    """Look at every folder once; return how long it took by a clock."""
    started = clock()
    assert all(look(*job) for job in jobs)
    return clock() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--folders", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--cold", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.out) as place:
        out = OutputFolder(Path(place))
        jobs = make(out, asked.folders)

        def is_there(folder: bytes, stage: str, scope: str) -> bool:
            return os.path.exists(f"{place}/{TRACKS}/{os.fsdecode(folder)}/{stage}/manifest.json")

        for name, look in (("manifest is there", is_there), ("untouched", out.is_untouched)):
            # Nothing waits for a disk then: CPU time, which a busy machine changes less.
            warm = sorted(seconds(look, jobs, time.process_time) for _ in range(asked.runs))
            print(f"{name}: {warm[len(warm) // 2]:.2f} s of CPU, median of {asked.runs}", end="")
            if asked.cold:
                os.sync()
                Path("/proc/sys/vm/drop_caches").write_text("3")
                print(f", {seconds(look, jobs, time.perf_counter):.2f} s cold", end="")
            print()


if __name__ == "__main__":
    main()
