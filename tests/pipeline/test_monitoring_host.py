"""Processors and memory of the machine and of a run with all below it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import psutil
import pytest

from pipeline.monitoring.host import Host

BURN = """
import subprocess, sys, time
end = time.process_time() + float(sys.argv[1])
while time.process_time() < end:
    pass
print("burnt", flush=True)
sys.stdin.read()
"""
BURN_BELOW = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {BURN!r}, sys.argv[1]])
child.wait()
"""


@pytest.fixture
def burning() -> Iterator[Callable[[str, float], subprocess.Popen[str]]]:
    """Start what takes so many seconds of CPU, says so, and stays until its input is closed."""
    started = []

    def start(code: str, seconds: float) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "burnt\n"
        return process

    yield start
    for process in started:
        process.communicate()


@pytest.mark.parametrize("code", [BURN, BURN_BELOW], ids=["child", "grandchild"])
def test_the_time_of_all_processes_below_counts_as_the_run_s(
    burning: Callable[[str, float], subprocess.Popen[str]], code: str
) -> None:
    host = Host(cores=2, now_s=100.0)

    process = burning(code, 0.5)
    while_alive = host.sample(101.0)
    process.communicate()
    after = host.sample(102.0)

    assert while_alive.run_cpu_cores is not None
    assert 0.5 <= while_alive.run_cpu_cores < 1.5
    # Nothing is counted a second time, or taken back, when a process has ended.
    assert after.run_cpu_cores is not None
    assert 0.0 <= after.run_cpu_cores < 0.4


def test_the_time_of_a_process_that_came_and_went_between_two_looks_counts_as_the_run_s() -> None:
    host = Host(cores=2, now_s=0.0)

    subprocess.run(
        [sys.executable, "-c", BURN, "0.5"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )

    busy = host.sample(1.0).run_cpu_cores
    assert busy is not None
    assert busy >= 0.5


def test_the_memory_of_a_child_counts_as_the_run_s(
    burning: Callable[[str, float], subprocess.Popen[str]],
) -> None:
    host = Host(cores=2, now_s=0.0)
    alone = host.sample(1.0).run_memory_bytes

    process = burning(BURN, 0.0)
    child_bytes = psutil.Process(process.pid).memory_info().rss

    assert host.sample(2.0).run_memory_bytes >= alone + child_bytes * 0.9


def test_a_sample_s_numbers_are_possible() -> None:
    host = Host(cores=3, now_s=0.0)
    before = psutil.cpu_times()
    while sum(psutil.cpu_times()) - sum(before) < 0.1:
        continue

    sample = host.sample(10.0)

    assert sample.machine_cpu_percent is not None
    assert 0.0 < sample.machine_cpu_percent <= 100.0
    assert 0 < sample.run_memory_bytes < sample.machine_memory_total_bytes
    assert 0 < sample.machine_memory_used_bytes < sample.machine_memory_total_bytes
    assert (sample.interval_s, sample.cores) == (10.0, 3)


def test_two_looks_at_the_same_moment_divide_by_nothing() -> None:
    host = Host(cores=2, now_s=5.0)

    assert host.sample(5.0).run_cpu_cores is None
