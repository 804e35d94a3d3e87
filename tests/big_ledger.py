"""A ledger as large as one likes, in the middle of its nights, made in bulk through the real schema.

Ten jobs a track: five features of the mix, the separation, four features of the stems. The rows are
first inserted and then worked on pass by pass, so that pages are filled as in a ledger that has lived.
"""

from __future__ import annotations

import hashlib
import json
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.config import load
from pipeline.ledger import Ledger
from pipeline.ledger.connect import FILE_NAME
from pipeline.ledger.plan import Planned
from pipeline.machine import Machine
from pipeline.recipe import recipes
from stages.base import Declaration, Scope, StageSettings

REGISTRY = "tests.big_ledger:STAGES"
JOBS_PER_TRACK = 10
LAST_RUN = 4
RUNNING = 2  # tracks in hand, as a lane has them
_BATCH = 20_000
_START_UTC = "2026-11-{:02}T22:00:00.000+00:00"


class NoSettings(StageSettings):
    """A stage that has no settings."""


def _stage(name: str, lane: str, *scopes: Scope) -> Declaration:
    return Declaration(
        name=name,
        target=f"tests.big_ledger:{name}",
        version=1,
        lane=lane,
        scopes=scopes,
        settings=NoSettings,
        extra="features",
    )


STAGES = {
    **{
        name: _stage(name, "features", Scope.MIX, Scope.STEMS)
        for name in ("loudness", "onsets", "chroma", "spectral")
    },
    "essentia": _stage("essentia", "features", Scope.MIX),
    "separation": _stage("separation", "separation", Scope.MIX),
}
SCALARS = {"loudness": 7, "onsets": 5, "chroma": 24, "spectral": 28, "essentia": 120}
STEMS = ("bass", "drums", "other", "vocals")


def plan_of(dataset: Path) -> list[Planned]:
    """Return the jobs that a run of these stages wants for each track, in run order."""
    config = load(dataset, environment={"NIGHTSHIFT_REGISTRY": REGISTRY})
    return [recipe.planned() for recipe in recipes(config, Machine.read(config.out))]


def name_of(track: int) -> str:
    """Return the path of a track: artist, album, title."""
    return (
        f"Artist {track // 120:04}/Album {track // 12 % 10}/"
        f"{track % 12 + 1:02} Some Title of a Song {track:06}.flac"
    )


def sha256_of(track: int) -> str:
    """Return the content hash of a track."""
    return hashlib.sha256(f"track {track}".encode()).hexdigest()


def make_ledger(dataset: Path, tracks: int, *, seed: int = 0) -> Path:
    """Write a ledger of so many tracks below `dataset`; return its path.

    All features of the mix are done, 60 % of the separations, three quarters of what those opened.
    One job in a hundred has failed, three chroma features in a hundred are stale, one path in a
    hundred is missing and one track in fifty has a second path.
    """
    out = dataset / "_pipeline"
    out.mkdir(parents=True)
    path = out / FILE_NAME
    Ledger.open(path).close()
    writing = sqlite3.connect(path, isolation_level=None)
    writing.execute("PRAGMA synchronous=OFF")
    chance = random.Random(seed)
    planned = plan_of(dataset)
    order = sorted(planned, key=lambda job: (job.scope, job.lane != "features"))
    _insert(writing, "runs", _runs())
    _insert(writing, "tracks", (_track(number, chance) for number in range(1, tracks + 1)))
    _insert(writing, "paths", _paths(tracks, chance))
    _insert(writing, "jobs", _open_jobs(tracks, planned))
    for job in order:
        _work(writing, job, tracks, chance)
    writing.close()
    return path


