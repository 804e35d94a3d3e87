from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stages.small_models import models_in


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Two threads of torch on two busy cores wait for each other: fifty times slower."""
    import torch  # only for those that use it

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def models(tmp_path: Path) -> Iterator[Path]:
    """Where Essentia's models are kept, empty."""
    with models_in(tmp_path / "models") as folder:
        yield folder
