"""What one damaged file among twenty costs a run of the separation.

    python -m benchmarks.one_bad_file --model full.safetensors --runs 3

Whole processes in turn: nineteen good clips, and the same nineteen with a twentieth that is cut off
in the middle. Each clip fits into one segment. Prints the seconds of both and the median of their
ratios.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile as sf

_RATE_HZ = 44_100
_CLIP_S = 5
_GOOD = 19
_ENDED_WITH_FAILED_TRACKS = 1


def main() -> None:
    """Make both datasets, run on each in turn, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="As for `pipeline run`.")
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        good, mixed = Path(folder) / "good", Path(folder) / "mixed"
        _make_clips(good)
        shutil.copytree(good, mixed)
        _cut_off(good / "00.wav", mixed / "09-bad.wav")
        print("run  19 good  with a damaged one  ratio")
        ratios = []
        for number in range(asked.runs):
            alone_s = _seconds(good, asked.model, expected=0)
            beside_s = _seconds(mixed, asked.model, expected=_ENDED_WITH_FAILED_TRACKS)
            ratios.append(beside_s / alone_s)
            print(
                f"{number + 1:3}  {alone_s:7.1f}  {beside_s:18.1f}  {ratios[-1]:5.3f}", flush=True
            )
        print(f"median ratio {statistics.median(ratios):.3f}")


def _make_clips(folder: Path) -> None:
    folder.mkdir()
    for number in range(_GOOD):
        noise = np.random.default_rng(number).standard_normal((_CLIP_S * _RATE_HZ, 2))
        sf.write(folder / f"{number:02}.wav", 0.1 * noise.astype(np.float32), _RATE_HZ)


def _cut_off(good: Path, bad: Path) -> None:
    """Write the first half of a file, whose header promises all of it."""
    content = good.read_bytes()
    bad.write_bytes(content[: len(content) // 2])


def _seconds(dataset: Path, model: str, *, expected: int) -> float:
    out = dataset.with_suffix(".out")
    shutil.rmtree(out, ignore_errors=True)
    command = [
        sys.executable, "-m", "pipeline", "run", str(dataset), "--out", str(out),
        "--stages", "separation", "--model", model,
    ]  # fmt: skip
    started = time.monotonic()
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True)
    if done.returncode != expected:
        raise SystemExit(f"ended with {done.returncode}, not {expected}: {done.stderr}")
    return time.monotonic() - started


if __name__ == "__main__":
    main()
