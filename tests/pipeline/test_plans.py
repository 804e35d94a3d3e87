"""No question of a job or a track reads a whole table, however many jobs there are.

The ledger here is small; SQLite chooses the same plans on a large one, since nobody ever runs ANALYZE.
How long they take with 1,000,000 jobs: `python -m benchmarks.ledger_scale`.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import func, select, text

from pipeline.ledger import Ledger
from pipeline.ledger.connect import reader
from pipeline.ledger.counting import JobCounts
from pipeline.ledger.files import KnownTrack, Probed, SeenFile
from pipeline.ledger.jobs import Cause, Published
from pipeline.ledger.outlook import Open
from pipeline.ledger.plan import Planned, stale
from pipeline.ledger.reading import Reading
from pipeline.ledger.schema import State, jobs
from pipeline.ledger.work import Job, Work
from pipeline.pace import Pace
from pipeline.todo import Todo
from tests.big_ledger import LAST_RUN, STAGES, make_ledger, name_of, plan_of, sha256_of
from tests.plans import Statement, heard

TRACKS = 60
ALL = list(STAGES)
ONE_KIND = Planned("loudness", "mix", "features", "0" * 64)
NEW = Probed("f" * 64, 1000, 240.0, 44_100, 2, "flac")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_ledger(tmp_path_factory.mktemp("made") / "music", TRACKS)


@pytest.fixture(scope="module")
def planned(made: Path) -> list[Planned]:
    return plan_of(made.parent.parent)


@pytest.fixture
def ledger_file(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(made, tmp_path / "ledger.db"))


@pytest.fixture
def ledger(ledger_file: Path) -> Iterator[Ledger]:
    with Ledger.open(ledger_file) as ledger:
        yield ledger


def _separation(planned: list[Planned]) -> Planned:
    return next(job for job in planned if job.stage == "separation")


def _of_reading(path: Path, ask: Callable[[Reading], object]) -> list[Statement]:
    with reader(path) as engine, heard(engine) as statements:
        ask(Reading(engine))
    assert statements
    return statements


def _of_writing(ledger: Ledger, do: Callable[[], object]) -> list[Statement]:
    with heard(ledger.jobs._transactions._engine) as statements:
        do()
    assert statements
    return statements


def _whole(statements: list[Statement]) -> set[str]:
    """Return how whole tables were read, in SQLite's words."""
    return {
        step.how
        for one in statements
        for step in one.plan
        if step.table in one.whole() and step.is_whole
    }


# ---- those who only read


def test_status_passes_once_over_an_index_of_the_jobs_and_one_of_the_paths(
    ledger_file: Path, planned: list[Planned]
) -> None:
    statements = _of_reading(
        ledger_file, lambda reading: reading.status(planned, _separation(planned))
    )

    assert _whole(statements) == {
        "SCAN jobs USING COVERING INDEX jobs_by_state",
        "SCAN paths USING COVERING INDEX paths_by_track",
    }
    assert sum("FROM jobs" in one.sql for one in statements) == 1


def test_show_finds_a_track_by_its_path_without_reading_others(ledger_file: Path) -> None:
    statements = _of_reading(ledger_file, lambda reading: reading.show(name_of(7)))

    assert _whole(statements) == set()


@pytest.mark.parametrize(
    "name", [name_of(7)[-11:], sha256_of(7)[:12], sha256_of(7)], ids=["suffix", "prefix", "hash"]
)
def test_show_reads_the_names_of_all_paths_for_a_suffix_and_nothing_else(
    ledger_file: Path, name: str
) -> None:
    statements = _of_reading(ledger_file, lambda reading: reading.show(name))

    assert _whole(statements) == {"SCAN paths"}
    assert not [
        step for one in statements for step in one.plan if step.how.startswith("SCAN tracks")
    ]


