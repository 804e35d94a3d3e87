"""A lane: the process that loads its stages once and works through tracks until told to stop.

    python -P -m pipeline.lane <pipe> <parent pid> <lock>

A reader thread takes messages, a decode thread decodes one track ahead, the main thread computes
and publishes. It never opens the ledger; it reports through the pipe.
"""

from __future__ import annotations

import errno
import logging
import os
import queue
import resource
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pipeline.start import tied_to_parent
from pipeline.wire import Message, Wire

if TYPE_CHECKING:
    from pipeline.artifacts import OutputFolder
    from pipeline.lock import HeldLock
    from pipeline.order import LaneOrder, StageOrder, WorkOrder
    from stages.base import Reason, Stage, StageSettings, Track

logger = logging.getLogger(__name__)

_REPORT_EVERY_S = 0.5
# The disk or the folder is unfit, not the track: the run stops instead of failing every track.
_UNFIT = {
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EXDEV, errno.EFBIG,
}  # fmt: skip
_DETAIL_MAX = 4000


class SourceChanged(Exception):
    """The file is not the one that was hashed."""


@dataclass(frozen=True)
class Decoding:
    """A work order with its decoded track, or with what went wrong on the way."""

    order: WorkOrder
    track: Track | None
    flags: tuple[str, ...] = ()
    error: Exception | None = None


