"""A run's samples: when they are told, and what is left of them at its end."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from pipeline.config import Limits
from pipeline.monitoring.gpu import GpuSample
from pipeline.monitoring.host import HostSample
from pipeline.monitoring.load import Load
from pipeline.monitoring.monitor import Monitor

GB = 10**9
CARD = GpuSample("RTX", 87.0, 12 * GB, 24 * GB, 61.0, 411.5)


class FakeCards:
    """Cards that answer when the test says so."""

    def __init__(self) -> None:
        self.last: tuple[GpuSample, ...] = ()
        self.last_s = 0.0
        self.waiting = False
        self.why = ""
        self.asked = 0
        self.answer: tuple[GpuSample, ...] | None = None

    def ask(self) -> None:
        if not (self.why or self.waiting):
            self.asked += 1
            self.waiting = True

    def hear(self, now_s: float) -> bool:
        if self.answer is None or not self.waiting:
            return False
        self.last, self.last_s, self.answer, self.waiting = self.answer, now_s, None, False
        return True

    def give_up(self, why: str) -> None:
        self.why, self.last, self.waiting = why, (), False

    def close(self) -> None:
        self.give_up("closed")


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Watched:
    """A monitor, its clock, its cards, and what it told."""

    def __init__(self, every_s: float = 10.0) -> None:
        self.clock, self.cards = Clock(), FakeCards()
        self.told: list[tuple[str, dict[str, Any]]] = []
        night: Any = SimpleNamespace(
            config=SimpleNamespace(limits=Limits(sample_every_s=every_s)),
            clock=self.clock,
            environment={},
            tell=lambda kind, **facts: self.told.append((kind, facts)),
        )
        cards: Any = self.cards
        self.monitor = Monitor(night, cards)

    def look(self, after_s: float) -> None:
        self.clock.now_s += after_s
        self.monitor.look()

    def samples(self) -> list[dict[str, Any]]:
        return [facts for kind, facts in self.told if kind == "sample"]


def test_a_sample_is_told_as_soon_as_the_cards_have_answered_and_not_before() -> None:
    watched = Watched()
    watched.look(9.9)
    assert (watched.cards.asked, watched.told) == (0, [])

    watched.look(0.1)
    assert (watched.cards.asked, watched.told) == (1, [])
    watched.cards.answer = (CARD,)
    watched.look(1.0)

    (sample,) = watched.samples()
    assert sample["gpus"] == [vars(CARD)]
    assert (sample["gpus_age_s"], sample["interval_s"]) == (0.0, 11.0)
    json.dumps(sample, allow_nan=False)


def test_samples_come_at_the_interval_that_is_set() -> None:
    watched = Watched(every_s=5.0)
    watched.cards.give_up("no driver")

    for _ in range(60):
        watched.look(1.0)

    assert [sample["interval_s"] for sample in watched.samples()] == [5.0] * 12


def test_an_interval_of_nothing_switches_it_off() -> None:
    watched = Watched(every_s=0.0)

    for _ in range(100):
        watched.look(60.0)

    assert (watched.told, watched.cards.asked) == ([], 0)
    assert watched.monitor.summary() is None


def test_while_the_cards_hang_the_machine_is_told_all_the_same_and_the_last_values_grow_old() -> (
    None
):
    watched = Watched()
    watched.look(10.0)
    watched.cards.answer = (CARD,)
    watched.look(1.0)

    for _ in range(4):
        watched.look(10.0)

    assert [sample["gpus_age_s"] for sample in watched.samples()] == [0.0, 20.0, 30.0, 40.0]
    assert [sample["gpus"] for sample in watched.samples()] == [[vars(CARD)]] * 4
    assert watched.cards.asked == 2


def test_what_old_values_say_counts_once_in_the_summary() -> None:
    watched = Watched()
    watched.look(10.0)
    watched.cards.answer = (CARD,)
    watched.look(1.0)
    watched.look(10.0)
    watched.look(10.0)
    watched.cards.answer = (GpuSample("RTX", 13.0),)
    watched.look(1.0)

    (card,) = _gpus(watched.monitor)
    assert card["utilisation_percent"] == {"mean": 50.0, "highest": 87.0}


def _gpus(monitor: Monitor) -> list[dict[str, Any]]:
    summary: Any = monitor.summary()
    found: list[dict[str, Any]] = summary["gpus"]
    return found


def test_why_there_are_no_cards_is_told_once() -> None:
    watched = Watched()
    watched.cards.give_up("no driver")

    for _ in range(5):
        watched.look(10.0)

    assert [facts for kind, facts in watched.told if kind == "gpus_unseen"] == [
        {"why": "no driver"}
    ]
    assert [sample["gpus"] for sample in watched.samples()] == [[]] * 5
    assert watched.samples()[0]["gpus_age_s"] is None


def test_the_end_of_a_run_is_the_end_of_the_process_that_asks() -> None:
    watched = Watched()

    watched.monitor.close()

    assert watched.cards.why == "closed"


# ---- mean and highest


def host(cpu: float | None = 50.0, used: int = 4 * GB) -> HostSample:
    return HostSample(10.0, cpu, used, 8 * GB, 1.5, 2, GB)


def test_the_summary_is_of_the_values_that_were_there() -> None:
    load = Load()
    for cpu, used in ((20.0, 4 * GB), (None, 5 * GB), (90.0, 6 * GB)):
        load.add(host(cpu, used))
    load.add_cards((GpuSample("RTX", 100.0, 3 * GB, 24 * GB), CARD))
    load.add_cards((GpuSample("RTX", 80.0),))

    told: Any = load.told()

    assert told["samples"] == 3
    assert told["machine_cpu_percent"] == {"mean": 55.0, "highest": 90.0}
    assert told["machine_memory_used_bytes"] == {"mean": 5 * GB, "highest": 6 * GB}
    assert (told["cores"], told["machine_memory_total_bytes"]) == (2, 8 * GB)
    first, second = told["gpus"]  # of one name, and still two
    assert first["utilisation_percent"] == {"mean": 90.0, "highest": 100.0}
    assert (first["temperature_c"], first["memory_total_bytes"]) == (None, 24 * GB)
    assert second["power_w"] == {"mean": 411.5, "highest": 411.5}


def test_a_highest_value_below_zero_is_not_taken_for_nothing() -> None:
    load = Load()
    load.add(host())
    load.add_cards((GpuSample("RTX", temperature_c=-5.0),))  # a garage in winter

    told: Any = load.told()
    assert told["gpus"][0]["temperature_c"] == {"mean": -5.0, "highest": -5.0}


def test_a_run_without_a_sample_has_no_summary() -> None:
    assert Load().told() is None
