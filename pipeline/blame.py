"""Who is to blame when a lane ends before its work: evidence, suspects, and the innocent."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.child import Child, ending
from pipeline.lane_clock import LaneClock
from pipeline.ledger.jobs import Cause
from pipeline.ledger.work import Job, Work
from pipeline.night import Night
from pipeline.order import TRACKS_AT_ONCE
from pipeline.watch import Watch
from stages.base import Reason

_TAIL_KEPT = 4000


@dataclass
class Unit:
    """A track in a lane's hands. `started` once the lane said that it works on it."""

    number: int
    work: Work
    open: dict[int, Job]
    alone: bool = False
    started: bool = False
    phase: str = "sent"
    done: list[tuple[Job, float]] = field(
        default_factory=list
    )  # with the seconds each says it took
    device: str = "cpu"  # on which they were done

    def guilty(self) -> list[Job]:
        """Return the jobs at work: of the stage that ran, or all while decoding."""
        at_work = [job for job in self.open.values() if job.stage == self.phase]
        if at_work or self.phase != "publish":
            return at_work or list(self.open.values())
        return list(self.open.values())[:1]


@dataclass
class Process:
    """A lane process and what is known of it."""

    child: Child
    watch: Watch
    lane_clock: LaneClock
    window: int = TRACKS_AT_ONCE
    ready: bool = False
    leaving: bool = False
    loading: str | None = None
    units: dict[int, Unit] = field(default_factory=dict)


@dataclass(frozen=True)
class Lost:
    """How a lane was lost: by itself, or killed by us because a unit hung."""

    status: int
    tail: str
    hung: int | None = None
    phase: str | None = None
    expected: bool = False

    @property
    def how(self) -> str:
        """Name the signal or exit status."""
        return "no progress" if self.hung is not None else ending(self.status)


def blame(night: Night, process: Process, lost: Lost) -> list[int]:
    """Settle the tracks of a lane that was lost.

    Returns:
        Tracks that are to be run alone: the suspects of a death that several had in hand, or the
        one whose first death may have been bad luck.
    """
    units = list(process.units.values())
    if lost.expected:
        _release(night, units, "stopped")
        return []
    if lost.hung is not None:
        _hung(night, process, lost)
        return []
    started = [unit for unit in units if unit.started]
    _release(night, [unit for unit in units if not unit.started], "lane_died")
    if len(started) != 1:
        _release(night, started, "suspect")
        return [unit.work.track_id for unit in started]
    return _death(night, started[0], lost)


def _death(night: Night, unit: Unit, lost: Lost) -> list[int]:
    cause = Cause(
        Reason.CRASH,
        f"{lost.how} during {unit.phase}: {lost.tail[-_TAIL_KEPT:] or 'nothing was printed'}",
        signal=lost.how,
        phase=unit.phase,
    )
    guilty = unit.guilty()
    given_up = [night.ledger.jobs.died(job, cause) for job in guilty]
    for job, failed in zip(guilty, given_up, strict=True):
        if failed:
            night.report_failure(unit.work, job, cause)
    innocent = [job for job in unit.open.values() if job not in guilty]
    night.ledger.jobs.put_back(innocent, Cause("lane_died"))
    return [unit.work.track_id]


def _hung(night: Night, process: Process, lost: Lost) -> None:
    hung = process.units.pop(lost.hung) if lost.hung in process.units else None
    _release(night, list(process.units.values()), "lane_killed")
    if hung is None:
        return
    cause = Cause(Reason.HANG, f"no progress during {lost.phase}", phase=lost.phase)
    guilty = hung.guilty()
    for job in guilty:
        night.fail(hung.work, job, cause)
    night.ledger.jobs.put_back(
        [job for job in hung.open.values() if job not in guilty], Cause("lane_killed")
    )


def _release(night: Night, units: list[Unit], why: str) -> None:
    for unit in units:
        night.ledger.jobs.put_back(list(unit.open.values()), Cause(why))
