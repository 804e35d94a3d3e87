"""Demucs' `apply_model`, as its `Separator` calls it, on samples in memory."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from pipeline.bench.apply_model import read, separated
from pipeline.threading_analysis.brief import Brief
from pipeline.threading_analysis.work import Work
from stages.demucs_loader import load_model
from stages.weights import find_model


def work(brief: Brief) -> Work:
    """Load the model and the music, at the model's rate."""
    model = load_model(find_model(json.loads(brief.settings)["model"]))
    mix = read(Path(brief.song), model.sample_rate_hz)
    return Work(partial(separated, model.bag, mix, device="cpu"))
