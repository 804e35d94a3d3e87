"""Holds a model against true stems of songs that it never heard, beside what needs no model.

python -m training.evaluate results.json                # nano, as it ships; see docs/nano.md
python -m training.evaluate results.json --model FILE
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.music.measures import framewise_sdr_db, sdr_db, si_sdr_db
from stages.demucs_loader import load_model
from stages.separation import separate
from stages.weights import find_model
from training import floors
from training.music.songs import STEMS, TEST, song
from training.side_by_side import side_by_side

MEASURES: Mapping[str, Callable[[NDArray[np.float32], NDArray[np.float32]], float | None]] = {
    "SDR": sdr_db,
    "SDR of frames": framewise_sdr_db,
    "SI-SDR": si_sdr_db,
}
"""What is quoted, in dB; see `pipeline.music.measures`."""

SEEDS = TEST[:60]

Row = Mapping[str, str | int | float | None]


def evaluate(model: str, seeds: Sequence[int] = SEEDS, *, seconds: float = 20.0) -> Iterator[Row]:
    """Give a row for each song, way and stem: `seed`, `way`, `stem`, and each measure in dB.

    The model goes through the engine that a run uses. A measure is None where a stem is silent.
    """
    for rows in side_by_side(partial(_of_song, model, seconds), seeds):
        yield from rows


def _of_song(model: str, seconds: float, seed: int) -> list[Row]:
    torch.set_num_threads(1)
    loaded = load_model(find_model(model))
    ways: dict[str, Callable[[NDArray[np.float32]], Mapping[str, NDArray[np.float32]]]] = {
        "mix": floors.the_mix,
        "split": floors.split,
        "model": lambda mix: separate(loaded, mix),
    }
    true = song(seed, seconds=seconds)
    mix = true.sum(axis=0)
    rows: list[Row] = []
    for way, separated in ways.items():
        given = separated(mix)
        for stem, samples in zip(STEMS, true, strict=True):
            found = {name: of(samples, given[stem]) for name, of in MEASURES.items()}
            rows.append({"seed": seed, "way": way, "stem": stem, **found})
    return rows


def medians(rows: Sequence[Row], measure: str) -> dict[tuple[str, str], float]:
    """Return the median over songs of a measure, by way and stem."""
    found: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if isinstance(value := row[measure], float):
            found.setdefault((str(row["way"]), str(row["stem"])), []).append(value)
    return {key: float(np.median(values)) for key, values in found.items()}


def table(rows: Sequence[Row]) -> str:
    """Return the medians in Markdown, a line for each measure and way."""
    lines = [f"| measure | way | {' | '.join(STEMS)} |", "| --- | --- |" + " ---: |" * len(STEMS)]
    for measure in MEASURES:
        found = medians(rows, measure)
        for way in ("mix", "split", "model"):
            cells = " | ".join(f"{found[way, stem]:.1f}" for stem in STEMS)
            lines.append(f"| {measure} | {way} | {cells} |")
    return "\n".join(lines)


if __name__ == "__main__":
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("results", type=Path)
    given.add_argument("--model", default="nano")
    asked = given.parse_args()
    rows = list(evaluate(asked.model))
    asked.results.write_text(json.dumps(rows, indent=0) + "\n", encoding="utf-8")
    print(table(rows))
