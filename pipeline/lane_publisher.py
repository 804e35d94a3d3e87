"""The end of a job in a lane: its attempt published with its manifest, or its failure told."""

from __future__ import annotations

import errno
import logging
import os
import resource
import sys
import time
import traceback
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

from pipeline.lane_reports import Reports

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.artifacts import OutputFolder
    from pipeline.lock import HeldLock
    from pipeline.manifest import File, Manifest
    from pipeline.order import JobOrder, LaneOrder, WorkOrder
    from stages.base import Facts, JsonValue, Reason, Stage

logger = logging.getLogger(__name__)

# The disk or the folder is unfit, not the track: the run stops instead of failing every track.
_UNFIT = {
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EXDEV, errno.EFBIG,
}  # fmt: skip
_DETAIL_MAX = 4000


class SourceChanged(Exception):
    """The file is not the one that was hashed."""


class Stopwatch:
    """Wall and CPU seconds of this process since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.monotonic(), time.process_time()

    def wall_s(self) -> float:
        """Return the wall seconds alone."""
        return time.monotonic() - self._wall

    def timings(self) -> dict[str, float]:
        """Return both."""
        return {"wall_s": self.wall_s(), "cpu_s": time.process_time() - self._cpu}


@dataclass(frozen=True)
class Result:
    """What a stage made of a track, beside the files."""

    facts: Facts
    flags: tuple[str, ...]
    duration_s: float
    timings: dict[str, float]


class Publisher:
    """Attempts of one lane. Every error of a job ends here, with the job's own reason."""

    def __init__(
        self, order: LaneOrder, out: OutputFolder, lock: HeldLock, reports: Reports
    ) -> None:
        self._order = order
        self._out = out
        self._lock = lock
        self._reports = reports

    def begin(self, job: JobOrder) -> Path:
        """Return the empty folder for the files of a job.

        Raises:
            LockLost: another run may be at work here.
            OSError: it cannot be made.
        """
        self._lock.check()
        return self._out.attempt(job.attempt)

    def publish(self, order: WorkOrder, job: JobOrder, stage: Stage[Any], result: Result) -> None:
        """Publish what lies in the folder of a job, and tell it.

        Raises:
            SourceChanged: the file is not the one that was hashed any more.
        """
        from pipeline.artifacts import TMP, publish

        self._reports.send("progress", unit=order.unit, phase="publish", done_s=result.duration_s)
        check_source(order)
        target = self._out.stage(os.fsencode(order.folder), job.stage, order.scope)

        def describe(files: tuple[File, ...]) -> Manifest:
            folder = self._out.relative(target)
            return self._manifest(order, job, stage, result, folder, files)

        attempt = self._out.root / TMP / job.attempt
        sha256 = publish(attempt, target, describe, out=self._out, lock=self._lock)
        wall_s = result.timings["wall_s"]
        logger.info("stage=%s track=%s seconds=%.2f", job.stage, order.sha256[:8], wall_s)
        self._reports.decided(job.stage, stage.decided)
        self._reports.send(
            "published",
            unit=order.unit,
            job=job.id,
            manifest_sha256=sha256,
            device=stage.device,
            peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            **result.timings,
        )

    def _manifest(
        self,
        order: WorkOrder,
        job: JobOrder,
        stage: Stage[Any],
        result: Result,
        folder: str,
        files: tuple[File, ...],
    ) -> Manifest:
        from pipeline.manifest import Manifest

        ordered = self._order.stages[job.stage]
        return Manifest(
            stage=job.stage,
            version=ordered.declaration.version,
            scope=order.scope,
            fingerprint=job.fingerprint,
            recipe=job.recipe,
            upstream=order.upstream,
            folder=folder,
            source=order.source,
            settings=ordered.checked().deciding(),
            weights=ordered.weights,
            numeric_path=self._numeric_path(job.stage, stage),
            facts=result.facts,
            flags=result.flags,
            files=files,
            attempt=job.attempt,
            created_utc=_now_utc(),
            timings=result.timings,
        )

    def _numeric_path(self, name: str, stage: Stage[Any]) -> dict[str, JsonValue]:
        libraries = self._order.stages[name].declaration.libraries
        return {
            "processor": self._order.processor,
            "threads": self._order.threads,
            "device": stage.device,
            "python": sys.version.split()[0],
            **{library: metadata.version(library) for library in libraries},
            **stage.decided,
        }

    def failed(self, unit: int, job: JobOrder, error: Exception) -> None:
        """Tell what became of a job that cannot be done."""
        from pipeline.errors import LockLost

        if isinstance(error, LockLost) or (isinstance(error, OSError) and error.errno in _UNFIT):
            self._reports.send("unfit", why=str(error), lock_lost=isinstance(error, LockLost))
            return
        if isinstance(error, SourceChanged):
            self._reports.send("changed", unit=unit, job=job.id)
            return
        if isinstance(error, OSError):
            # Decoders say what they cannot read by themselves: this is where the outputs go.
            self._reports.send("output_error", unit=unit, job=job.id, detail=str(error))
            return
        reason, detail = _why_failed(error)
        self._reports.send(
            "failed", unit=unit, job=job.id, reason=str(reason), detail=detail[:_DETAIL_MAX]
        )

    def clear(self, job: JobOrder) -> None:
        """Delete what a job left behind."""
        from pipeline.artifacts import TMP, clear_attempt

        clear_attempt(self._out.root / TMP / job.attempt)


def check_source(order: WorkOrder) -> None:
    """Make sure that the source is the file that was hashed."""
    from pipeline.identity import identity
    from stages.base import Reason, TrackUnusable

    if order.scope != "mix":
        return
    try:
        stat = os.stat(os.fsencode(order.path))
    except OSError as error:
        raise TrackUnusable(
            Reason.IO, f"the source cannot be looked at: {error.strerror}"
        ) from error
    if identity(stat) != order.identity:
        raise SourceChanged


def _why_failed(error: Exception) -> tuple[Reason, str]:
    from stages.base import Reason, TrackUnusable

    if isinstance(error, TrackUnusable):
        return error.reason, error.detail
    if isinstance(error, MemoryError):
        return Reason.MEMORY, f"out of memory: {error}"
    logger.error("%s", "".join(traceback.format_exception(error)))
    return Reason.ERROR, f"{type(error).__name__}: {error}"


def _now_utc() -> str:
    from datetime import UTC, datetime

    return datetime.now(UTC).isoformat(timespec="milliseconds")
