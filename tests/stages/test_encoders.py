from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from functools import partial

import pytest

from stages.encoders import Encoders, Work

LONG_S = 10.0


def _raise(error: Exception) -> None:
    raise error


def _wait_for(event: threading.Event) -> None:
    assert event.wait(LONG_S)


@pytest.mark.parametrize("threads", [0, 1, 2, 8])
def test_the_tasks_of_a_row_run_in_order_and_never_two_at_once(threads: int) -> None:
    done: list[list[int]] = [[], [], []]
    running = [threading.Lock() for _ in done]

    def task(row: int, number: int) -> None:
        assert running[row].acquire(blocking=False)
        done[row].append(number)
        running[row].release()

    with Encoders(threads) as encoders:
        work = Work(encoders, 3)
        for number in range(500):
            work.put([partial(task, row, number) for row in range(3)])
        work.wait()
        work.check()

    assert done == [list(range(500))] * 3


def test_rows_and_tracks_run_beside_each_other() -> None:
    # The three wait for each other: on two threads, or one after another, they would wait in vain.
    meeting = threading.Barrier(3)

    def meet() -> None:
        meeting.wait(LONG_S)

    with Encoders(3) as encoders:
        one, other = Work(encoders, 2), Work(encoders, 1)
        one.put([meet, meet])
        other.put([meet])
        for work in (one, other):
            work.wait()
            work.check()


def test_no_track_goes_ahead_of_its_neighbour() -> None:
    gate, order = threading.Event(), list[str]()

    with Encoders(1) as encoders:
        first, second = Work(encoders, 1), Work(encoders, 1)
        first.put([partial(_wait_for, gate)])
        for _ in range(3):
            first.put([partial(order.append, "first")])
            second.put([partial(order.append, "second")])
        gate.set()
        first.wait()
        second.wait()

    assert sorted(order[:4]) == ["first", "first", "second", "second"]


@pytest.mark.parametrize("threads", [0, 2])
def test_an_error_stays_with_its_track_and_ends_it(threads: int) -> None:
    ran: list[str] = []

    with Encoders(threads) as encoders:
        bad, good = Work(encoders, 2), Work(encoders, 1)
        bad.put([partial(_raise, OSError(28, "full")), lambda: None])
        bad.wait()
        bad.put([partial(ran.append, "bad")] * 2)
        good.put([partial(ran.append, "good")])
        bad.wait()
        good.wait()
        good.check()
        for _ in range(2):
            with pytest.raises(OSError, match="full"):
                bad.check()

    assert ran == ["good"]


def test_the_first_error_is_the_one_that_is_told() -> None:
    with Encoders(1) as encoders:
        work = Work(encoders, 1)
        work.put([partial(_raise, OSError("first"))])
        work.put([partial(_raise, OSError("second"))])
        work.wait()

    with pytest.raises(OSError, match="first"):
        work.check()


def _in_a_thread(call: Callable[[], None]) -> threading.Event:
    """Call it in a thread of its own; the event says that it came back."""
    back = threading.Event()

    def run() -> None:
        call()
        back.set()

    threading.Thread(target=run, daemon=True).start()
    return back


def test_a_block_waits_until_there_is_room_for_it() -> None:
    gate = threading.Event()

    with Encoders(1, held_bytes=100) as encoders:
        work = Work(encoders, 2)
        work.put([lambda: None, partial(_wait_for, gate)], held_bytes=60)
        fits = _in_a_thread(partial(work.put, [lambda: None] * 2, held_bytes=40))
        assert fits.wait(LONG_S)
        too_much = _in_a_thread(partial(work.put, [lambda: None] * 2, held_bytes=1))
        # One row of the first block is done, but its memory is held by the other.
        assert not too_much.wait(0.2)
        gate.set()
        assert too_much.wait(LONG_S)
        work.wait()


def test_a_block_beyond_the_bound_is_taken_alone() -> None:
    gate = threading.Event()

    with Encoders(1, held_bytes=100) as encoders:
        work = Work(encoders, 1)
        work.put([partial(_wait_for, gate)], held_bytes=1_000)
        second = _in_a_thread(partial(work.put, [lambda: None], held_bytes=1_000))
        assert not second.wait(0.2)
        gate.set()
        assert second.wait(LONG_S)
        work.wait()


def test_the_memory_of_a_failed_track_is_free_again() -> None:
    with Encoders(1, held_bytes=100) as encoders:
        bad, good = Work(encoders, 1), Work(encoders, 1)
        bad.put([partial(_raise, OSError("full"))], held_bytes=100)
        bad.put([lambda: None], held_bytes=100)
        took = _in_a_thread(partial(good.put, [lambda: None], held_bytes=100))

        assert took.wait(LONG_S)


def test_an_idle_thread_keeps_nothing_of_its_last_block() -> None:
    class Block:
        pass

    gone = threading.Event()

    def task(block: Block) -> None:
        del block

    with Encoders(1) as encoders:
        work, block = Work(encoders, 1), Block()
        weakref.finalize(block, gone.set)
        work.put([partial(task, block)])
        del block
        work.wait()

        assert gone.wait(LONG_S)


def test_stopped_work_drops_what_has_not_begun() -> None:
    gate, ran = threading.Event(), list[int]()

    with Encoders(1) as encoders:
        work = Work(encoders, 1)
        work.put([partial(_wait_for, gate)])
        work.put([partial(ran.append, 1)])
        work.stopped.set()
        gate.set()
        work.wait()
        work.check()

    assert ran == []


def test_close_does_what_waits_and_leaves_no_thread() -> None:
    done: list[int] = []
    encoders = Encoders(4)
    work = Work(encoders, 1)
    for number in range(200):
        work.put([partial(done.append, number)])

    encoders.close()
    encoders.close()

    assert done == list(range(200))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("encoder")]


def test_what_comes_after_close_its_caller_encodes_in_order() -> None:
    done: list[tuple[int, str]] = []

    def note(number: int) -> None:
        done.append((number, threading.current_thread().name))

    encoders = Encoders(1)
    work = Work(encoders, 1)
    work.put([partial(note, 0)])
    encoders.close()

    work.put([partial(note, 1)])

    assert done == [(0, "encoder-0"), (1, threading.current_thread().name)]
