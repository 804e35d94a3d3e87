"""What all tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox import Sandbox
from tests.zygote import QuickSandbox, Zygote


@pytest.fixture
def sandbox(tmp_path: Path, zygote: Zygote) -> Iterator[Sandbox]:
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
