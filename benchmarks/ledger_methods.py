"""What single questions to a ledger cost, and how SQLite answers them. A part of `ledger_scale`."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path

from sqlalchemy import Engine

from pipeline.artifacts import OutputFolder
from pipeline.ledger import Ledger
from pipeline.ledger.connect import FILE_NAME, reader
from pipeline.ledger.files import SeenFile
from pipeline.ledger.jobs import Published
from pipeline.ledger.reading import Reading
from tests.big_ledger import STAGES, name_of, plan_of, sha256_of
from tests.plans import Statement, heard

BATCH = 500  # as the supervisor takes files in
FOLDERS = 2_000
PLAN_TRACKS = 500  # enough that every kind of job is there


def remember(file: Path) -> None:
    """Bring a file into the machine's memory."""
    with file.open("rb") as stream:
        while stream.read(1 << 20):
            pass


def forget(file: Path) -> None:
    """Drop a file from the machine's memory, as far as the kernel will."""
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def timed(what: str, *calls: Callable[[], object]) -> None:
    """Time each call and print it: the one, or the median and the longest of many."""
    taken_ms = []
    for call in calls:
        started = time.perf_counter()
        call()
        taken_ms.append((time.perf_counter() - started) * 1000)
    most = f", longest {max(taken_ms):.2f}, {len(taken_ms)} times" if len(taken_ms) > 1 else ""
    print(f"{what:44} {statistics.median(taken_ms):9.2f} ms{most}", flush=True)


def time_methods(dataset: Path, tracks: int, jobs: int) -> None:
    """Time what a start and a run ask of the ledger, each a transaction that waits for the disk."""
    planned = plan_of(dataset)
    stages = list(STAGES)
    path = dataset / "_pipeline" / FILE_NAME
    print(f"-- a start, on {path}")
    remember(path)
    timed("open, all pages looked through", lambda: Ledger.open(path, examine=True).close())
    forget(path)
    timed("the same, not in memory", lambda: Ledger.open(path, examine=True).close())
    remember(path)
    with Ledger.open(path) as ledger:
        timed("interrupt_running", ledger.queue.interrupt_running)
        timed("suspects, outputs not looked at", lambda: ledger.keeping.suspects(_untouched))
        timed("requeue", lambda: ledger.queue.requeue(planned))
        run = ledger.begin_run(host="here", pid=1, version="0", settings="{}")
        batches = list(_batches(tracks))
        timed(
            f"recognise, {BATCH} files",
            *(
                lambda files=files: ledger.files.recognise(run, files, stages=stages)
                for files in batches
            ),
        )
        timed("unseen, all of them", lambda: _all_unseen(ledger, run))
        timed("replaced", ledger.files.replaced)
        print("-- now and then in a run")
        timed("audio_left_s", lambda: ledger.jobs.audio_left_s(run, stages))
        timed("outlook.open", lambda: ledger.outlook.open(run, stages))
        timed("outlook.timed", ledger.outlook.timed)
        print("-- a job")
        for lane, scope in (("features", "mix"), ("features", "stems"), ("separation", "mix")):
            time_jobs(ledger, run, lane, scope, jobs=jobs)
        print("-- an end")
        timed("outcome", lambda: ledger.jobs.outcome(run, stages))
        timed("outlook.left", lambda: ledger.outlook.left(run, stages))


def time_jobs(ledger: Ledger, run: int, lane: str, scope: str, *, jobs: int) -> None:
    """Time claims and the end of jobs, each a transaction of its own."""
    features = json.dumps({"mix": {f"number_{n}_db": -1.5 * n for n in range(28)}})
    claims, ends = [], []
    for _ in range(jobs):
        started = time.perf_counter()
        work = ledger.jobs.claim(run, lane=lane, scope=scope)
        claims.append((time.perf_counter() - started) * 1000)
        if work is None:
            break
        for job in work.jobs:
            published = Published("a" * 64, features, 1.0, 2.0, 300_000_000)
            started = time.perf_counter()
            ledger.jobs.done(job, published, upstream=work.upstream)
            ends.append((time.perf_counter() - started) * 1000)
    for what, taken in (("claim", claims), ("done", ends)):
        print(
            f"{what + ' ' + lane + ' ' + scope:44} {statistics.median(taken):9.2f} ms, "
            f"longest {max(taken):.2f}, {len(taken)} times",
            flush=True,
        )


