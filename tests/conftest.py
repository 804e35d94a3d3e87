"""What all tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox import Sandbox
from tests.zygote import Zygote


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    """A dataset with fake stages, and no process left behind."""
    box = Sandbox(tmp_path)
    yield box
    for process in box.processes():
        process.kill()


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """A process that forks for each command, for sweeps over many of them."""
    with Zygote() as process:
        yield process
