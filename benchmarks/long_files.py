"""What a file takes of memory in a lane, by the length of the file.

    python -m benchmarks.long_files --minutes 4 60 600
    python -m benchmarks.long_files --minutes 4 --model full.safetensors
    python -m benchmarks.long_files --minutes 4 180 600 --stages loudness,onsets,chroma,spectral

Separation without `--model`: a network of htdemucs' segments but few channels, so that ten hours
take minutes.
Each file goes through `pipeline run` as a whole; the memory of the lane is looked at ten times a
second.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import psutil
import soundfile as sf

from benchmarks.music_clips import clip
from pipeline.music.synth import RATE_HZ
from tests.models import write_model

_TINY: dict[str, object] = {"channels": 8, "t_layers": 1, "t_heads": 4, "segment": Fraction(39, 5)}


def main() -> None:
    """Make the files, separate them, print a line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=int, nargs="+", default=[4, 60, 600])
    parser.add_argument("--at", type=Path, default=None, help="Where files and stems are put.")
    parser.add_argument("--model", type=Path, default=None, help="As for `pipeline run`.")
    parser.add_argument("--stages", default="separation", help="As for `pipeline run`.")
    asked = parser.parse_args()
    print("minutes  seconds  peak MB  MB at 10, 50 and 90 %")
    for minutes in asked.minutes:
        with tempfile.TemporaryDirectory(dir=asked.at) as folder:
            model = asked.model or write_model(Path(folder) / "tiny.safetensors", _TINY)
            print(_line(minutes, Path(folder), model, asked.stages), flush=True)


def _line(minutes: int, folder: Path, model: Path, stages: str) -> str:
    dataset = folder / "music"
    dataset.mkdir()
    _write(dataset / "long.flac", minutes)
    watch = _Watch()
    started = time.monotonic()
    run = subprocess.Popen(
        [
            sys.executable, "-m", "pipeline", "run", str(dataset), "--stages", stages,
            "--model", str(model), "--set", "decode.max_bytes=100000000000",
            "--set", "decode.max_duration_s=86400",
        ],
        env=os.environ,
    )  # fmt: skip
    watch.over(run)
    if run.returncode:
        raise SystemExit(f"the run of {minutes} minutes ended with {run.returncode}")
    places = [watch.megabytes[len(watch.megabytes) * share // 10] for share in (1, 5, 9)]
    at = ", ".join(f"{place:.0f}" for place in places)
    return f"{minutes:7} {time.monotonic() - started:8.0f} {max(watch.megabytes):8.0f}  {at}"


def _write(path: Path, minutes: int) -> None:
    """Write a minute of music again and again: every minute another level."""
    music = clip(1, seconds=60).T
    with sf.SoundFile(path, "w", RATE_HZ, 2, subtype="PCM_16") as file:
        for minute in range(minutes):
            file.write(music * np.float32(0.1 + 0.9 * (minute % 7) / 7))


class _Watch:
    """The memory of a run's lane while it lives."""

    def __init__(self) -> None:
        self.megabytes: list[float] = []

    def over(self, run: subprocess.Popen[bytes]) -> None:
        """Look until the run has ended."""
        ended = threading.Event()
        looking = threading.Thread(target=self._look, args=(run.pid, ended))
        looking.start()
        run.wait()
        ended.set()
        looking.join()

    def _look(self, pid: int, ended: threading.Event) -> None:
        while not ended.wait(0.1):
            for child in psutil.Process(pid).children():
                try:
                    if "pipeline.lane" in child.cmdline():
                        self.megabytes.append(child.memory_info().rss / 1e6)
                except psutil.Error:
                    continue  # it has just ended


if __name__ == "__main__":
    main()
