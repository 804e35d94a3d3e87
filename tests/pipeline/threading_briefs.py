"""What the tests of `pipeline threads` measure: a known amount of the processor's time."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import soundfile as sf

from pipeline.bench.processes import python, spent
from pipeline.threading_analysis.brief import Brief
from pipeline.threading_analysis.cost import Cost
from pipeline.threads import variables
from tests.stages.sounds import song

ROOT = Path(__file__).parents[2]
BURNING = {**os.environ, "PYTHONPATH": str(ROOT), "NIGHTSHIFT_REGISTRY": "tests.burning:STAGES"}


def brief(folder: Path, **changes: Any) -> Brief:
    """Return the brief for a stage that burns a known amount of the processor's time.

    The song is so short that reading it costs next to nothing.
    """
    audio = song(seconds=2)
    sf.write(folder / "song.wav", audio.samples.T, audio.sample_rate_hz)
    made = Brief(
        registry="tests.burning:STAGES",
        stage="burning",
        settings="{}",
        name="burning",
        module=None,
        song=str(folder / "song.wav"),
        scratch=str(folder),
        ahead=False,
        rounds=2,
    )
    return replace(made, **changes)


def cost(given: Brief, *, threads: int | None) -> Cost:
    """Measure in a process of its own."""
    folder = Path(given.scratch)
    given.write(folder / "brief.json")
    plain = {name: value for name, value in BURNING.items() if name not in variables(1)}
    module = "pipeline.threading_analysis.measuring"
    spent(
        [python(module, folder / "brief.json", folder / "answer.json")],
        environment=plain if threads is None else {**plain, **variables(threads)},
        what="this",
    )
    return Cost.read(folder / "answer.json")
