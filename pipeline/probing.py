"""The supervisor's side of the probe: hands files out, files the answers, outlives its deaths."""

from __future__ import annotations

import os
from collections import OrderedDict
from typing import Any, cast

from pipeline.child import Child, ending
from pipeline.errors import Unfit
from pipeline.ledger.files import KnownPath, Probed
from pipeline.night import Night
from pipeline.placing import place
from pipeline.watch import Watch
from pipeline.wire import Message

_AHEAD = 32
_DEATHS_ALLOWED = 1
_SILENT_DEATHS_ALLOWED = (
    5  # in a row, without one answer between: two bad files may follow each other
)
_SLOWEST_BYTES_S = 1e6  # of a disk or network that still counts as working


class Probing:
    """Hashing and header reading, ahead of the work and never before it."""

    def __init__(self, night: Night) -> None:
        self._night = night
        self._child: Child | None = None
        self._asked: OrderedDict[int, KnownPath] = OrderedDict()
        self._last = 0  # newest path handed out
        self._silent_deaths = 0
        self._watch: Watch | None = None

    @property
    def busy(self) -> bool:
        """Say whether answers are outstanding."""
        return bool(self._asked)

    def feed(self) -> bool:
        """Hand out files; return whether there were any."""
        room = _AHEAD - len(self._asked)
        if room < _AHEAD // 2:
            return True
        fresh = self._night.ledger.files.to_probe(self._night.run_id, after=self._last, limit=room)
        for known in fresh:
            self._last = known.id
            if known.id not in self._asked:
                self._ask(known)
        return bool(fresh)

    def look_again(self) -> None:
        """Hand out files anew that were taken in again under their old number."""
        self._last = 0

    def _ask(self, known: KnownPath) -> None:
        self._asked[known.id] = known
        path = os.path.join(os.fsencode(self._night.config.dataset), known.path)
        self._running().send({"type": "probe", "path_id": known.id, "path": os.fsdecode(path)})

    def _running(self) -> Child:
        if self._child is None:
            self._child = Child("pipeline.probe", environment=self._night.environment)
            self._night.watch(self._child)
            limits = self._night.config.decode.model_dump(mode="json")
            self._child.send({"type": "setup", "limits": limits})
            self._watch = Watch(
                base_s=self._night.config.limits.hang_base_s,
                per_audio_s=0.0,
                clock=self._night.clock,
                cpu_s=self._child.cpu_s,
            )
            self._expect_next()
        return self._child

    def owns(self, child: Child) -> bool:
        """Say whether a child is the probe."""
        return child is self._child

    def hear(self, child: Child) -> None:
        """Take the probe's answers."""
        messages, is_open = child.receive()
        with self._night.ledger.together():
            for message in messages:
                self._answered(message)
        if not is_open:
            self._died(child)

    def _answered(self, message: Message) -> None:
        said = cast("dict[str, Any]", dict(message))
        kind = said.pop("type")
        known = self._asked.pop(said.pop("path_id"), None)
        if known is None:
            return
        self._silent_deaths = 0
        self._expect_next()
        if kind == "probed":
            place(self._night, known, Probed(**said))
        else:
            self._give_up(known, said["why"])

    def _expect_next(self) -> None:
        """Watch the file whose answer is due: the probe answers in order."""
        if self._watch is None:
            return
        self._watch.clear()
        first = next(iter(self._asked.values()), None)
        if first is not None:
            limit_s = self._night.config.limits.hang_base_s + first.size_bytes / _SLOWEST_BYTES_S
            self._watch.progress(first.id, "probe", limit_s=limit_s)

    def check_hang(self) -> None:
        """Kill a probe that hangs: it is a death on the file whose answer is due."""
        if self._child is not None and self._watch is not None and self._watch.hanging():
            self._died(self._child)

    def _died(self, child: Child) -> None:
        """The probe answers in order: it died on the first file it owes."""
        tail = child.tail()
        how = ending(child.kill())
        self._night.unwatch(child)
        self._child = None
        owed = list(self._asked.values())
        self._asked.clear()
        if not owed:
            return
        self._silent_deaths += 1
        if self._silent_deaths > _SILENT_DEATHS_ALLOWED:
            raise Unfit(
                f"the process that reads headers keeps ending ({how}) and answers nothing: "
                f"{tail.splitlines()[-1] if tail else 'it printed nothing'}. Try: pipeline doctor"
            )
        first = owed[0]
        self._night.tell(
            "probe_died", path=self._night.shown(first.path), how=how, tail=tail[-500:]
        )
        if self._night.ledger.files.probe_died(first.id) > _DEATHS_ALLOWED:
            self._give_up(first, f"reading its header ended the probe twice ({how})")
            owed = owed[1:]
        for known in owed:
            self._ask(known)

    def _give_up(self, known: KnownPath, why: str) -> None:
        self._night.ledger.files.probe_failed(known.id, why)
        self._night.tell("unreadable", path=self._night.shown(known.path), why=why)

    def end(self) -> None:
        """End the probe; what it owes is asked again by the next run."""
        if self._child is not None:
            self._child.kill()
            self._night.unwatch(self._child)
            self._child = None
        self._asked.clear()
