"""What a run would do, found without touching anything: the counts behind `pipeline plan`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby

from pipeline.artifacts import OutputFolder
from pipeline.changes import changes
from pipeline.config import RunConfig
from pipeline.fates import Content, Kind, fates
from pipeline.header_reading import read_headers
from pipeline.identity import signed
from pipeline.ledger.connect import FILE_NAME
from pipeline.ledger.known import Known, KnownContent, KnownFile, KnownJob, known
from pipeline.ledger.speeds import expected_s, together_s
from pipeline.machine import Machine
from pipeline.recipe import Recipe, recipes
from pipeline.room import Room, Sizes
from pipeline.scan import FoundFile, Scan, is_audio
from stages.base import STEMS_FROM, Scope


@dataclass
class Work:
    """Jobs of one stage and scope. `new`, `stale` and `again` are what a run would do."""

    new: int = 0
    stale: int = 0
    again: int = 0  # failed before, and tried once more
    done: int = 0
    failed: int = 0
    blocked: int = 0
    skipped: int = 0  # no stems will be there
    audio_s: float = 0.0  # of what a run would do
    seconds: float | None = None  # it would take, None where the stage never ran here

    @property
    def to_do(self) -> int:
        """Jobs that a run would do."""
        return self.new + self.stale + self.again


@dataclass
class Plan:
    """What a run would find and do. What `unread` files are is not in the other numbers."""

    tracks: int = 0
    audio_s: float = 0.0
    duplicates: int = 0  # paths beyond the first of a track
    unreadable: int = 0
    missing: int = 0
    unread: int = 0
    unread_bytes: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    work: dict[Kind, Work] = field(default_factory=dict)
    changed: dict[Kind, Counter[str]] = field(default_factory=dict)  # why outputs are stale
    blocked: dict[str, str] = field(default_factory=dict)
    needed_bytes: float = 0.0
    free_bytes: int = 0
    overlap: bool = False

    @property
    def seconds(self) -> float:
        """What the stages whose speed is known would take together."""
        known = {kind: one.seconds or 0.0 for kind, one in self.work.items()}
        return together_s(known, overlap=self.overlap)

    @property
    def unknown_speed(self) -> list[Kind]:
        """Stages and scopes that have work and never ran here."""
        return [kind for kind, one in self.work.items() if one.to_do and one.seconds is None]


def plan(config: RunConfig, *, probe: bool) -> Plan:
    """Return what `pipeline run` would do with these settings.

    Args:
        probe: read the files that the ledger does not know, instead of only counting them.

    Raises:
        LedgerBroken: the ledger cannot be read.
        Unfit: no header can be read here.
    """
    made = Plan(overlap=config.overlap)
    with known(config.out / FILE_NAME) as ledger:
        found = _tracks(config, made, ledger, probe=probe)
        wanted = [
            one for one in recipes(config, Machine.read(config.out)) if one.stage in config.selected
        ]
        made.blocked = {one.stage: str(one.blocked) for one in wanted if one.blocked is not None}
        made.work = {(one.stage, str(one.scope)): Work() for one in wanted}
        _count(made, found, wanted, ledger, OutputFolder(config.out))
        _expect(made, config, ledger, wanted)
    return made


# ---- which tracks


def _tracks(config: RunConfig, made: Plan, ledger: Known | None, *, probe: bool) -> list[Content]:
    by_path = {file.path: file for file in ledger.files()} if ledger is not None else {}
    contents = {one.id: one for one in ledger.tracks()} if ledger is not None else {}
    scan = Scan(
        config.dataset,
        out=config.out,
        include=config.include,
        exclude=config.exclude,
        names=config.names,
    )
    met: dict[str, Content] = {}
    unread: list[FoundFile] = []
    files = 0
    for file in scan.files():
        before = by_path.get(file.path)
        if before is not None and before.track_id in contents and before.seen_as == _seen(file):
            content = contents[before.track_id]
            met[content.sha256] = Content(content.duration_s or 0.0, content, content.problem)
            files += 1
        elif is_audio(config.dataset, file.path):
            unread.append(file)
    made.left_out = dict(scan.skipped)
    made.missing = _missing(config, by_path, contents)
    if probe:
        files += _probed(config, made, unread, met, {one.sha256: one for one in contents.values()})
    else:
        made.unread = len(unread)
        made.unread_bytes = sum(file.size_bytes for file in unread)
    made.tracks = len(met)
    made.duplicates = files - len(met)
    made.unreadable = sum(track.problem is not None for track in met.values())
    made.audio_s = sum(track.duration_s for track in met.values())
    return list(met.values())


def _probed(
    config: RunConfig,
    made: Plan,
    unread: list[FoundFile],
    met: dict[str, Content],
    contents: Mapping[str, KnownContent],
) -> int:
    """Read files and add their contents to `met`; return how many could be read."""
    sizes = {file.path: file.size_bytes for file in unread}
    read = 0
    for path, probed in read_headers(config, list(sizes)):
        if probed is None:
            made.unread += 1
            made.unread_bytes += sizes[path]
            continue
        read += 1
        content = contents.get(probed.sha256)
        met.setdefault(probed.sha256, Content(probed.duration_s or 0.0, content, probed.problem))
    return read


def _seen(file: FoundFile) -> tuple[int, int, int, int]:
    return (
        signed(file.size_bytes), signed(file.mtime_ns), signed(file.ctime_ns), signed(file.inode),
    )  # fmt: skip


def _missing(
    config: RunConfig, by_path: Mapping[bytes, KnownFile], contents: Mapping[int, KnownContent]
) -> int:
    """Count the tracks none of whose paths is there any more."""
    root = os.fsencode(config.dataset)
    there = {
        file.track_id for path, file in by_path.items() if os.path.lexists(os.path.join(root, path))
    }
    return sum(number not in there for number in contents)


# ---- which jobs


def _count(
    made: Plan,
    tracks: Iterable[Content],
    wanted: list[Recipe],
    ledger: Known | None,
    out: OutputFolder,
) -> None:
    for track, theirs in _with_jobs(tracks, ledger):
        kinds = fates(track, theirs, wanted, out)
        for recipe in wanted:
            kind = (recipe.stage, str(recipe.scope))
            _add(made, kind, kinds[kind], track)
            if kinds[kind] == "stale" and track.known is not None:
                anew = recipe.scope is Scope.STEMS and kinds.get((STEMS_FROM, "mix")) == "stale"
                why = (
                    ["the separation is made anew"]
                    if anew
                    else changes(out, track.known.folder, recipe)
                )
                made.changed.setdefault(kind, Counter()).update(why)


def _with_jobs(
    tracks: Iterable[Content], ledger: Known | None
) -> Iterator[tuple[Content, dict[Kind, KnownJob]]]:
    """Give each track once, with its jobs; a million of them are never held together."""
    fresh = []
    left: dict[int, Content] = {}
    for track in tracks:
        if track.known is None:
            fresh.append(track)
        else:
            left[track.known.id] = track
    jobs = ledger.jobs() if ledger is not None else iter(())
    for number, theirs in groupby(jobs, key=lambda job: job.track_id):
        if number in left:
            yield left.pop(number), {(job.stage, job.scope): job for job in theirs}
    for track in (*left.values(), *fresh):
        yield track, {}


def _add(made: Plan, kind: Kind, what: str, track: Content) -> None:
    work = made.work[kind]
    setattr(work, what, getattr(work, what) + 1)
    if what in ("new", "stale", "again"):
        work.audio_s += track.duration_s


# ---- what it costs


def _expect(made: Plan, config: RunConfig, ledger: Known | None, wanted: list[Recipe]) -> None:
    planned = [one.planned() for one in wanted]
    speeds = ledger.speeds(planned, device=config.device) if ledger is not None else {}
    sizes = Sizes(config.declarations, config.stage_settings)
    for kind, work in made.work.items():
        work.seconds = expected_s(kind, work.audio_s, speeds)
        made.needed_bytes += work.audio_s * sizes.per_audio_s([kind[0]], kind[1])
    there = next(place for place in (config.out, *config.out.parents) if place.is_dir())
    limits = config.limits
    made.free_bytes = Room(
        there, min_free_bytes=limits.min_free_bytes, min_free_files=limits.min_free_files
    ).free_bytes()
