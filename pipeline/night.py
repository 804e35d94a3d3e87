"""What the parts of a run share: settings, ledger, output folder, lock, and who listens."""

from __future__ import annotations

import selectors
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pipeline.allowance import Allowance
from pipeline.artifacts import OutputFolder, replace_json
from pipeline.child import Child
from pipeline.config import RunConfig
from pipeline.events import Emit, Event
from pipeline.ledger import Ledger
from pipeline.ledger.jobs import Cause
from pipeline.ledger.plan import Planned
from pipeline.ledger.work import Job, Work
from pipeline.lock import HeldLock
from pipeline.machine import Machine
from pipeline.recipe import Recipe
from stages.base import STEMS_FROM, JsonValue


@dataclass
class Night:
    """One run. `blocked` grows when a stage turns out not to start."""

    config: RunConfig
    out: OutputFolder
    ledger: Ledger
    lock: HeldLock
    run_id: int
    recipes: list[Recipe]
    threads: int
    emit: Emit
    clock: Callable[[], float]
    selector: selectors.BaseSelector
    environment: Mapping[str, str]
    memory_bytes: int
    allowance: Allowance
    machine: Machine
    blocked: dict[str, str] = field(default_factory=dict)
    children: set[Child] = field(default_factory=set)
    output_errors: int = 0  # errors of the disk on which the outputs lie
    rows_at_work: int = 1  # lanes that work beside one another now: two with --overlap

    @property
    def lane_bytes(self) -> int:
        """Return what a lane may hold: what is asked for, or its part of half of the memory."""
        return self.config.limits.lane_bytes or self.memory_bytes // 2 // self.rows_at_work

    @property
    def device_lane(self) -> str | None:
        """Return the lane that separates, None where this run does not."""
        separates = STEMS_FROM in self.config.selected
        return self.lane_of(STEMS_FROM) if separates else None

    def planned(self) -> list[Planned]:
        """Return the jobs that this run wants for each track."""
        return [recipe.planned() for recipe in self.recipes if recipe.stage in self.config.selected]

    @property
    def wanted(self) -> tuple[str, ...]:
        """Return the stages whose jobs this run queues: none once it has taken up all it may."""
        return () if self.allowance.full else self.config.selected

    def take_up(self, track_id: int) -> None:
        """Note a track that a lane will work on; after the last of `--limit` the others must wait."""
        all_taken = self.allowance.take_up(track_id)
        if all_taken is not None:
            self.ledger.queue.keep(self.run_id, all_taken)
            self.tell("limit_reached", tracks=len(all_taken))

    def tell(self, kind: str, **facts: JsonValue) -> None:
        """Tell everybody what happened."""
        self.emit(Event(kind, facts))

    def tell_job(self, kind: str, work: Work, job: Job, **facts: JsonValue) -> None:
        """Tell everybody what happened to a job."""
        self.tell(
            kind,
            path=self.shown(work.path),
            lane=self.lane_of(job.stage),
            stage=job.stage,
            scope=job.scope,
            **facts,
        )

    def fail(self, work: Work, job: Job, cause: Cause) -> None:
        """Note and tell that a track cannot be done."""
        self.ledger.jobs.fail(job, cause)
        self.report_failure(work, job, cause)

    def report_failure(self, work: Work, job: Job, cause: Cause) -> None:
        """Tell everybody that a track cannot be done."""
        self.tell_job(
            "job_failed",
            work,
            job,
            reason=cause.reason,
            detail=cause.detail,
            audio_s=work.duration_s,
        )

    def lane_of(self, stage: str) -> str:
        """Return the lane of a stage."""
        return self.config.declarations[stage].lane

    def model_of(self, stage: str) -> str | None:
        """Return the name of a stage's model, None where it has none."""
        return next((one.planned().model for one in self.recipes if one.stage == stage), None)

    def tell_progress(self, work: Work, lane: str, scope: str, phase: str, done_s: float) -> None:
        """Tell how far a track is; shown, not logged."""
        self.tell(
            "progress",
            path=self.shown(work.path),
            lane=lane,
            scope=scope,
            phase=phase,
            done_s=done_s,
        )

    def block(self, stage: str, why: str) -> None:
        """A stage cannot start: its jobs wait for a mended machine, the others go on."""
        jobs = self.ledger.jobs.block(self.run_id, stage, why)
        if stage not in self.blocked:
            self.blocked[stage] = why
            self.tell("stage_blocked", stage=stage, why=why, jobs=jobs)

    def decide(self, stage: str, facts: dict[str, JsonValue]) -> None:
        """Remember what a stage decided for this machine: later runs compute in the same way."""
        if self.machine.of_stage(stage) != facts:
            self.machine.decide(stage, facts)
            self.machine.save(replace_json)

    def watch(self, child: Child) -> None:
        """Listen to a child."""
        self.children.add(child)
        self.selector.register(child.wire, selectors.EVENT_READ, child)
        self.selector.register(child.output, selectors.EVENT_READ, child)

    def unwatch(self, child: Child) -> None:
        """Stop listening to a child that has ended."""
        self.children.discard(child)
        for stream in (child.wire, child.output):
            if stream in self.selector.get_map():
                self.selector.unregister(stream)
        child.close()

    def shown(self, path: bytes) -> str:
        """Return a path for people."""
        from pipeline.scan import display

        return display(path)
