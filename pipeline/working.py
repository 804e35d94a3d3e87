"""The supervisor's side of a lane: hands out tracks and files the results."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

from pipeline import manifest as manifests
from pipeline.blame import Lost, Process, Unit, blame
from pipeline.child import Child
from pipeline.claims import Claims
from pipeline.errors import LockLost, Unfit
from pipeline.identity import identity, signed
from pipeline.lane_clock import LaneClock
from pipeline.ledger.files import SeenFile
from pipeline.ledger.jobs import Cause, Published
from pipeline.ledger.speeds import Took
from pipeline.ledger.work import Job, Work
from pipeline.night import Night
from pipeline.order import TRACKS_AT_ONCE
from pipeline.ordering import setup, work_order
from pipeline.probing import Probing
from pipeline.recovery import recover
from pipeline.threads import variables
from pipeline.watch import Watch
from pipeline.wire import Message
from stages.base import STEMS_FROM, Reason, Scope

_LOADING = 0  # the unit number under which loading is watched
_DEATHS_WHILE_LOADING = 2
_IDLE_DEATHS = 3
_CHANGES = 3
_OUTPUT_ERRORS = 1  # a run forgives one


class Working:
    """One lane in one scope, from its first track to its last."""

    def __init__(
        self,
        night: Night,
        probing: Probing,
        lane: str,
        scope: Scope,
        *,
        at_work: Callable[[], Sequence[Working]],
    ) -> None:
        self.lane = lane
        self.scope = scope
        self._night = night
        self._probing = probing
        self._at_work = at_work  # this pass, and the one beside it
        self._claims = Claims(night, lane, scope)
        self._process: Process | None = None
        self._queue: deque[Unit] = deque()  # claimed, not yet sent
        self._suspects: deque[int] = deque()  # tracks to be run alone, one at a time
        self._numbers = _LOADING
        self._deaths_loading: dict[str, int] = {}
        self._idle_deaths = 0
        self._changes: dict[bytes, int] = {}

    @property
    def busy(self) -> bool:
        """Say whether tracks are in its hands."""
        return bool(self._in_hand())

    @property
    def suspects(self) -> bool:
        """Say whether a track is to be run alone, or is."""
        return bool(self._suspects) or any(unit.alone for unit in self._in_hand())

    @property
    def running(self) -> bool:
        """Say whether its process lives."""
        return self._process is not None

    def _in_hand(self) -> list[Unit]:
        sent = self._process.units.values() if self._process is not None else ()
        return [*sent, *self._queue]

    def _stages(self) -> list[str]:
        night = self._night
        return [
            recipe.stage
            for recipe in night.recipes
            if (recipe.lane, recipe.scope) == (self.lane, self.scope)
            and recipe.stage in night.config.selected
            and recipe.stage not in night.blocked
        ]

    # ---- handing out

    def feed(self) -> None:
        """Claim what fits and hand it out; what is published already is only noted."""
        with self._night.ledger.together():
            self._claim_what_fits()
        self._hand_out()

    def nothing_fits(self) -> bool:
        """Look once more; say whether there are tracks to claim and none of them may be taken up."""
        self._claims.look_again()
        self.feed()
        return self._claims.held_up and not self.busy

    def _claim_what_fits(self) -> None:
        while self._has_room() and (work := self._claim()) is not None:
            unit = self._unless_published(work)
            if unit is not None:
                self._queue.append(unit)
                self._night.take_up(work.track_id)

    def _hand_out(self) -> None:
        """Send what is claimed; the claim is durable before the lane writes anything."""
        if self._queue and self._process is None:
            self._start()
        if self._process is not None and self._process.ready:
            while self._queue:
                self._send(self._process, self._queue.popleft())

    def _has_room(self) -> bool:
        if self._process is not None and self._process.leaving:
            return False
        in_hand = self._in_hand()
        if any(unit.alone for unit in in_hand):
            return False
        suspecting = next((one for one in self._at_work() if one.suspects), None)
        if suspecting is not None and suspecting is not self:
            return False  # its track is alone on the whole machine: lanes may die of each other's memory
        if self._suspects:
            return not any(one.busy for one in self._at_work())
        window = self._process.window if self._process is not None else TRACKS_AT_ONCE
        return len(in_hand) < window

    def _claim(self) -> Work | None:
        stages, in_hand = self._stages(), self._in_hand()
        loaded = self._process is not None and self._process.ready
        if self._suspects:
            suspect = self._suspects[0]
            return (
                self._claims.next(stages, in_hand, loaded=loaded, track_id=suspect)
                or self._cleared()
            )
        return self._claims.next(stages, in_hand, loaded=loaded)

    def _cleared(self) -> Work | None:
        """A suspect has nothing left to do: look at the next."""
        self._suspects.popleft()
        return self._claim() if not self._in_hand() else None

    def _unless_published(self, work: Work) -> Unit | None:
        """Adopt what a killed run published before it could tell the ledger."""
        left = {}
        for job in work.jobs:
            if job.stage in self._night.blocked:
                self._night.ledger.jobs.put_back([job], Cause("blocked"))
                self._night.block(job.stage, self._night.blocked[job.stage])
                continue
            found = manifests.read(self._night.out.stage(work.folder, job.stage, job.scope))
            if found is not None and found[0].fingerprint == job.fingerprint:
                self._note_done(work, job, found[1], adopted=True)
            else:
                left[job.id] = job
        if not left:
            return None
        self._numbers += 1
        alone = bool(self._suspects) and self._suspects[0] == work.track_id
        if alone:
            self._suspects.popleft()
        return Unit(self._numbers, work, left, alone=alone)

    def _send(self, process: Process, unit: Unit) -> None:
        process.units[unit.number] = unit
        process.child.send(work_order(self._night, unit, self.scope).to_message())
        process.lane_clock.given()

    def _start(self) -> None:
        night, stages = self._night, self._stages()
        told = setup(night, self.lane, self.scope, stages)
        child = Child(
            "pipeline.lane",
            environment={**night.environment, **variables(told.library_threads)},
            arguments=[str(night.lock.descriptor)],
            inherit=[night.lock.descriptor],
        )
        limits = night.config.limits
        watch = Watch(
            base_s=limits.hang_base_s,
            per_audio_s=limits.hang_per_audio_s,
            clock=night.clock,
            cpu_s=child.cpu_s,
        )
        self._process = Process(child, watch, LaneClock(night.clock))
        night.watch(child)
        night.tell(
            "lane_started",
            lane=self.lane,
            scope=self.scope,
            stages=list(stages),
            pid=child.pid,
            threads=told.mine.threads,
        )
        child.send(told.order.to_message())
        watch.progress(_LOADING, "start", limit_s=limits.load_s)

    # ---- hearing

    def owns(self, child: Child) -> bool:
        """Say whether a child is this lane's process."""
        return self._process is not None and child is self._process.child

    def hear(self, child: Child) -> None:
        """Take what the lane reports; its end is heard last."""
        process = self._process
        assert process is not None
        messages, is_open = child.receive()
        # What is done and what is taken next wait for the disk only once.
        with self._night.ledger.together():
            for message in messages:
                self._heard(process, message)
            if is_open:
                self._claim_what_fits()
        if not is_open:
            self._ended(process)
        self._hand_out()

    def _heard(self, process: Process, message: Message) -> None:
        said = cast("dict[str, Any]", message)
        kind = said["type"]
        if kind == "loading":
            process.loading = said["stage"]
        elif kind == "ready":
            process.window = said["window"]
            self._ready(process, said["blocked"])
        elif kind == "decided":
            self._night.decide(said["stage"], said["facts"])
        elif kind == "unfit":
            raise (
                LockLost(self._night.lock.path) if said["lock_lost"] else Unfit(_unfit(said["why"]))
            )
        elif kind != "bye":
            unit = process.units.get(said["unit"])
            if unit is not None:
                self._heard_of(process, unit, said)

    def _ready(self, process: Process, blocked: dict[str, str]) -> None:
        process.ready, process.loading = True, None
        process.watch.rest(_LOADING)
        for stage, why in blocked.items():
            self._block(stage, why)

    def _block(self, stage: str, why: str) -> None:
        """Its claimed jobs go back first, so that they are blocked with the rest."""
        for unit in list(self._queue):
            theirs = [job for job in unit.open.values() if job.stage == stage]
            self._night.ledger.jobs.put_back(theirs, Cause("blocked"))
            for job in theirs:
                del unit.open[job.id]
            if not unit.open:
                self._queue.remove(unit)
        self._night.block(stage, why)

    def _heard_of(self, process: Process, unit: Unit, said: dict[str, Any]) -> None:
        kind = said["type"]
        if kind == "progress":
            unit.started, unit.phase = True, said["phase"]
            process.watch.progress(unit.number, unit.phase, unit.work.duration_s or 0.0)
            self._night.tell_progress(unit.work, self.lane, self.scope, unit.phase, said["done_s"])
        elif kind in ("decoded", "computed"):
            unit.phase = kind
            process.watch.rest(unit.number)
        elif kind == "finished":
            del process.units[unit.number]
            process.watch.rest(unit.number)
            self._learn(unit, process.lane_clock.ended(more=bool(process.units)))
            self._idle_deaths = 0
            self._recycle_if_grown(process)
        else:
            self._job_ended(unit, unit.open.pop(said["job"]), said)

    def _job_ended(self, unit: Unit, job: Job, said: dict[str, Any]) -> None:
        if said["type"] == "published":
            self._note_done(
                unit.work, job, said["manifest_sha256"],
                wall_s=said["wall_s"], cpu_s=said["cpu_s"], peak_bytes=said["peak_bytes"],
            )  # fmt: skip
            unit.done.append((job, said["wall_s"]))
            unit.device = said["device"]
        elif said["type"] == "failed":
            cause = Cause(said["reason"], said["detail"], phase=unit.phase)
            if cause.reason == Reason.STEMS_GONE:
                self._night.ledger.jobs.stems_gone(job, cause)
                self._night.report_failure(unit.work, job, cause)
                return
            self._night.fail(unit.work, job, cause)
        elif said["type"] == "output_error":
            self._output_error(unit.work, job, said["detail"])
        else:
            self._changed(unit.work, job)

    def _output_error(self, work: Work, job: Job, detail: str) -> None:
        """The disk failed once: all of it from scratch, and never a second fsync. Twice: it dies."""
        self._night.output_errors += 1
        if self._night.output_errors > _OUTPUT_ERRORS:
            raise Unfit(_unfit(detail))
        self._night.ledger.jobs.put_back([job], Cause(Reason.IO, detail))
        self._night.tell_job("output_error", work, job, detail=detail)

    def _note_done(
        self,
        work: Work,
        job: Job,
        manifest_sha256: str,
        *,
        adopted: bool = False,
        wall_s: float | None = None,
        cpu_s: float | None = None,
        peak_bytes: int | None = None,
    ) -> None:
        folder = self._night.out.stage(work.folder, job.stage, job.scope)
        published = Published(
            manifest_sha256, manifests.features(folder), wall_s, cpu_s, peak_bytes
        )
        self._night.ledger.jobs.done(job, published, upstream=work.upstream, adopted=adopted)
        if job.stage == STEMS_FROM:
            night = self._night
            night.ledger.jobs.want_stems(night.run_id, work.track_id, night.config.selected)
        kind = "job_adopted" if adopted else "job_done"
        self._night.tell_job(kind, work, job, wall_s=wall_s, audio_s=work.duration_s)

    def _learn(self, unit: Unit, lane_s: float) -> None:
        """Note how long the lane took for a track; its jobs share that as their own times were."""
        night, audio_s = self._night, unit.work.duration_s
        in_all_s = sum(wall_s for _, wall_s in unit.done)
        if not audio_s or not in_all_s:
            return
        device = unit.device if self.lane == night.device_lane else "cpu"
        took = [
            Took(
                job.stage, job.scope, job.recipe, device, night.model_of(job.stage), audio_s, part_s
            )
            for job, wall_s in unit.done
            for part_s in [lane_s * wall_s / in_all_s]
        ]
        night.ledger.speeds.note(night.run_id, took)
        for one in took:
            night.allowance.pace.took(one)

    def _changed(self, work: Work, job: Job) -> None:
        """The source is not the file that was hashed: throw the result away and look again."""
        changes = self._changes[work.path] = self._changes.get(work.path, 0) + 1
        if changes > _CHANGES:
            cause = Cause(Reason.IO, "the file changes all the time; run again when it has settled")
            self._night.fail(work, job, cause)
            return
        self._night.ledger.jobs.put_back([job], Cause("source_changed"), queued=False)
        self._night.tell_job("source_changed", work, job)
        path = os.path.join(os.fsencode(self._night.config.dataset), work.path)
        try:
            stat = os.stat(path)
        except OSError:
            return  # gone: the next scan will miss it
        size_bytes, mtime_ns, ctime_ns, inode = identity(stat)
        shown, device = self._night.shown(work.path), signed(stat.st_dev)
        seen = SeenFile(work.path, shown, size_bytes, mtime_ns, ctime_ns, inode, device)
        self._night.ledger.files.add(self._night.run_id, [seen])
        self._probing.look_again()

    # ---- ends

    def check_hang(self) -> None:
        """Kill a lane that hangs; the track it hangs on fails, the others go back."""
        if self._process is None:
            return
        hanging = self._process.watch.hanging()
        if hanging is not None:
            number, phase = hanging
            self._ended(self._process, hung=number, phase=phase)

    def _ended(
        self, process: Process, *, hung: int | None = None, phase: str | None = None
    ) -> None:
        """The process died, hangs or left: settle what it had, and forget it."""
        tail = process.child.tail()
        status = process.child.kill()
        self._night.unwatch(process.child)
        self._process = None
        self._night.lock.check()  # another run may be at work in .tmp
        # What it had whole is published, and adopted when claimed again.
        theirs = (job for unit in process.units.values() for job in unit.work.jobs)
        recover(self._night.out, only={job.attempt for job in theirs})
        lost = Lost(status, tail, hung=hung, phase=phase, expected=process.leaving)
        if not process.ready and not process.leaving:
            self._died_loading(process, lost)
            return
        started = [unit for unit in process.units.values() if unit.started]
        if not started and not process.leaving:
            self._died_idle(lost)
        if not process.leaving:
            self._night.tell(
                "lane_died",
                lane=self.lane,
                how=lost.how,
                tracks=[self._night.shown(unit.work.path) for unit in started],
                tail=tail[-2000:],
            )
        self._suspects.extend(blame(self._night, process, lost))

    def _died_loading(self, process: Process, lost: Lost) -> None:
        stage = process.loading or (self._stages() or [self.lane])[0]
        deaths = self._deaths_loading[stage] = self._deaths_loading.get(stage, 0) + 1
        self._night.tell(
            "lane_died", lane=self.lane, how=lost.how, loading=stage, tail=lost.tail[-2000:]
        )
        if lost.hung is not None or deaths >= _DEATHS_WHILE_LOADING:
            last = lost.tail.splitlines()[-1] if lost.tail else "it printed nothing"
            self._block(
                stage, f"its process ended while loading ({lost.how}): {last}. See the run log."
            )

    def _died_idle(self, lost: Lost) -> None:
        self._idle_deaths += 1
        if self._idle_deaths >= _IDLE_DEATHS:
            for stage in self._stages():
                self._block(
                    stage, f"its process keeps ending without work ({lost.how}). See the run log."
                )

    def _recycle_if_grown(self, process: Process) -> None:
        """A lane that has grown too large leaves; the track it decoded ahead goes back."""
        resident = process.child.resident_bytes()
        if resident > self._night.lane_bytes and not process.leaving:
            self._night.tell("lane_recycled", lane=self.lane, bytes=resident)
            self.leave()

    def leave(self) -> None:
        """Let the lane finish the track it computes, and leave."""
        self._put_back_queue("stopped")
        if self._process is not None and not self._process.leaving:
            self._process.leaving = True
            self._process.child.send({"type": "stop"})

    def kill(self) -> None:
        """End the lane now; what it had goes back."""
        self._put_back_queue("abandoned")
        if self._process is not None:
            self._process.leaving = True
            self._ended(self._process)

    def _put_back_queue(self, why: str) -> None:
        for unit in self._queue:
            self._night.ledger.jobs.put_back(list(unit.open.values()), Cause(why))
        self._queue.clear()


def _unfit(why: str) -> str:
    return (
        f"{why}. The run stopped; finished work is kept. Free some space or mend the folder's "
        "rights, then run the same command again."
    )