class Reports:
    """What the lane tells the supervisor."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def send(self, kind: str, **facts: object) -> None:
        """Send one report; without a supervisor there is nothing left to do."""
        try:
            self._wire.send(cast(Message, {"type": kind, **facts}))
        except OSError:
            os._exit(1)

    def ticker(self, unit: int, phase: str) -> Callable[[float], None]:
        """Return what a stage calls with its seconds done; passed on now and then."""
        self.send("progress", unit=unit, phase=phase, done_s=0.0)
        last = time.monotonic()

        def tick(done_s: float) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= _REPORT_EVERY_S:
                last = now
                self.send("progress", unit=unit, phase=phase, done_s=float(done_s))

        return tick


def main() -> int:
    """Serve until told to stop, or until the supervisor is gone."""
    wire = tied_to_parent(expendable=True)
    lock_descriptor = int(sys.argv[3])
    os.set_inheritable(lock_descriptor, False)  # ffmpeg must not hold the lock
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    inbox = Inbox()
    threading.Thread(target=inbox.listen, args=(wire,), daemon=True).start()

    # Only now the heavy imports: until here a dead parent was noticed at once.
    from pipeline.artifacts import OutputFolder
    from pipeline.lock import HeldLock
    from pipeline.order import LaneOrder

    first = inbox.next()
    if first is None:
        return 0
    order = LaneOrder.from_message(first)
    out = OutputFolder(Path(order.out))
    lock = HeldLock(Path(order.lock), lock_descriptor)
    Lane(order, out, lock, Reports(wire)).serve(inbox)
    return 0


class Inbox:
    """Messages from the supervisor, heard by a thread of their own whatever the others do."""

    def __init__(self) -> None:
        self._messages: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self.stopped = threading.Event()

    def listen(self, wire: Wire) -> None:
        """Take messages in until the supervisor is gone, and leave with it."""
        try:
            for message in wire.messages():
                if message["type"] == "stop":
                    self.stopped.set()
                    self._messages.put(None)
                else:
                    self._messages.put(message)
        finally:
            os._exit(1)

    def next(self) -> Message | None:
        """Return the next message, None when it is time to leave."""
        message = self._messages.get()
        return None if self.stopped.is_set() else message


class Lane:
    """The stages of a lane, loaded, and the track they are working on."""

    def __init__(
        self, order: LaneOrder, out: OutputFolder, lock: HeldLock, reports: Reports
    ) -> None:
        self._order = order
        self._out = out
        self._lock = lock
        self._reports = reports
        self._stages: dict[str, Stage[StageSettings]] = {}
        self._numeric: dict[str, dict[str, object]] = {}

    def serve(self, inbox: Inbox) -> None:
        """Load the stages, then work until told to stop; what is not begun then is left."""
        self._load()
        decoded: queue.Queue[Decoding | None] = queue.Queue(maxsize=1)
        threading.Thread(target=self._decode_ahead, args=(inbox, decoded), daemon=True).start()
        while (decoding := decoded.get()) is not None and not inbox.stopped.is_set():
            self._work(decoding)
            self._reports.send("finished", unit=decoding.order.unit)
        self._reports.send("bye")

    # ---- loading

    def _load(self) -> None:
        from stages.base import DeviceUnusable

        blocked: dict[str, str] = {}
        for name, stage in self._order.stages.items():
            self._reports.send("loading", stage=name)
            try:
                self._stages[name] = self._loaded(stage)
                self._numeric[name] = self._numeric_path(stage)
            except DeviceUnusable as error:
                self._reports.send("unfit", why=str(error), lock_lost=False)
            except Exception as error:
                logger.exception("stage=%s cannot be loaded", name)
                blocked[name] = _why_blocked(error, stage)
        self._reports.send("ready", blocked=blocked)

    def _loaded(self, order: StageOrder) -> Stage[StageSettings]:
        module, _, name = order.declaration.target.partition(":")
        kind = getattr(import_module(module), name)
        stage: Stage[StageSettings] = kind(order.checked(), device=self._order.device)
        _check_weights(order)
        stage.load()
        return stage

    def _numeric_path(self, order: StageOrder) -> dict[str, object]:
        return {
            "processor": self._order.processor,
            "threads": self._order.threads,
            "device": self._stages[order.declaration.name].device,
            "python": sys.version.split()[0],
            **{name: metadata.version(name) for name in order.declaration.libraries},
        }

    # ---- decoding, one track ahead

    def _decode_ahead(self, inbox: Inbox, decoded: queue.Queue[Decoding | None]) -> None:
        from pipeline.order import WorkOrder

        while (message := inbox.next()) is not None:
            decoded.put(self._decoded(WorkOrder.from_message(message)))
        decoded.put(None)

    def _decoded(self, order: WorkOrder) -> Decoding:
        from pipeline.sources import read_sources

        tick = self._reports.ticker(order.unit, "decode")
        try:
            _check_source(order)
            sources, flags = read_sources(order, self._out, self._order.limits, tick)
            _check_source(order)
        except Exception as error:
            return Decoding(order, None, error=error)
        from stages.base import Track

        self._reports.send("decoded", unit=order.unit)
        return Decoding(order, Track(order.sha256, sources), flags)

    # ---- computing and publishing

    def _work(self, decoding: Decoding) -> None:
        for position, job in enumerate(decoding.order.jobs):
            try:
                if decoding.error is not None:
                    raise decoding.error
                self._do(decoding, position)
            except Exception as error:
                self._report_failure(decoding.order.unit, job.id, error)
            self._clear(job.attempt)

    def _do(self, decoding: Decoding, position: int) -> None:
        from dataclasses import replace

        from pipeline.artifacts import publish
        from pipeline.manifest import File, Manifest

        order, job = decoding.order, decoding.order.jobs[position]
        assert decoding.track is not None
        self._lock.check()
        attempt = self._out.attempt(job.attempt)
        tick = self._reports.ticker(order.unit, job.stage)
        started, cpu_started = time.monotonic(), time.process_time()
        facts = self._stages[job.stage].run(replace(decoding.track, tick=tick), attempt)
        wall_s, cpu_s = time.monotonic() - started, time.process_time() - cpu_started
        self._reports.send(
            "progress", unit=order.unit, phase="publish", done_s=decoding.track.duration_s
        )
        _check_source(order)
        stage = self._order.stages[job.stage]
        target = self._out.stage(os.fsencode(order.folder), job.stage, order.scope)

        def describe(files: tuple[File, ...]) -> Manifest:
            return Manifest(
                stage=job.stage,
                version=stage.declaration.version,
                scope=order.scope,
                fingerprint=job.fingerprint,
                recipe=job.recipe,
                upstream=order.upstream,
                folder=self._out.relative(target),
                source=order.source,
                settings=stage.checked().deciding(),
                weights=stage.weights,
                numeric_path=cast("Mapping[str, str]", self._numeric[job.stage]),
                facts=facts,
                flags=decoding.flags,
                files=files,
                attempt=job.attempt,
                created_utc=_now_utc(),
                timings={"wall_s": wall_s, "cpu_s": cpu_s},
            )

        sha256 = publish(attempt, target, describe, out=self._out, lock=self._lock)
        logger.info("stage=%s track=%s seconds=%.2f", job.stage, order.sha256[:8], wall_s)
        self._reports.send(
            "published",
            unit=order.unit,
            job=job.id,
            manifest_sha256=sha256,
            wall_s=wall_s,
            cpu_s=cpu_s,
            peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        )

    def _report_failure(self, unit: int, job: int, error: Exception) -> None:
        from pipeline.errors import LockLost

        if isinstance(error, LockLost) or (isinstance(error, OSError) and error.errno in _UNFIT):
            self._reports.send("unfit", why=str(error), lock_lost=isinstance(error, LockLost))
            return
        if isinstance(error, SourceChanged):
            self._reports.send("changed", unit=unit, job=job)
            return
        if isinstance(error, OSError):
            # Decoders say what they cannot read by themselves: this is where the outputs go.
            self._reports.send("output_error", unit=unit, job=job, detail=str(error))
            return
        reason, detail = _why_failed(error)
        self._reports.send(
            "failed", unit=unit, job=job, reason=str(reason), detail=detail[:_DETAIL_MAX]
        )

    def _clear(self, attempt: str) -> None:
        from pipeline.artifacts import TMP, clear_attempt

        clear_attempt(self._out.root / TMP / attempt)


def _check_weights(order: StageOrder) -> None:
    """Make sure that the weights are those that the run began with: they stand in every fingerprint."""
    from stages.base import StageBlocked

    if order.declaration.weights is None:
        return
    found = {file.name: _sha256(file) for file in order.declaration.weights(order.checked())}
    if found != order.weights:
        changed = {*found.items()} ^ {(name, str(sha)) for name, sha in order.weights.items()}
        names = ", ".join(sorted({name for name, _ in changed}))
        raise StageBlocked(
            f"weights came, went or changed since this run began: {names}",
            "Run the same command again when it has ended",
        )


def _sha256(path: Path) -> str:
    import hashlib

    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check_source(order: WorkOrder) -> None:
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


def _why_blocked(error: Exception, order: StageOrder) -> str:
    from stages.base import StageBlocked

    if isinstance(error, StageBlocked):
        return str(error)
    if isinstance(error, ImportError):
        extra = order.declaration.extra
        return f'{error}. Install it: pip install -c constraints.txt -e ".[{extra}]"'
    return f"{type(error).__name__}: {error}"


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


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    # Libraries' threads and destructors have nothing left to say, and some crash saying it.
    os._exit(status)
