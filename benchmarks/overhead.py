"""What the frame itself costs: many tiny tracks, a stage that writes one small file.

    python -m benchmarks.overhead --tracks 2000 --runs 3

Prints jobs per second of whole runs, with the outputs where --out says, and on a tmpfs, where a sync
costs nothing. With --strace, the share of the time that the lane and the ledger wait for syncs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path

import numpy as np
import soundfile as sf

ROOT = Path(__file__).parent.parent
SYNCS = "fsync,fdatasync"


def make_tracks(folder: Path, count: int) -> None:
    """Write WAVs of 100 samples, no two alike, a hundred to a folder."""
    for number in range(count):
        where = folder / f"{number // 100:03}"
        where.mkdir(exist_ok=True)
        noise = np.random.default_rng(number).uniform(-0.5, 0.5, 100)
        sf.write(where / f"{number:05}.wav", noise, 8000)


def run_once(dataset: Path, out: Path, *, strace: Path | None = None) -> float:
    """Do one whole run; return the seconds from its first lane to its last job."""
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "pipeline", "run", str(dataset), "--out", str(out)]
    if strace is not None:
        traced = ["strace", "-f", "--seccomp-bpf", "-qq", "-T", "-e", f"trace={SYNCS}"]
        command = [*traced, "-o", str(strace), *command]
    environment = {**os.environ, "NIGHTSHIFT_REGISTRY": "tests.fakes:ONE", "PYTHONPATH": str(ROOT)}
    subprocess.run(command, env=environment, check=True, stderr=subprocess.DEVNULL)
    (log,) = (out / "logs").glob("*.jsonl")
    events = [json.loads(line) for line in log.read_text().splitlines()]
    first = next(event["utc"] for event in events if event["event"] == "lane_started")
    last = [event["utc"] for event in events if event["event"] == "job_done"][-1]
    return (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()


def sync_seconds(trace: Path) -> tuple[float, int]:
    """Sum the seconds in syncs, and count them."""
    spent = [
        float(line.rpartition("<")[2].rstrip(">\n"))
        for line in trace.read_text().splitlines()
        if line.endswith(">") and not line.endswith("unfinished ...>")
    ]
    return sum(spent), len(spent)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tracks", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--strace", action="store_true")
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(dir=asked.out) as disk,
        tempfile.TemporaryDirectory(dir="/dev/shm") as memory,
    ):
        dataset = Path(disk) / "music"
        dataset.mkdir()
        make_tracks(dataset, asked.tracks)
        for name, place in (("disk", Path(disk)), ("tmpfs", Path(memory))):
            seconds = [run_once(dataset, place / "out") for _ in range(asked.runs)]
            rates = ", ".join(f"{asked.tracks / one:.0f}" for one in sorted(seconds))
            median_s = statistics.median(seconds)
            print(
                f"{name}: {asked.tracks / median_s:.0f} jobs/s median ({rates}), "
                f"{median_s / asked.tracks * 1000:.2f} ms a job"
            )
        if asked.strace:
            trace = Path(disk) / "trace"
            total_s = run_once(dataset, Path(disk) / "out", strace=trace)
            spent_s, count = sync_seconds(trace)
            print(
                f"under strace: {count} syncs, {count / asked.tracks:.1f} a job, {spent_s:.2f} s of "
                f"{total_s:.2f} s: {spent_s / total_s:.0%}, {spent_s / count * 1000:.2f} ms each"
            )


if __name__ == "__main__":
    main()
