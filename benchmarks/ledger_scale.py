"""What a ledger of 1,000,000 jobs costs: the commands that read it, a start on it, a job in it.

    python -m benchmarks.ledger_scale --jobs 1000000

Makes the ledger in bulk through the real schema (ten jobs a track, states as in the fourth night) and
removes it in the end. Commands are timed as whole processes, in turn with the same command on a
ledger of ten tracks: the difference is what the size costs. Nothing of the audio or of the outputs is
on disk; where a start would look at them, that is replaced and timed by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from typing import cast

from benchmarks.ledger_methods import (
    PLAN_TRACKS,
    forget,
    names_of,
    print_whole,
    read_plans,
    remember,
    run_plans,
    time_looking,
    time_methods,
    time_reading,
)
from pipeline import artifacts
from pipeline.ledger import Ledger
from pipeline.ledger.connect import FILE_NAME
from pipeline.machine import Machine
from stages.base import JsonValue
from tests.big_ledger import (
    JOBS_PER_TRACK,
    REGISTRY,
    make_ledger,
)

ROOT = Path(__file__).parent.parent
SMALL_TRACKS = 10


# ---- commands, as whole processes


def spent(command: list[str], *, registry: str = REGISTRY) -> tuple[float, int]:
    """Run a `pipeline` command; return its seconds and its highest memory in bytes."""
    started = time.monotonic()
    process = start(command, registry=registry)
    peak = 0
    while process.poll() is None:
        peak = max(peak, peak_bytes(process.pid))
        time.sleep(0.005)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return time.monotonic() - started, peak


def peak_bytes(pid: int) -> int:
    """Return the highest memory of a live process; `ru_maxrss` would count its parent's too."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in status.splitlines() if "VmHWM" in line)