def _insert(writing: sqlite3.Connection, table: str, rows: Iterator[dict[str, Any]]) -> None:
    batch: list[dict[str, Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _BATCH:
            _insert_batch(writing, table, batch)
            batch.clear()
    if batch:
        _insert_batch(writing, table, batch)


def _insert_batch(writing: sqlite3.Connection, table: str, batch: list[dict[str, Any]]) -> None:
    columns = ", ".join(batch[0])
    values = ", ".join(f":{column}" for column in batch[0])
    writing.execute("BEGIN")
    writing.executemany(f"INSERT INTO {table} ({columns}) VALUES ({values})", batch)
    writing.execute("COMMIT")


def _runs() -> Iterator[dict[str, Any]]:
    for number in range(1, LAST_RUN + 1):
        over = number < LAST_RUN
        yield {
            "id": number,
            "host": "studio",
            "pid": 4000 + number,
            "version": "0.1.0",
            "settings": json.dumps({"stages": {name: {} for name in STAGES}, "threads": 16}),
            "started_utc": _START_UTC.format(number),
            "ended_utc": _START_UTC.format(number + 1) if over else None,
            "exit_code": 1 if over else None,
        }


def _track(number: int, chance: random.Random) -> dict[str, Any]:
    return {
        "id": number,
        "sha256": sha256_of(number),
        "size_bytes": chance.randrange(15_000_000, 45_000_000),
        "duration_s": _duration_s(number),
        "sample_rate_hz": 44_100,
        "channels": 2,
        "codec": "flac",
        "folder": name_of(number).encode(),
    }


def _duration_s(number: int) -> float:
    return 120.0 + number * 7919 % 240_000 / 1000


def _paths(tracks: int, chance: random.Random) -> Iterator[dict[str, Any]]:
    for number in range(1, tracks + 1):
        yield _path(number, name_of(number), missing=chance.random() < 0.01)
        if number % 50 == 0:
            yield _path(number, f"Best of/{name_of(number)}", missing=False)


def _path(track: int, name: str, *, missing: bool) -> dict[str, Any]:
    return {
        "path": name.encode(),
        "shown": name,
        "size_bytes": 30_000_000,
        "mtime_ns": 1_700_000_000_000_000_000 + track,
        "ctime_ns": 1_700_000_000_000_000_000 + track,
        "inode": 1_000_000 + track,
        "device": 65_024,
        "track_id": track,
        "seen_run": LAST_RUN - missing,
        "missing": missing,
        "probe_deaths": 0,
    }


def _open_jobs(tracks: int, planned: list[Planned]) -> Iterator[dict[str, Any]]:
    for number in range(1, tracks + 1):
        for job in planned:
            yield {
                "track_id": number,
                "stage": job.stage,
                "scope": job.scope,
                "lane": job.lane,
                "state": "pending" if job.scope == "mix" else "waiting",
                "rank": number,
                "queued_run": LAST_RUN,
                "recipe": job.recipe,
                "deaths": 0,
                "interruptions": 0,
                "retried": False,
                "audio_s": _duration_s(number),
            }


def _work(writing: sqlite3.Connection, job: Planned, tracks: int, chance: random.Random) -> None:
    """Do one pass: every job of a stage and scope gets its state, its attempts and its result."""
    of_job = "SELECT id, track_id FROM jobs WHERE stage = ? AND scope = ? ORDER BY id"
    ids = writing.execute(of_job, [job.stage, job.scope]).fetchall()
    for start in range(0, len(ids), _BATCH):
        states = [
            (job_id, track, _state(job, track, tracks, chance))
            for job_id, track in ids[start : start + _BATCH]
        ]
        worked = [one for one in states if one[2] != _untouched(job)]
        if not worked:
            continue
        writing.execute("BEGIN")
        _update(writing, job, worked, chance)
        writing.execute("COMMIT")
        tried = [one for one in worked if one[2] in ("done", "failed", "running")]
        if tried:
            _insert(writing, "attempts", _attempts(tried, chance))
        done = [(job_id, track) for job_id, track, state in tried if state == "done"]
        if done and job.stage in SCALARS:
            _insert(writing, "results", _results(job, done, chance))


def _untouched(job: Planned) -> str:
    return "pending" if job.scope == "mix" else "waiting"


def _state(job: Planned, track: int, tracks: int, chance: random.Random) -> str:
    separated = round(tracks * 0.6)
    if job.scope == "mix" and job.stage != "separation":
        return "failed" if chance.random() < 0.01 else "done"
    failed = _separation_failed(track)
    if job.stage == "separation":
        if track > separated:
            return "running" if track <= separated + RUNNING else "pending"
        return "failed" if failed else "done"
    if track > separated:
        return "waiting"
    if failed:
        return "skipped"
    if track > round(tracks * 0.45):
        return "pending"
    return "failed" if chance.random() < 0.01 else "done"


def _separation_failed(track: int) -> bool:
    return track % 97 == 0


def _update(
    writing: sqlite3.Connection,
    job: Planned,
    worked: list[tuple[int, int, str]],
    chance: random.Random,
) -> None:
    done = "done"
    old = hashlib.sha256(b"an older version").hexdigest()
    writing.executemany(
        "UPDATE jobs SET state = ?, recipe = ?, upstream = ?, fingerprint = ?, reason = ?, "
        "detail = ?, wall_s = ?, cpu_s = ?, peak_bytes = ?, manifest_sha256 = ? WHERE id = ?",
        [
            (
                state,
                old if job.stage == "chroma" and track % 33 == 0 and state == done else job.recipe,
                _fingerprint(track, "separation mix") if job.scope == "stems" else None,
                _fingerprint(track, f"{job.stage} {job.scope}") if state == done else None,
                _reason(state),
                _detail(state),
                _duration_s(track) / 60 if state == done else None,
                _duration_s(track) / 40 if state == done else None,
                chance.randrange(2**28, 2**31) if state == done else None,
                _fingerprint(track, f"manifest {job_id}") if state == done else None,
                job_id,
            )
            for job_id, track, state in worked
        ],
    )


def _reason(state: str) -> str | None:
    return {"failed": "damaged", "skipped": "separation_failed"}.get(state)


def _detail(state: str) -> str | None:
    return "libsndfile: flac decoder lost sync at 73.4 s" if state == "failed" else None


def _fingerprint(track: int, what: str) -> str:
    return hashlib.sha256(f"{track} {what}".encode()).hexdigest()


def _attempts(tried: list[tuple[int, int, str]], chance: random.Random) -> Iterator[dict[str, Any]]:
    for job_id, _, state in tried:
        run = chance.randrange(1, LAST_RUN + 1)
        if chance.random() < 0.02:
            yield _attempt(job_id, max(run - 1, 1), "interrupted", chance)
        yield _attempt(job_id, LAST_RUN if state == "running" else run, state, chance)


def _attempt(job_id: int, run: int, outcome: str, chance: random.Random) -> dict[str, Any]:
    open_still = outcome == "running"
    return {
        "job_id": job_id,
        "run_id": run,
        "token": f"{chance.getrandbits(64):016x}",
        "started_utc": _START_UTC.format(run),
        "ended_utc": None if open_still else _START_UTC.format(run),
        "outcome": None if open_still else outcome,
        "detail": _detail(outcome),
    }


def _results(
    job: Planned, done: list[tuple[int, int]], chance: random.Random
) -> Iterator[dict[str, Any]]:
    names = [f"{job.stage}_number_{number}_db" for number in range(SCALARS[job.stage])]
    sources = ("mix",) if job.scope == "mix" else STEMS
    for job_id, _ in done:
        first = chance.uniform(-60, 0)
        features = {
            source: {name: round(first - place, 4) for place, name in enumerate(names)}
            for source in sources
        }
        yield {"job_id": job_id, "features": json.dumps(features)}
