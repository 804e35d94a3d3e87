"""A lane: the process that loads its stages once and works through tracks until told to stop.

    python -P -m pipeline.lane <pipe> <parent pid> <lock>

It loads its stages and hands them to `lane_stream`, where one takes several tracks at once, or to
`lane_tracks`. It never opens the ledger; it reports through the pipe.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.lane_inbox import Inbox
from pipeline.lane_publisher import Publisher
from pipeline.lane_reports import Reports
from pipeline.lane_stream import Stream
from pipeline.lane_tracks import Tracks
from pipeline.start import step_back, tied_to_parent

if TYPE_CHECKING:
    from pipeline.artifacts import OutputFolder
    from pipeline.lock import HeldLock
    from pipeline.order import LaneOrder, StageOrder
    from stages.base import Stage, StageSettings, StreamStage

logger = logging.getLogger(__name__)


def main() -> int:
    """Serve until told to stop, or until the supervisor is gone."""
    wire = tied_to_parent(expendable=True)
    lock_descriptor = int(sys.argv[3])
    os.set_inheritable(lock_descriptor, False)  # ffmpeg must not hold the lock
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    threading.excepthook = _leave
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
    step_back(order.nice)
    out = OutputFolder(Path(order.out))
    lock = HeldLock(Path(order.lock), lock_descriptor)
    Lane(order, out, lock, Reports(wire)).serve(inbox)
    return 0


def _leave(died: threading.ExceptHookArgs) -> None:
    """A thread that ends by an error leaves the others waiting for ever: leave with it."""
    if died.exc_value is not None:
        traceback.print_exception(died.exc_value)
        sys.stderr.flush()
    os._exit(1)


class Lane:
    """The stages of a lane, loaded, and the track they are working on."""

    def __init__(
        self, order: LaneOrder, out: OutputFolder, lock: HeldLock, reports: Reports
    ) -> None:
        self._order = order
        self._out = out
        self._reports = reports
        self._stages: dict[str, Stage[StageSettings]] = {}
        self._publisher = Publisher(order, out, lock, reports)

    def serve(self, inbox: Inbox) -> None:
        """Load the stages, then work until told to stop; what is not begun then is left."""
        self._load()
        streaming = self._streaming()
        if streaming is not None:
            Stream(streaming, self._order, self._publisher, self._reports).serve(inbox)
        else:
            self._tracks().serve(inbox)
        self._reports.send("bye")

    def _tracks(self) -> Tracks:
        return Tracks(self._stages, self._order, self._out, self._publisher, self._reports)

    def _streaming(self) -> StreamStage[Any, Any] | None:
        """Return the stage of a lane that takes a stream of tracks, if it is one."""
        from stages.base import StreamStage

        stages = list(self._stages.values())
        return stages[0] if len(stages) == 1 and isinstance(stages[0], StreamStage) else None

    # ---- loading

    def _load(self) -> None:
        from stages.base import DeviceUnusable

        blocked: dict[str, str] = {}
        for name, stage in self._order.stages.items():
            self._reports.send("loading", stage=name)
            try:
                self._stages[name] = self._loaded(stage)
                self._reports.decided(name, self._stages[name].decided)
            except DeviceUnusable as error:
                self._reports.send("unfit", why=str(error), lock_lost=False)
            except Exception as error:
                logger.exception("stage=%s cannot be loaded", name)
                blocked[name] = _why_blocked(error, stage)
        streaming = self._streaming()
        window = self._tracks().window if streaming is None else streaming.window
        self._reports.send("ready", blocked=blocked, window=window)

    def _loaded(self, order: StageOrder) -> Stage[StageSettings]:
        module, _, name = order.declaration.target.partition(":")
        kind = getattr(import_module(module), name)
        stage: Stage[StageSettings] = kind(order.checked(), device=self._order.device)
        _check_weights(order)
        stage.decided = dict(order.decided)
        stage.load()
        return stage


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


def _why_blocked(error: Exception, order: StageOrder) -> str:
    from stages.base import StageBlocked

    if isinstance(error, StageBlocked):
        return str(error)
    if isinstance(error, ImportError):
        extra = order.declaration.extra
        return f'{error}. Install it: pip install -c constraints.txt -e ".[{extra}]"'
    if "no locator available" in str(error):  # numba has no folder for what it compiles
        return f"{error}. Set NUMBA_CACHE_DIR to a folder that can be written to"
    return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    # Libraries' threads and destructors have nothing left to say, and some crash saying it.
    os._exit(status)