def _untouched(folder: bytes, stage: str, scope: str) -> bool:
    return True


def _batches(tracks: int) -> Iterator[list[SeenFile]]:
    for first in range(1, tracks + 1, BATCH):
        yield [_seen(number) for number in range(first, min(first + BATCH, tracks + 1))]


def _seen(number: int) -> SeenFile:
    name, time_ns = name_of(number), 1_700_000_000_000_000_000 + number
    return SeenFile(name.encode(), name, 30_000_000, time_ns, time_ns, 1_000_000 + number, 65_024)


def _all_unseen(ledger: Ledger, run: int) -> None:
    after = 0
    while unseen := ledger.files.unseen(run, after=after, limit=BATCH):
        after = unseen[-1].id


def time_looking(folder: Path) -> None:
    """Time what a start looks at of each published output."""
    out = OutputFolder(folder)
    out.prepare()
    names = [f"{number:05}".encode() for number in range(FOLDERS)]
    for name in names:
        stage = out.stage(name, "loudness", "mix")
        stage.mkdir(parents=True)
        for file in ("features.json", "frames.npz", "manifest.json"):
            (stage / file).write_bytes(b"x" * 100)
    timed(
        f"is_untouched, {FOLDERS} outputs (in memory)",
        lambda: [out.is_untouched(name, "loudness", "mix") for name in names],
    )


def time_reading(dataset: Path, track: int, runs: int) -> None:
    """Time what `status` and `show` ask, without the start of their process."""
    planned = plan_of(dataset)
    separation = next(job for job in planned if job.stage == "separation")
    print("-- the same, asked within a process")
    with reader(dataset / "_pipeline" / FILE_NAME) as engine:
        reading = Reading(engine)
        timed("status", *[lambda: reading.status(planned, separation)] * runs)
        for how, name in names_of(track).items():
            timed(f"show {how}", *[lambda name=name: reading.show(name)] * runs)


def names_of(track: int) -> dict[str, str]:
    """Return what `show` takes for a track."""
    return {
        "PATH": name_of(track),
        "SUFFIX": name_of(track)[-11:],
        "HASH": sha256_of(track)[:12],
    }


# ---- plans


def read_plans(dataset: Path) -> list[Statement]:
    """Return what `status` and `show` execute, with their plans."""
    planned = plan_of(dataset)
    separation = next(job for job in planned if job.stage == "separation")
    with (
        reader(dataset / "_pipeline" / FILE_NAME) as engine,
        heard(engine) as statements,
    ):
        reading = Reading(engine)
        reading.status(planned, separation)
        for name in names_of(5).values():
            reading.show(name)
    return statements


def run_plans(dataset: Path) -> list[Statement]:
    """Return what a start, a run and an end execute, with their plans."""
    with (
        heard(Engine) as statements,
        open(os.devnull, "w") as nowhere,
        redirect_stdout(nowhere),
    ):
        time_methods(dataset, PLAN_TRACKS, jobs=2)
    return statements


def print_whole(what: str, statements: list[Statement]) -> None:
    """Print the statements that read a whole table, once each."""
    print(f"-- {what}: {len({one.sql for one in statements})} statements; whole tables are read by")
    for sql in dict.fromkeys(one.sql for one in statements if one.whole()):
        one = next(one for one in statements if one.sql == sql)
        print(f"  {', '.join(sorted(one.whole()))}: {' '.join(sql.split())[:150]}")
