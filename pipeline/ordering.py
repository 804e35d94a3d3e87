"""What a lane is told: its stages and budget when it starts, and each track with its jobs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.blame import Unit
from pipeline.machine import processor
from pipeline.night import Night
from pipeline.order import JobOrder, LaneOrder, StageOrder, WorkOrder
from pipeline.threads import Share, share
from stages.base import Scope


@dataclass(frozen=True)
class Setup:
    """A lane's order, and its part of the machine; `library_threads` of that are of each track."""

    order: LaneOrder
    mine: Share
    library_threads: int


def setup(night: Night, lane: str, scope: Scope, stages: Sequence[str]) -> Setup:
    """Return what a lane is told first."""
    declared = [night.config.declarations[name] for name in stages]
    beside, device_lane = night.rows_at_work > 1, lane == night.device_lane
    mine = share(night.threads, device_lane=device_lane, beside=beside)
    # One thread for each track's libraries: THREADING_ANALYSIS.md#tracks-on-threads.
    parallel = any(one.parallel for one in declared)
    library_threads = 1 if parallel else mine.threads
    order = LaneOrder(
        registry=night.config.registry,
        out=str(night.out.root),
        lock=str(night.lock.path),
        device=night.config.device,
        threads=library_threads,
        tracks_at_once=mine.threads if parallel else 1,
        nice=mine.nice,
        processor=processor(),
        limits=night.config.decode,
        room_bytes=night.lane_bytes // 2,
        stages={name: _stage_order(night, name, scope) for name in stages},
    )
    return Setup(order, mine, library_threads)


def _stage_order(night: Night, stage: str, scope: Scope) -> StageOrder:
    (recipe,) = (one for one in night.recipes if (one.stage, one.scope) == (stage, scope))
    decided = night.machine.of_stage(stage)
    return StageOrder(night.config.declarations[stage], recipe.asked, recipe.weights, decided)


def work_order(night: Night, unit: Unit, scope: Scope) -> WorkOrder:
    """Return what a lane is told of a track."""
    work = unit.work
    return WorkOrder(
        unit=unit.number,
        path=os.fsdecode(os.path.join(os.fsencode(night.config.dataset), work.path)),
        folder=os.fsdecode(work.folder),
        sha256=work.sha256,
        scope=scope,
        identity=work.identity,
        upstream=work.upstream,
        source={
            "path": os.fsdecode(work.path),
            "sha256": work.sha256,
            "size_bytes": work.identity[0],
            "duration_s": work.duration_s,
            "sample_rate_hz": work.sample_rate_hz,
            "channels": work.channels,
            "codec": work.codec,
        },
        jobs=tuple(
            JobOrder(job.id, job.stage, job.recipe, job.fingerprint, job.attempt)
            for job in unit.open.values()
        ),
    )