def test_a_name_as_it_is_shown_means_that_path_and_not_a_longer_one_that_ends_with_it(
    ledger: Ledger, ledger_file: Path
) -> None:
    # A line feed in a name is shown as an escape, so the path itself is not what a user sees.
    for number, (path, shown) in enumerate(
        ((b"a\nb.wav", r"a\nb.wav"), (b"xa\nb.wav", r"xa\nb.wav"))
    ):
        ledger.files.add(LAST_RUN, [dataclasses.replace(_seen("x"), path=path, shown=shown)])
        (known,) = ledger.files.to_probe(LAST_RUN, after=0, limit=1)
        probed = dataclasses.replace(NEW, sha256=str(number) * 64)
        ledger.files.add_track(LAST_RUN, known.id, probed, path, [ONE_KIND])

    with reader(ledger_file) as engine:
        found = {
            name: len(Reading(engine).find(name)) for name in (r"a\nb.wav", r"\nb.wav", "b.wav")
        }
        (by_path,) = Reading(engine).find("a\nb.wav")
        assert Reading(engine).find(r"a\nb.wav") == [by_path]

    assert found == {r"a\nb.wav": 1, r"\nb.wav": 2, "b.wav": 2}


# ---- what a run asks for each file, track and job


def _claimed(ledger: Ledger, scope: str = "stems", lane: str = "features") -> Work:
    work = ledger.jobs.claim(LAST_RUN, lane=lane, scope=scope)
    assert work is not None
    return work


def _done(ledger: Ledger, scope: str, lane: str) -> None:
    work = _claimed(ledger, scope, lane)
    published = Published("a" * 64, '{"mix": {}}', 1.0, 1.0, 1)
    ledger.jobs.done(work.jobs[0], published, upstream=work.upstream)
    ledger.jobs.want_stems(LAST_RUN, work.track_id, ALL)


def _with_job(do: Callable[[Ledger, Job], object], *, lane: str) -> Callable[[Ledger], object]:
    scope = "mix" if lane == "separation" else "stems"
    return lambda ledger: do(ledger, _claimed(ledger, scope, lane).jobs[0])


def _seen(name: str) -> SeenFile:
    return SeenFile(name.encode(), name, 1, 2, 3, 4, 5)


def _seen_as_made(number: int) -> SeenFile:
    time_ns = 1_700_000_000_000_000_000 + number
    return SeenFile(
        name_of(number).encode(), "", 30_000_000, time_ns, time_ns, 1_000_000 + number, 65_024
    )


def _taken_in(ledger: Ledger) -> None:
    ledger.files.add(LAST_RUN, [_seen("new.flac"), _seen(name_of(9))])
    ledger.files.recognise(LAST_RUN, [_seen("new.flac"), _seen(name_of(11))], stages=ALL)
    (first, second) = ledger.files.to_probe(LAST_RUN, after=0, limit=32)
    ledger.files.add_track(LAST_RUN, second.id, NEW, b"new.flac", [ONE_KIND])
    known = ledger.files.track_of(sha256_of(9))
    assert known is not None
    probed = dataclasses.replace(NEW, sha256=known.sha256)
    ledger.files.link(LAST_RUN, first.id, known, known.folder, probed, stages=ALL)


def _replaced(ledger: Ledger) -> None:
    ledger.files.add(LAST_RUN, [_seen(name_of(5))])
    ledger.files.drop_track(5)


