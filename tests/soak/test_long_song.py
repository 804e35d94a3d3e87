"""Ten minutes through the separation engine and through Demucs: too long for every day's tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from demucs.apply import apply_model
from demucs.hf import load_safetensors_model
from numpy.typing import NDArray

from stages.demucs_loader import load_model
from stages.separation import separate
from stages.weights import find_model
from tests.models import write_model

RATE_HZ = 44_100


def test_ten_minutes_are_what_demucs_gives(tmp_path: Path) -> None:
    """With an offset, quiet passages and silence: a mistake of the level shows there.

    Each minute for itself, too: beside a loud one nothing of a quiet one would be seen.
    """
    path = write_model(tmp_path / "small.safetensors")
    noise = np.random.default_rng(0).standard_normal((2, 60 * RATE_HZ)).astype(np.float32)
    levels = (0.1, 0.0001, 0.3, 0.0, 0.1, 0.02, 0.2, 0.1, 0.001, 0.1)
    minutes = [level * noise + 0.02 for level in levels]
    minutes[6] *= 0.0
    mix = np.concatenate(minutes, axis=1).astype(np.float32)
    wav = torch.from_numpy(mix.copy())
    mono = wav.mean(0)
    normed = ((wav - mono.mean()) / (mono.std() + 1e-8))[None]
    network = load_safetensors_model(path)
    expected = apply_model(network, normed, shifts=0)[0] * (mono.std() + 1e-8) + mono.mean()

    stems = separate(load_model(find_model(str(path))), mix)

    for stem, exact in zip(stems.values(), expected.double().numpy(), strict=True):
        energies = _of_minutes(exact)
        errors = _of_minutes(exact - stem)
        assert 10 * np.log10(energies.sum() / errors.sum()) >= 110
        assert 10 * np.log10(energies / errors).min() >= 100


def _of_minutes(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the energy of each minute of `(2, samples)`."""
    minutes = samples.reshape(2, -1, 60 * RATE_HZ)
    energies: NDArray[np.float64] = np.square(minutes).sum(axis=(0, 2))
    return energies
