"""What the lanes of the shipped stages load, loaded and called once: for a zygote, before it forks."""

from __future__ import annotations

import tempfile
from importlib import import_module
from pathlib import Path

import numpy as np

from stages.audio import Audio
from stages.base import Track
from stages.loudness import Loudness
from stages.settings import LoudnessSettings

import_module("stages.separation")

# numba loads half of itself when it is called, not when it is imported.
_noise = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 44_100)).astype(np.float32)
with tempfile.TemporaryDirectory() as _folder:
    Loudness(LoudnessSettings()).run(Track("0" * 64, {"mix": Audio(_noise, 44_100)}), Path(_folder))
