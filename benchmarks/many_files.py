"""How soon a first run works, and what rescan, plan and mending cost, on a tree of many files.

    python -m benchmarks.many_files --files 100000           # first job: the real loudness stage
    python -m benchmarks.many_files --files 100000 --all     # and, done once with a tiny stage, the rest

The first file is 30 s of music; the others are WAVs of a few samples, no two alike.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import soundfile as sf

ROOT = Path(__file__).parent.parent


def make_tree(folder: Path, count: int) -> None:
    """Write a real file first, then tiny ones, a thousand to a folder."""
    chord = sum(np.sin(2 * np.pi * hz * np.arange(30 * 44100) / 44100) for hz in (220, 277, 330))
    sf.write(folder / "0 first.flac", 0.2 * np.asarray(chord), 44100)
    for number in range(1, count):
        if number % 1000 == 1:
            where = folder / f"{number // 1000:04}"
            where.mkdir()
        samples = struct.pack("<II", number, number ^ 0x55555555) * 2
        header = struct.pack(
            "<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(samples), b"WAVE", b"fmt ", 16, 1, 1, 8000, 16000, 2, 16,
            b"data", len(samples),
        )  # fmt: skip
        (where / f"{number:06}.wav").write_bytes(header + samples)


def start(dataset: Path, out: Path) -> subprocess.Popen[bytes]:
    """Start a run."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [
        sys.executable, "-m", "pipeline", "run", str(dataset), "--out", str(out), "--stages", "loudness",
    ]  # fmt: skip
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


def first_done_s(out: Path, started: datetime) -> float:
    """Wait for the first job of a run; return the seconds since its process was started."""
    while True:
        for log in (out / "logs").glob("*.jsonl") if (out / "logs").exists() else ():
            for line in log.read_text().splitlines():
                event = json.loads(line)
                if event["event"] == "job_done":
                    return (datetime.fromisoformat(event["utc"]) - started).total_seconds()
        time.sleep(0.05)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--at", type=Path, default=Path("/dev/shm"))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.at) as folder:
        dataset = Path(folder) / "music"
        dataset.mkdir()
        make_tree(dataset, asked.files)
        for number in range(3):
            out = Path(folder) / f"out{number}"
            started = datetime.now(UTC)
            run = start(dataset, out)
            print(
                f"first job of {asked.files} files: {first_done_s(out, started):.2f} s", flush=True
            )
            run.kill()
            run.wait()
        if asked.all:
            time_the_rest(dataset, Path(folder) / "out")


def time_the_rest(dataset: Path, out: Path) -> None:
    """Do everything once with a tiny stage; time what comes after that."""
    took("everything once", ["run", dataset], out)
    for _ in range(3):
        took("a run without changes", ["run", dataset], out)
    took("status", ["status", dataset], out)
    took("plan", ["plan", dataset], out)
    took("verify", ["verify", dataset], out)
    took("verify --hash", ["verify", "--hash", dataset], out)
    for manifest in (out / "tracks").rglob("manifest.json"):
        os.utime(manifest.parent)
    took("a run after every output folder was touched", ["run", dataset], out)
    took("a run after that", ["run", dataset], out)
    took("rebuild", ["rebuild", dataset], out)
    took("a run after that", ["run", dataset], out)


def took(what: str, command: Sequence[str | Path], out: Path) -> None:
    """Run a command to its end and say how long it took."""
    begun = time.monotonic()
    arguments = [sys.executable, "-m", "pipeline", *map(str, command), "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NIGHTSHIFT_REGISTRY": "tests.fakes:ONE"}
    done = subprocess.run(
        arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise SystemExit(f"{what} ended with {done.returncode}: {done.stderr}")
    print(f"{what}: {time.monotonic() - begun:.2f} s", flush=True)


if __name__ == "__main__":
    main()
