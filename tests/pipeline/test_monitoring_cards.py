"""The process that asks the drivers: it may crash, hang or give up, and the supervisor goes on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from pipeline.monitoring.cards import Cards
from tests.sandbox import ROOT

Make = Callable[[str], Cards]


@pytest.fixture
def cards() -> Iterator[Make]:
    """Cards whose drivers behave as they are told to."""
    made = []

    def make(behaviour: str) -> Cards:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "FAKE_CARDS": behaviour}
        made.append(Cards(environment, module="tests.fake_drivers", installed=lambda: True))
        return made[-1]

    yield make
    for one in made:
        one.close()


def heard(cards: Cards, now_s: float = 0.0) -> None:
    """Wait until something comes of them."""
    end = time.monotonic() + 60
    while not cards.hear(now_s):
        assert time.monotonic() < end, "nothing ever came"
        time.sleep(0.01)


def child_of(cards: Cards) -> psutil.Process:
    assert cards._child is not None
    return psutil.Process(cards._child.pid)


def test_an_answer_comes_when_it_was_asked_for(cards: Make) -> None:
    asked = cards("well")
    assert not asked.hear(0.0)

    asked.ask()
    assert asked.waiting
    heard(asked, 12.0)

    assert [card.name for card in asked.last] == ["Fake RTX", "Second"]
    assert (asked.last_s, asked.waiting, asked.why) == (12.0, False, "")


def test_one_process_answers_every_question(cards: Make) -> None:
    asked = cards("well")
    asked.ask()
    heard(asked)
    first = child_of(asked).pid

    asked.ask()
    heard(asked)

    assert child_of(asked).pid == first


def test_no_second_question_is_sent_while_one_is_open(
    cards: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = cards("hangs")
    asked.ask()
    sent: list[object] = []
    monkeypatch.setattr(asked._child, "send", sent.append)

    asked.ask()

    assert sent == []


def test_no_process_is_started_before_the_first_question_nor_left_at_the_end(cards: Make) -> None:
    asked = cards("well")
    assert asked._child is None
    asked.ask()
    heard(asked)
    process = child_of(asked)

    asked.close()

    assert not process.is_running()


def test_where_no_library_is_installed_no_process_is_started() -> None:
    asked = Cards({}, installed=lambda: False)

    asked.ask()

    assert asked._child is None
    assert asked.why == "neither nvidia-ml-py nor amdsmi is installed"
    assert not asked.waiting


def test_a_driver_that_sees_no_card_is_asked_once_and_says_why(cards: Make) -> None:
    asked = cards("none")
    asked.ask()
    heard(asked)

    assert asked.why == "nvidia-ml-py: it sees no card; amdsmi is not installed"
    assert (asked.last, asked._child) == ((), None)
    asked.ask()
    assert not asked.waiting


def test_a_driver_that_crashes_takes_its_own_process_alone(cards: Make) -> None:
    asked = cards("crashes")
    asked.ask()
    heard(asked)

    assert asked.why.startswith("the process that asks the drivers ended (SIGSEGV): ")
    assert (asked.last, asked.waiting) == ((), False)


def test_a_library_that_raises_what_it_should_not_is_told_with_its_last_line(cards: Make) -> None:
    asked = cards("raises")
    asked.ask()
    heard(asked)

    assert asked.why == (
        "the process that asks the drivers ended (exit status 1): "
        "RuntimeError: a library that raises what it should not"
    )


def test_a_driver_that_hangs_holds_nobody_up(cards: Make) -> None:
    asked = cards("hangs")
    asked.ask()
    process = child_of(asked)

    # Nothing is there to wait for: only that neither call waits for an answer.
    started = time.monotonic()
    for _ in range(100):
        assert not asked.hear(0.0)
        asked.ask()
    asked.close()

    assert time.monotonic() - started < 5
    assert not process.is_running()


def test_cards_that_never_answer_are_given_up_after_five_times(cards: Make) -> None:
    asked = cards("lost")
    answers = 0
    while not asked.why:
        asked.ask()
        heard(asked)
        answers += not asked.why

    assert answers == 4
    assert asked.why == "nvidia-ml-py: no card has given any value, 5 times in a row"
    assert asked.last == ()


def test_the_real_libraries_of_this_machine_are_asked_without_harm() -> None:
    asked = Cards({**os.environ, "PYTHONPATH": str(ROOT)}, installed=lambda: True)
    try:
        asked.ask()
        heard(asked)

        assert bool(asked.last) != bool(asked.why)
    finally:
        asked.close()