PER_JOB: dict[str, Callable[[Ledger], object]] = {
    "claim of a mix": lambda ledger: _claimed(ledger, "mix", "separation"),
    "claim of stems": _claimed,
    "claim of one track": lambda ledger: ledger.jobs.claim(
        LAST_RUN, lane="features", scope="stems", track_id=30
    ),
    "claim of a short track": lambda ledger: ledger.jobs.claim(
        LAST_RUN, lane="features", scope="stems", longest_s=200.0
    ),
    "pending": lambda ledger: ledger.jobs.pending(LAST_RUN, lane="features", scope="stems"),
    "done": lambda ledger: _done(ledger, "stems", "features"),
    "done separation": lambda ledger: _done(ledger, "mix", "separation"),
    "fail": _with_job(lambda ledger, job: ledger.jobs.fail(job, Cause("io")), lane="separation"),
    "died": _with_job(lambda ledger, job: ledger.jobs.died(job, Cause("crash")), lane="features"),
    "put_back": _with_job(
        lambda ledger, job: ledger.jobs.put_back([job], Cause("stopped")), lane="features"
    ),
    "stems_gone": _with_job(
        lambda ledger, job: ledger.jobs.stems_gone(job, Cause("stems_gone")), lane="features"
    ),
    "files taken in": _taken_in,
    "track_in": lambda ledger: ledger.files.track_in(b"Artist 0000/Album 0"),
    "paths_of": lambda ledger: ledger.files.paths_of(50, limit=10),
    "rehouse": lambda ledger: ledger.files.rehouse(7, b"elsewhere"),
    "mark_missing": lambda ledger: ledger.files.mark_missing([1, 2]),
    "probe_failed": lambda ledger: ledger.files.probe_failed(3, "gone"),
    "probe_died": lambda ledger: ledger.files.probe_died(3),
    "drop_track": _replaced,
}


@pytest.mark.parametrize("stages", [["loudness"], ["loudness", "separation"]], ids=len)
def test_tracks_and_stems_are_queued_track_by_track_however_many_stages_are_wanted(
    ledger: Ledger, stages: list[str]
) -> None:
    def queue() -> None:
        ledger.files.recognise(LAST_RUN, [_seen_as_made(11)], stages=stages)
        ledger.jobs.want_stems(LAST_RUN, 11, stages)

    updates = [
        one for one in _of_writing(ledger, queue) if one.sql.startswith("UPDATE jobs SET rank")
    ]

    assert len(updates) == 2
    for one in updates:
        assert all("(track_id=?" in step.how for step in one.plan), one


@pytest.mark.parametrize("what", PER_JOB)
def test_nothing_that_a_run_asks_for_a_file_or_a_job_reads_a_whole_table(
    ledger: Ledger, what: str
) -> None:
    statements = _of_writing(ledger, lambda: PER_JOB[what](ledger))

    assert _whole(statements) == set()


def test_a_claim_goes_straight_to_the_first_track_of_its_queue(ledger: Ledger) -> None:
    (take, *_) = _of_writing(ledger, lambda: _claimed(ledger))

    queue = "(queued_run=? AND lane=? AND scope=? AND state=?"
    assert [step.how.partition("jobs_to_claim ")[2] for step in take.plan] == [
        f"{queue} AND rank=?)",
        f"{queue})",
        f"{queue})",
    ]
    assert "TEMP B-TREE" not in str(take.plan)


# ---- what a start and an end may read whole, once

MAY_READ_WHOLE: dict[str, set[str]] = {
    "interrupt_running": {"jobs"},  # an index of them
    "suspects": {"jobs"},  # every job that is done is looked at on disk
    "requeue": {"jobs"},  # stems jobs, after their separations
    "retry_problems": set(),
    "unseen": {"paths"},  # each path that the scan may have missed
    "replaced": set(),  # goes through the tracks
    "learnt": {"jobs"},  # an index of them, for what no run has timed
    "open": set(),
    "left": set(),
    "outcome": set(),
}


def _once(ledger: Ledger, planned: list[Planned]) -> dict[str, Callable[[], object]]:
    return {
        "interrupt_running": ledger.queue.interrupt_running,
        "suspects": lambda: ledger.keeping.suspects(lambda folder, stage, scope: True),
        "requeue": lambda: ledger.queue.requeue(planned),
        "retry_problems": ledger.files.retry_problems,
        "unseen": lambda: ledger.files.unseen(LAST_RUN, after=0, limit=500),
        "replaced": ledger.files.replaced,
        "learnt": lambda: ledger.speeds.learnt(planned, device="auto"),
        "open": lambda: ledger.outlook.open(LAST_RUN, ALL),
        "left": lambda: ledger.outlook.left(LAST_RUN, ALL),
        "outcome": lambda: ledger.jobs.outcome(LAST_RUN, ALL),
    }


