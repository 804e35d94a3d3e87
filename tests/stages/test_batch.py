"""How many segments a device is given at once."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
import torch

from stages.demucs_loader import DemucsModel, load_model
from stages.engine import compute as computing
from stages.engine.batch import best_batch, forward_s
from stages.engine.compute import Compute, Poisoned
from stages.weights import find_model
from tests.models import write_model

SEGMENT = 11_025


@pytest.mark.parametrize(
    ("speeds", "best"),
    [
        ([10, 20, 40, 80, 160, 320], 32),
        ([10, 20, 39, 40, 41, 42], 4),  # from there on not worth the memory
        ([10, 9, 8, 7, 6, 5], 1),
        ([10, 20], 2),
        ([], 1),
    ],
)
def test_a_batch_is_doubled_as_long_as_that_pays(speeds: list[float], best: int) -> None:
    """Segments a second of batches of 1, 2, 4, 8, 16 and 32, as far as there is room."""
    asked: list[int] = []

    def seconds(batch: int) -> float | None:
        asked.append(batch)
        place = len(asked) - 1
        return batch / speeds[place] if place < len(speeds) else None

    found = best_batch(seconds)

    assert found.batch == best
    # What there was no room for may fit another time.
    assert found.settled is (asked[-1] == 32 or len(asked) <= len(speeds))
    assert asked[-1] in (best, 2 * best)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> DemucsModel:
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    write_model(path, {"segment": Fraction(1, 4)})
    return load_model(find_model(str(path)))


def _failing(error: Exception) -> Callable[[torch.Tensor], torch.Tensor]:
    def run(mix: torch.Tensor) -> torch.Tensor:
        raise error

    return run


def test_a_forward_is_timed(model: DemucsModel) -> None:
    took_s = forward_s(Compute(model.networks), SEGMENT, 1)

    assert took_s is not None
    assert 0 < took_s < 60


@pytest.mark.parametrize("words", ["CUDA out of memory. Tried to allocate", "no kernel for it"])
def test_a_batch_that_cannot_be_computed_is_not_taken(model: DemucsModel, words: str) -> None:
    compute = Compute(model.networks)
    compute._runs[0] = _failing(RuntimeError(words))

    assert forward_s(compute, SEGMENT, 1) is None


def test_a_device_that_answers_nothing_any_more_is_left(
    model: DemucsModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(computing, "_is_beside_cpu", lambda device: True)
    compute = Compute(model.networks)
    compute._runs[0] = _failing(torch.AcceleratorError("CUDA error: an illegal memory access"))

    with pytest.raises(Poisoned):
        forward_s(compute, SEGMENT, 1)
