"""What all tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.zygote import QuickSandbox, Zygote

TESTS = Path(__file__).parent

# What takes tens of seconds before its first test, in the shares of two workers.
LONG = (
    ("pipeline/test_demo.py", "pipeline/test_real.py", "pipeline/test_bench_night.py"),
    ("pipeline/test_bench.py", "pipeline/test_bench_features.py", "zoo/test_zoo.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin each half of the tests with its share of what takes long.

    `--dist worksteal` gives each of two workers one half, and who is done takes from the end of the
    other's. A long one at an end would leave a worker idle; a module that both have a part of is set
    up twice.
    """
    first, second = (
        [item for name in share for item in items if _is_of(item, name)] for share in LONG
    )
    long = {*first, *second}
    rest = [item for item in items if item not in long]
    middle = max(0, len(items) // 2 - len(first))
    items[:] = [*first, *rest[:middle], *second, *rest[middle:]]


def _is_of(item: pytest.Item, name: str) -> bool:
    return item.path == TESTS / name


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