def start(command: list[str], *, registry: str) -> subprocess.Popen[bytes]:
    """Start a `pipeline` command."""
    environment = {**os.environ, "NIGHTSHIFT_REGISTRY": registry, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", *command],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def time_commands(big: Path, small: Path, tracks: int, runs: int) -> None:
    """Time the reading commands on both ledgers, in turn."""
    middle = tracks // 2
    wanted: list[tuple[str, list[str]]] = [
        ("status", ["status"]),
        ("status --json", ["status", "--json"]),
        *((f"show {how}", ["show", how]) for how in names_of(middle)),
        ("tracks --state failed", ["tracks", "--state", "failed"]),
        ("tracks --state done", ["tracks", "--state", "done"]),
    ]
    for shown, (command, *options) in wanted:
        seconds: dict[Path, list[float]] = {big: [], small: []}
        peak = 0
        for _ in range(runs):
            for dataset, track in ((big, middle), (small, SMALL_TRACKS // 2)):
                words = [command, str(dataset), *(names_of(track).get(one, one) for one in options)]
                took_s, bytes_ = spent(words)
                seconds[dataset].append(took_s)
                peak = max(peak, bytes_)
        whole_s = statistics.median(seconds[big])
        besides = whole_s - statistics.median(seconds[small])
        print(
            f"pipeline {shown:24} {whole_s:6.2f} s, {besides:6.3f} s besides start-up, "
            f"peak {peak / 1e6:.0f} MB",
            flush=True,
        )


def time_cold(big: Path, runs: int) -> None:
    """Time `status` with nothing of the ledger in the machine's memory."""
    seconds = []
    for _ in range(runs):
        forget(big / "_pipeline" / FILE_NAME)
        seconds.append(spent(["status", str(big)])[0])
    print(
        f"pipeline status, the ledger not in memory: {statistics.median(seconds):.2f} s", flush=True
    )


def time_starts(big: Path, tracks: int, runs: int) -> None:
    """Time a run from its command to its first claim, and end it there."""
    make_files(big, tracks)
    out, ledger = big / "_pipeline", big / "_pipeline" / FILE_NAME
    for how, crashed in (("a run that ended", False), ("a crash", True)):
        seconds, peak = [], 0
        for _ in range(runs):
            shutil.copy(ledger, out / "kept")
            os.sync()  # else the first commit waits for the copy
            remember(ledger)
            machine = Machine.read(out)
            machine.ledger = None if crashed else cast("list[JsonValue]", Ledger.seal(ledger))
            machine.save(artifacts.replace_json)
            took_s, bytes_ = time_a_start(big)
            seconds.append(took_s)
            peak = max(peak, bytes_)
            for name in ("", "-wal", "-shm"):
                (out / f"{FILE_NAME}{name}").unlink(missing_ok=True)
            os.rename(out / "kept", ledger)
        print(
            f"pipeline run up to the first claim, after {how}, outputs not looked at: "
            f"{statistics.median(seconds):.2f} s, peak {peak / 1e6:.0f} MB",
            flush=True,
        )


def time_a_start(big: Path) -> tuple[float, int]:
    """Return the seconds to the first claim of a run, and its highest memory in bytes until then."""
    started = time.monotonic()
    run = start(["run", str(big)], registry="tests.untouched:STAGES")
    log = wait_for_lane(big, started)
    took_s, peak = time.monotonic() - started, peak_bytes(run.pid)
    run.kill()
    run.wait()
    log.unlink()
    return took_s, peak


def make_files(dataset: Path, tracks: int) -> None:
    """Put sparse files in place of the audio, and tell the ledger how they look."""
    with Ledger.open(dataset / "_pipeline" / FILE_NAME) as ledger:
        engine = ledger._transactions._engine
        with engine.begin() as tx:
            rows = tx.exec_driver_sql("SELECT id, path FROM paths WHERE missing = 0").all()
        found = []
        for number, path in rows:
            file = dataset / os.fsdecode(path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
            stat = os.stat(file)
            found.append((stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, number))
        with engine.begin() as tx:
            tx.exec_driver_sql(
                "UPDATE paths SET size_bytes = ?, mtime_ns = ?, ctime_ns = ?, inode = ? WHERE id = ?",
                found,
            )


def wait_for_lane(dataset: Path, started: float) -> Path:
    """Wait until the log of a run says that a lane was started: its first claim is committed."""
    while time.monotonic() - started < 600:
        for log in (dataset / "_pipeline" / "logs").glob("*.jsonl"):
            for line in log.read_text().splitlines():
                if json.loads(line)["event"] == "lane_started":
                    return log
        time.sleep(0.02)
    raise SystemExit("the run started no lane")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--at", type=Path, default=Path(tempfile.gettempdir()))
    asked = parser.parse_args()
    tracks = asked.jobs // JOBS_PER_TRACK
    os.environ["NIGHTSHIFT_REGISTRY"] = REGISTRY
    with tempfile.TemporaryDirectory(dir=asked.at) as folder:
        big, small, other = (Path(folder) / name for name in ("big", "small", "other"))
        started = time.monotonic()
        for dataset, count in ((big, tracks), (small, SMALL_TRACKS), (other, PLAN_TRACKS)):
            # In a process of its own, so that its memory is not ours.
            making = get_context("spawn").Process(target=make_ledger, args=(dataset, count))
            making.start()
            making.join()
        size = (big / "_pipeline" / FILE_NAME).stat().st_size
        print(
            f"{tracks * JOBS_PER_TRACK} jobs of {tracks} tracks: {size / 1e6:.0f} MB, "
            f"made in {time.monotonic() - started:.0f} s",
            flush=True,
        )
        time_commands(big, small, tracks, asked.runs)
        time_reading(big, tracks // 2, asked.runs)
        time_cold(big, asked.runs)
        print_whole("status and show", read_plans(other))
        time_looking(Path(folder) / "outputs")
        time_methods(big, tracks, jobs=200)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(f"peak memory of all methods: {peak / 1e6:.0f} MB")
        print_whole("start, run and end", run_plans(other))
        time_starts(big, tracks, runs=min(asked.runs, 3))


if __name__ == "__main__":
    main()
