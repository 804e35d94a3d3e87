"""Samples of a run's load, now and then, into the run log; their mean and highest values at its end."""

from __future__ import annotations

from dataclasses import asdict
from typing import cast

from pipeline.monitoring.cards import Cards
from pipeline.monitoring.host import Host
from pipeline.monitoring.load import Load
from pipeline.night import Night
from pipeline.threads import budget
from stages.base import JsonValue


class Monitor:
    """Looks when `limits.sample_every_s` have passed; the supervisor calls it each turn of its loop."""

    def __init__(self, night: Night, cards: Cards | None = None) -> None:
        self._night = night
        self._every_s = night.config.limits.sample_every_s
        self._host = Host(cores=budget(), now_s=night.clock())
        # The cards' process starts with the first question: a run with nothing to do has none.
        self._cards = cards or Cards(night.environment)
        self._load = Load()
        self._again_s = night.clock() + self._every_s
        self._told_why = False

    def look(self) -> None:
        """Ask when it is time, and tell as soon as the cards have answered.

        Of cards that do not answer in time the values before are told, with their age.
        """
        if not self._every_s:
            return
        now_s = self._night.clock()
        heard = self._cards.hear(now_s)
        if heard:
            self._load.add_cards(self._cards.last)
        is_time = now_s >= self._again_s
        late = is_time and self._cards.waiting
        if is_time:
            self._again_s = now_s + self._every_s
            self._cards.ask()
        if heard or late or (is_time and not self._cards.waiting):
            self._tell(now_s)

    def _tell(self, now_s: float) -> None:
        night, cards = self._night, self._cards
        if cards.why and not self._told_why:
            self._told_why = True
            night.tell("gpus_unseen", why=cards.why)
        host = self._host.sample(now_s)
        self._load.add(host)
        gpus_age_s = round(now_s - cards.last_s, 1) if cards.last else None
        facts = {**asdict(host), "gpus": [asdict(card) for card in cards.last]}
        night.tell("sample", **cast("dict[str, JsonValue]", facts), gpus_age_s=gpus_age_s)

    def summary(self) -> dict[str, JsonValue] | None:
        """Return mean and highest values of the whole run; None when there was no sample."""
        return self._load.told()

    def close(self) -> None:
        """End the process that asks the cards."""
        self._cards.close()
