from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from pipeline.watch import HARD_FACTOR, Watch

BASE_S = 100.0
PER_AUDIO_S = 2.0


@dataclass
class Machine:
    """A clock and a CPU meter that move only when told."""

    now_s: float = 1000.0
    cpu_s: float = 40.0
    cpu_reads: int = 0
    watch: Watch = field(init=False)

    def __post_init__(self) -> None:
        self.watch = Watch(
            base_s=BASE_S,
            per_audio_s=PER_AUDIO_S,
            clock=lambda: self.now_s,
            cpu_s=self._read_cpu,
        )

    def _read_cpu(self) -> float:
        self.cpu_reads += 1
        return self.cpu_s

    def work(self, seconds: int, *, cores: float = 0.0) -> tuple[int, str] | None:
        """Let seconds pass, looking once in each, as the supervisor does; stop at a hang."""
        for _ in range(seconds):
            self.now_s += 1.0
            self.cpu_s += cores
            found = self.watch.hanging()
            if found is not None:
                return found
        return None


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_without_progress_and_without_cpu_time_a_unit_hangs_at_the_soft_limit(
    machine: Machine,
) -> None:
    machine.watch.progress(7, "loudness")

    # One second more than the limit: the first look finds the CPU time burnt before it.
    assert machine.work(int(BASE_S) + 1) is None
    assert machine.work(1) == (7, "loudness")


def test_a_longer_track_has_a_longer_limit(machine: Machine) -> None:
    machine.watch.progress(7, "loudness", duration_s=50.0)

    assert machine.work(int(BASE_S + 50 * PER_AUDIO_S)) is None
    assert machine.work(3) == (7, "loudness")


def test_cpu_time_that_grows_holds_the_soft_limit_off_until_the_hard_one(machine: Machine) -> None:
    machine.watch.progress(7, "separation")

    assert machine.work(int(BASE_S) * HARD_FACTOR, cores=1.0) is None
    assert machine.work(1, cores=1.0) == (7, "separation")


def test_cpu_time_that_stops_growing_starts_the_soft_limit_anew(machine: Machine) -> None:
    machine.watch.progress(7, "separation")
    machine.work(60, cores=1.0)

    assert machine.work(int(BASE_S)) is None
    assert machine.work(1) == (7, "separation")


def test_cpu_time_as_small_as_an_idle_thread_s_is_no_growth(machine: Machine) -> None:
    machine.watch.progress(7, "loudness")
    machine.work(1)

    assert machine.work(int(BASE_S) + 1, cores=0.0001) == (7, "loudness")


def test_progress_restarts_both_limits(machine: Machine) -> None:
    machine.watch.progress(7, "loudness")

    for _ in range(HARD_FACTOR * 3):
        assert machine.work(int(BASE_S) - 1, cores=1.0) is None
        machine.watch.progress(7, "loudness")
        assert machine.work(int(BASE_S) - 1) is None
        machine.watch.progress(7, "loudness")


def test_the_phase_of_the_last_progress_is_named(machine: Machine) -> None:
    machine.watch.progress(7, "decode")
    machine.work(50)
    machine.watch.progress(7, "loudness")

    assert machine.work(200) == (7, "loudness")


@pytest.mark.parametrize("gap_s", [6.0, 3600.0, 8 * 3600.0])
def test_a_gap_in_the_supervisor_s_own_clock_restarts_both_limits(
    machine: Machine, gap_s: float
) -> None:
    machine.watch.progress(7, "loudness")
    machine.work(int(BASE_S) - 1)

    machine.now_s += gap_s

    assert machine.watch.hanging() is None
    assert machine.work(int(BASE_S)) is None
    assert machine.work(1) == (7, "loudness")


def test_a_gap_restarts_the_hard_limit(machine: Machine) -> None:
    machine.watch.progress(7, "separation")
    machine.work(int(BASE_S) * HARD_FACTOR - 1, cores=1.0)

    machine.now_s += 60

    assert machine.work(int(BASE_S) * HARD_FACTOR, cores=1.0) is None
    assert machine.work(3, cores=1.0) == (7, "separation")


def test_a_unit_that_rests_is_not_watched(machine: Machine) -> None:
    machine.watch.progress(7, "decode")

    machine.watch.rest(7)
    machine.watch.rest(99)  # never watched

    assert machine.work(int(BASE_S) * HARD_FACTOR * 2) is None


def test_a_unit_that_waited_its_turn_starts_afresh(machine: Machine) -> None:
    machine.watch.progress(7, "decode")
    machine.watch.rest(7)
    machine.work(int(BASE_S) * HARD_FACTOR)

    machine.watch.progress(7, "loudness")

    assert machine.work(int(BASE_S)) is None
    assert machine.work(2) == (7, "loudness")


def test_of_several_units_the_one_that_hangs_is_named(machine: Machine) -> None:
    machine.watch.progress(1, "loudness")
    machine.watch.progress(2, "decode")

    for _ in range(9):
        assert machine.work(10) is None
        machine.watch.progress(1, "loudness")

    assert machine.work(20) == (2, "decode")


def test_all_can_be_forgotten_at_once(machine: Machine) -> None:
    machine.watch.progress(1, "loudness")
    machine.watch.progress(2, "decode")

    machine.watch.clear()

    assert machine.work(int(BASE_S) * HARD_FACTOR * 2) is None


def test_loading_has_a_limit_of_its_own(machine: Machine) -> None:
    machine.watch.progress(0, "start", limit_s=600.0)

    assert machine.work(601) is None
    assert machine.work(1) == (0, "start")


def test_loading_that_burns_cpu_time_has_five_times_as_long(machine: Machine) -> None:
    machine.watch.progress(0, "start", limit_s=10.0)

    assert machine.work(10 * HARD_FACTOR, cores=2.0) is None
    assert machine.work(1, cores=2.0) == (0, "start")


def test_looking_more_often_than_once_a_second_changes_nothing(machine: Machine) -> None:
    machine.watch.progress(7, "loudness")
    found = None
    started_s = machine.now_s

    while found is None:
        machine.now_s += 0.01
        found = machine.watch.hanging()

    assert found == (7, "loudness")
    assert BASE_S < machine.now_s - started_s < BASE_S + 3
    assert machine.cpu_reads < BASE_S + 3  # each one walks the processes of the lane


def test_nothing_is_read_while_nothing_is_watched(machine: Machine) -> None:
    machine.work(100, cores=1.0)

    assert machine.cpu_reads == 0
