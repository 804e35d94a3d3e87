"""How a separation fares beside a program that computes, by how long its threads spin while they wait.

    python -m benchmarks.beside_others clips/20s-1.wav --model full.safetensors --runs 5

Fresh processes in turn: GNU OpenMP's own number of turns (300,000) and those that are given, alone
and beside one process that keeps a core busy in a session of its own, as a program on a desktop is.
Prints the times real time of each run and their median; eight seconds are computed once before.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from pipeline.threads import budget, variables

_OWN = "its own"


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--model", required=True, help="As for `pipeline run`.")
    parser.add_argument("--spins", nargs="+", default=["100", "1000", "10000"])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.once:
        print(_speed(asked.file, asked.model))
        return
    for busy in (0, 1):
        found: dict[str, list[float]] = {spins: [] for spins in (_OWN, *asked.spins)}
        with _computing(busy):
            for _ in range(asked.runs):
                for spins, speeds in found.items():
                    speeds.append(_in_a_process(asked.file, asked.model, spins))
        for spins, speeds in found.items():
            every = ", ".join(f"{speed:.2f}" for speed in speeds)
            print(
                f"{busy} busy beside it, {spins:>7} turns: {statistics.median(speeds):.2f} ({every})",
                flush=True,
            )


@contextlib.contextmanager
def _computing(processes: int) -> Iterator[None]:
    loop = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(loop, start_new_session=True) for _ in range(processes)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def _in_a_process(file: Path, model: str, spins: str) -> float:
    environment = {**os.environ, **variables(budget())}
    environment.pop("GOMP_SPINCOUNT", None)
    if spins != _OWN:
        environment["GOMP_SPINCOUNT"] = spins
    command = [sys.executable, "-m", "benchmarks.beside_others", file, "--model", model, "--once"]
    answer = subprocess.run(
        command, env=environment, start_new_session=True, capture_output=True, text=True, check=True
    )
    return float(answer.stdout)


def _speed(file: Path, model: str) -> float:
    """Return how many times real time a file is separated at, in this process."""
    import torch

    from stages.cpu_switches import keep_memory, multiply_with_onednn
    from stages.decode import decode
    from stages.demucs_loader import load_model
    from stages.separation import separate
    from stages.weights import find_model

    torch.set_num_threads(budget())
    keep_memory()
    multiply_with_onednn()
    loaded = load_model(find_model(model))
    audio = decode(os.fsencode(file)).audio
    separate(loaded, audio.samples[:, : 8 * audio.sample_rate_hz])
    began = time.perf_counter()
    separate(loaded, audio.samples)
    return audio.duration_s / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