@pytest.mark.parametrize("what", MAY_READ_WHOLE)
def test_what_a_start_or_an_end_reads_whole_is_named(
    ledger: Ledger, planned: list[Planned], what: str
) -> None:
    statements = _of_writing(ledger, _once(ledger, planned)[what])

    assert set().union(*(one.whole() for one in statements)) <= MAY_READ_WHOLE[what]


def test_a_sum_that_takes_long_is_taken_seldom() -> None:
    """The work that is left, for the progress bar: a whole pass over the open jobs."""
    now = {"s": 0.0}
    taken: list[float] = []

    def open_jobs(run_id: int, stages: object) -> list[Open]:
        taken.append(now["s"])
        now["s"] += 0.5
        return []

    night: Any = SimpleNamespace(
        clock=lambda: now["s"],
        tell=lambda kind, **facts: None,
        allowance=SimpleNamespace(full=False, pace=Pace(dict)),
        ledger=SimpleNamespace(outlook=SimpleNamespace(open=open_jobs)),
        run_id=1,
        blocked={},
        config=SimpleNamespace(selected=("note",), overlap=False),
    )
    todo = Todo(night)
    at_work: Any = [SimpleNamespace(lane="features", scope="mix")]
    while now["s"] < 60:
        todo.look(at_work, finding=True)
        now["s"] += 0.25

    assert len(taken) * 0.5 / now["s"] < 0.06
    assert len(taken) > 3


def test_nobody_keeps_statistics_that_could_change_a_plan(ledger_file: Path) -> None:
    with reader(ledger_file) as engine, engine.connect() as connection:
        names = connection.execute(text("SELECT name FROM sqlite_master")).scalars().all()

    assert not [name for name in names if name.startswith("sqlite_stat")]


# ---- and the pass over the index counts right


def _counted(path: Path, planned: list[Planned], separation: Planned | None) -> list[JobCounts]:
    with reader(path) as engine:
        return Reading(engine).status(planned, separation).jobs


@pytest.mark.parametrize("asked", ["as made", "another separation", "no weights"])
def test_status_counts_the_jobs_that_a_count_of_each_finds(
    ledger_file: Path, planned: list[Planned], asked: str
) -> None:
    if asked != "as made":
        recipe = "0" * 64 if asked == "another separation" else None
        planned = [
            dataclasses.replace(job, recipe=recipe) if job.stage == "separation" else job
            for job in planned
        ]
    separation = _separation(planned)

    counted = _counted(ledger_file, planned, separation)

    assert len(counted) == len(planned)
    with reader(ledger_file) as engine, engine.connect() as connection:
        for one in counted:
            this = (jobs.c.stage == one.stage) & (jobs.c.scope == one.scope)
            job = next(job for job in planned if (job.stage, job.scope) == (one.stage, one.scope))
            outdated = select(func.count()).where(
                this, jobs.c.state == State.DONE, stale(job, separation)
            )
            assert one.stale == connection.execute(outdated).scalar_one()
            for state in State:
                number = select(func.count()).where(this, jobs.c.state == state)
                assert one.by_state.get(state, 0) == connection.execute(number).scalar_one()
    assert sum(one.stale for one in counted) > (TRACKS if asked == "another separation" else 0)


def test_status_counts_tracks_by_their_paths(ledger: Ledger, ledger_file: Path) -> None:
    found = ledger.files.track_of(sha256_of(50))
    assert isinstance(found, KnownTrack)
    both = [path.id for path in ledger.files.paths_of(found.id, limit=10)]
    assert len(both) == 2
    with reader(ledger_file) as engine:
        before = Reading(engine).status([], None)
        ledger.files.mark_missing(both[:1])
        half = Reading(engine).status([], None)
        ledger.files.mark_missing(both)
        after = Reading(engine).status([], None)

    assert (before.tracks, half.tracks, after.tracks) == (TRACKS, TRACKS, TRACKS)
    assert half.missing == before.missing
    assert after.missing == before.missing + 1
