"""Which tracks come first: ranks, claims that read an index, and the option."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, get_args

import pytest
from sqlalchemy import event

from pipeline.config import Order
from pipeline.ledger import Ledger
from pipeline.ledger.connect import writer
from pipeline.ledger.files import Probed, SeenFile
from pipeline.ledger.plan import Planned
from pipeline.ledger.ranks import ORDERS, Ranked
from tests.sandbox import Sandbox

NOTE = Planned("note", "mix", "features", "0" * 64)
STAGES = ["note"]


@dataclass(frozen=True)
class Song:
    path: bytes
    seconds: float
    mtime_s: int = 0

    def seen(self) -> SeenFile:
        mtime_ns = self.mtime_s * 1_000_000_000
        return SeenFile(self.path, os.fsdecode(self.path), 1, mtime_ns, 0, 0, 0)

    def probed(self) -> Probed:
        return Probed(sha256(self.path).hexdigest(), 1, duration_s=self.seconds)


# As the walk meets them; `new` was put there later, between the others.
OLD = [
    Song(b"a/1.wav", 30.0, 300),
    Song(b"a/2.wav", 10.0, 100),
    Song(b"c.wav", 20.0, 400),
    Song(b"d.wav", 20.0, 200),
]
NEW = Song(b"b.wav", 15.0, 250)
ALL = [*OLD[:2], NEW, *OLD[2:]]


def meet(ledger: Ledger, songs: Sequence[Song]) -> int:
    """Do what a run does to its queue: the scan meets all, then the probe tells what is new."""
    run_id = ledger.begin_run(host="here", pid=1, version="0", settings="{}")
    fresh = ledger.files.recognise(run_id, [song.seen() for song in songs], stages=STAGES)
    ledger.files.add(run_id, fresh)
    by_path = {song.path: song for song in songs}
    for known in ledger.files.to_probe(run_id, after=0, limit=100):
        probed = by_path[known.path].probed()
        track = ledger.files.track_of(probed.sha256)
        if track is None:
            ledger.files.add_track(run_id, known.id, probed, known.path, [NOTE])
        else:
            ledger.files.link(run_id, known.id, track, track.folder, probed, stages=STAGES)
    return run_id


def claimed(ledger: Ledger, run_id: int, *, longest_s: float | None = None) -> list[str]:
    """Claim until nothing is left; return the names in that order."""
    names: list[str] = []
    while True:
        work = ledger.jobs.claim(run_id, lane="features", scope="mix", longest_s=longest_s)
        if work is None:
            return names
        names.append(os.fsdecode(work.path))


def test_the_settings_and_the_ledger_know_the_same_orders() -> None:
    assert set(get_args(Order)) == set(ORDERS)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("found", ["a/1.wav", "a/2.wav", "c.wav", "d.wav", "b.wav"]),
        ("path", ["a/1.wav", "a/2.wav", "b.wav", "c.wav", "d.wav"]),
        ("shortest", ["a/2.wav", "b.wav", "c.wav", "d.wav", "a/1.wav"]),
        ("longest", ["a/1.wav", "c.wav", "d.wav", "b.wav", "a/2.wav"]),
        ("newest", ["c.wav", "a/1.wav", "b.wav", "d.wav", "a/2.wav"]),
        (
            "random",
            [os.fsdecode(song.path) for song in sorted(ALL, key=lambda song: song.probed().sha256)],
        ),
    ],
)
def test_tracks_are_claimed_in_the_order_that_was_asked_for(
    tmp_path: Path, order: str, expected: list[str]
) -> None:
    with Ledger.open(tmp_path / "ledger.db") as ledger:
        meet(ledger, OLD)
    with Ledger.open(tmp_path / "ledger.db", order=order) as ledger:
        assert claimed(ledger, meet(ledger, ALL)) == expected


def test_each_run_orders_anew(tmp_path: Path) -> None:
    for order in ("longest", "shortest", "random"):
        with Ledger.open(tmp_path / "ledger.db", order=order) as ledger:
            meet(ledger, OLD)
    with Ledger.open(tmp_path / "ledger.db") as ledger:
        names = claimed(ledger, meet(ledger, OLD))

    assert names == [os.fsdecode(song.path) for song in OLD]


def test_a_duplicate_goes_by_the_path_that_comes_first(tmp_path: Path) -> None:
    copy = OLD[0].probed()
    with Ledger.open(tmp_path / "ledger.db", order="path") as ledger:
        run_id = meet(ledger, OLD)
        late = Song(b"z.wav", 30.0)
        ledger.files.add(run_id, ledger.files.recognise(run_id, [late.seen()], stages=STAGES))
        (known,) = ledger.files.to_probe(run_id, after=0, limit=10)
        track = ledger.files.track_of(copy.sha256)
        assert track is not None
        ledger.files.link(run_id, known.id, track, track.folder, copy, stages=STAGES)

        assert claimed(ledger, run_id)[0] == "a/1.wav"


@pytest.mark.parametrize("order", sorted(ORDERS))
def test_a_track_that_three_runs_did_not_survive_goes_to_the_end_of_any_order(
    tmp_path: Path, order: str
) -> None:
    firsts = []
    for _ in range(3):
        with Ledger.open(tmp_path / "ledger.db", order=order) as ledger:
            ledger.queue.interrupt_running()
            run_id = meet(ledger, OLD)
            work = ledger.jobs.claim(run_id, lane="features", scope="mix")
            assert work is not None  # and the run dies with it in hand
            firsts.append(os.fsdecode(work.path))

    with Ledger.open(tmp_path / "ledger.db", order=order) as ledger:
        ledger.queue.interrupt_running()
        names = claimed(ledger, meet(ledger, ALL))

    assert firsts == [firsts[0]] * 3
    assert names[-1] == firsts[0]


def test_only_tracks_that_are_short_enough_are_claimed(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.db") as ledger:
        run_id = meet(ledger, OLD)

        assert claimed(ledger, run_id, longest_s=-1.0) == []
        assert claimed(ledger, run_id, longest_s=20.0) == ["a/2.wav", "c.wav", "d.wav"]
        assert ledger.jobs.pending(run_id, lane="features", scope="mix")


@pytest.mark.parametrize("longest_s", [None, 20.0])
@pytest.mark.parametrize("order", sorted(ORDERS))
def test_a_claim_reads_its_index_and_sorts_nothing(
    tmp_path: Path, order: str, longest_s: float | None
) -> None:
    path = tmp_path / "ledger.db"
    Ledger.open(path).close()
    engine = writer(path)
    ledger = Ledger(engine, path, order=order)
    run_id = meet(ledger, OLD)
    statements: list[tuple[str, Any]] = []

    @event.listens_for(engine, "before_cursor_execute")
    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    ledger.jobs.claim(run_id, lane="features", scope="mix", longest_s=longest_s)

    (claim,) = [one for one in statements if one[0].startswith("UPDATE jobs SET state")]
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {claim[0]}", claim[1]).all()
    plan = " | ".join(str(row[-1]) for row in rows)
    assert "TEMP B-TREE" not in plan
    assert "SCAN jobs" not in plan
    assert plan.count("USING INDEX jobs_to_claim") + plan.count("COVERING INDEX jobs_to_claim") == 3
    ledger.close()


@pytest.mark.parametrize("order", sorted(set(ORDERS) - {"path", "random"}))
def test_tracks_that_are_equal_otherwise_have_ranks_of_their_own(order: str) -> None:
    clips = [Ranked(number, "ab" * 32, 30.0, 5, number) for number in range(100)]

    ranks = [ORDERS[order](clip) for clip in clips]

    assert len(set(ranks)) == 100
    assert ranks == sorted(ranks)


@pytest.mark.parametrize("order", sorted(ORDERS))
@pytest.mark.parametrize("duration_s", [None, 0.0, 1e12])
@pytest.mark.parametrize("mtime_ns", [-(1 << 63), 0, (1 << 63) - 1])
def test_ranks_of_absurd_tracks_still_lie_before_the_end_of_the_queue(
    order: str, duration_s: float | None, mtime_ns: int
) -> None:
    rank = ORDERS[order](Ranked((1 << 31) - 1, "f" * 64, duration_s, mtime_ns, 1 << 40))

    assert 0 <= rank < 1 << 62


def test_a_run_goes_in_the_order_that_was_asked_for_in_every_lane(sandbox: Sandbox) -> None:
    for name, seconds in (("a.wav", 0.2), ("b.wav", 0.4), ("c.wav", 0.1)):
        sandbox.add(name, seed=len(name) + round(seconds * 10), seconds=seconds)
    sandbox.run("--set", "note.load=raise:blocked", "--stages", "note")

    done = sandbox.run("--order", "longest")

    assert done.returncode == 0, done.stderr
    order = [(one["stage"], one["scope"], one["path"]) for one in sandbox.events("job_done")]
    assert order == [
        (stage, scope, path)
        for stage, scope in (("note", "mix"), ("separation", "mix"), ("note", "stems"))
        for path in ("b.wav", "a.wav", "c.wav")
    ]


def test_a_list_of_files_is_sorted_for_the_order_path(sandbox: Sandbox) -> None:
    for seed, name in enumerate(("x/b.wav", "x.wav", "a.wav")):
        sandbox.add(name, seed=seed)

    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "run", str(sandbox.dataset), "-", "--stages", "note",
         "--order", "path"],
        input=b"x.wav\na.wav\nx/b.wav\n",
        env=sandbox.environment,
        check=False,
    )  # fmt: skip

    assert done.returncode == 0
    # As a walk would meet them: what is in the folder x before the file beside it.
    assert [one["path"] for one in sandbox.events("job_done")] == ["a.wav", "x/b.wav", "x.wav"]
