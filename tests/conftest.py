"""What all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.zygote import QuickSandbox, Zygote

TESTS = Path(__file__).parent

# What takes tens of seconds, in its first set-up or in all, the longest first.
LONG = (
    "pipeline/test_bench.py",
    "pipeline/test_demo.py",
    "pipeline/test_bench_features.py",
    "pipeline/test_kill.py",
    "zoo/test_zoo.py",
    "pipeline/test_real.py",
    "pipeline/test_bench_night.py",
    "pipeline/test_bench_overlap.py",
    "pipeline/test_bench_tagging.py",
    "pipeline/test_threads_command.py",
    "training/test_training.py",
    "test_docs.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin each worker's part of the tests with its share of what takes long.

    `--dist worksteal` gives each of the workers one part of the list, all of the same length; who is
    done takes from the end of another's. A long one at an end would leave the others idle; a module
    that two have a part of is set up twice.
    """
    long: dict[Path, list[pytest.Item]] = {TESTS / name: [] for name in LONG}
    rest: list[pytest.Item] = []
    for item in items:
        long.get(item.path, rest).append(item)
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    left = len(items)
    items.clear()
    for worker in range(workers):
        share = [item for name in LONG[worker::workers] for item in long[TESTS / name]]
        length = left // (workers - worker)  # as xdist divides
        left -= length
        more = max(0, length - len(share))
        items += [*share, *rest[:more]]
        del rest[:more]
    items += rest


@pytest.fixture
def sandbox(tmp_path: Path, zygote: Zygote) -> Iterator[QuickSandbox]:
    """A dataset with fake stages, and no process left behind. What is waited for is forked."""
    box = QuickSandbox(tmp_path, zygote, registry="tests.fakes:STAGES")
    yield box
    for process in box.processes():
        process.kill()


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """A process that forks for each command, for sweeps over many of them."""
    with Zygote() as process:
        yield process


@pytest.fixture(scope="session")
def stage_zygote() -> Iterator[Zygote]:
    """One whose lanes have the shipped stages: they take longer to load than to do a short song."""
    with Zygote("tests.warm") as process:
        yield process
