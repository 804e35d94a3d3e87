"""The supervisor's side of the process that asks the drivers.

A process and no thread: a driver that crashes takes the process that loaded it along, and one that
hangs lets no thread end. The supervisor never waits for an answer, and loads no driver's library.
The price is a Python process of 18 MB, over a library that answers from memory; only where one is
installed, and from the first sample on.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Mapping
from typing import Any, cast

from pipeline.child import Child, ending
from pipeline.monitoring.find import NOT_INSTALLED, any_installed
from pipeline.monitoring.gpu import GpuSample
from pipeline.wire import Message

_LEAVES_WITHIN_S = 1.0


class Cards:
    """What the cards last said. `why` tells why nothing comes any more; it is empty until then."""

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        module: str = "pipeline.monitoring.asking",
        installed: Callable[[], bool] = any_installed,
    ) -> None:
        self._environment = environment
        self._installed = installed
        self._module = module
        self._child: Child | None = None
        self._readable = select.poll()
        self.last: tuple[GpuSample, ...] = ()
        self.last_s = 0.0  # by the clock of `hear`
        self.waiting = False
        self.why = ""

    def ask(self) -> None:
        """Ask for one more answer, unless one is due already."""
        if self._child is None and not self._installed():
            self.why = self.why or NOT_INSTALLED
        if self.waiting or self.why:
            return
        if self._child is None:
            # Not among the children of the night: it does not hold the lock, so that nothing has
            # to wait for its death, which a driver may put off for ever.
            try:
                self._child = Child(self._module, environment=self._environment)
            except OSError as error:  # no process or descriptor more is to be had: no night's end
                self.why = f"the process that asks the drivers cannot be started: {error}"
                return
            self._readable.register(self._child.wire, select.POLLIN)
        self._child.send({"type": "ask"})
        self.waiting = True

    def hear(self, now_s: float) -> bool:
        """Take what has come; return whether anything has. Never blocks."""
        child = self._child
        if child is None:
            return False
        child.drain()
        if not self._readable.poll(0):
            return False
        messages, is_open = child.receive()
        for message in messages:
            self._heard(message, now_s)
        if not is_open and not self.why:
            self._died(child)
        if self.why:
            self.close()
        return bool(messages) or not is_open

    def _heard(self, message: Message, now_s: float) -> None:
        said = cast("dict[str, Any]", message)
        self.waiting = False
        if said["type"] == "none":
            self.why = said["why"]
        else:
            self.last = tuple(GpuSample(**card) for card in said["gpus"])
            self.last_s = now_s

    def _died(self, child: Child) -> None:
        # Waited for and not killed at once: the pipe closes a moment before the process ends.
        how = ending(child.wait(_LEAVES_WITHIN_S))
        lines = child.tail().splitlines()
        last = lines[-1] if lines else "it printed nothing"
        self.why = f"the process that asks the drivers ended ({how}): {last}"

    def close(self) -> None:
        """End the process; one that hangs in its driver is left to die when that lets it go."""
        if self._child is not None:
            self._child.kill_within(_LEAVES_WITHIN_S)
            self._child.wire.close()
            self._child.close()
            self._child = None
        self.last, self.waiting = (), False
