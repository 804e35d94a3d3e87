"""What the stages find in music whose true answers are known: the songs of the project's generator.

python -m tests.truth            # the table of docs/known-answers.md
python -m tests.truth --songs 50
"""

from __future__ import annotations

import argparse
import importlib
import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mir_eval.beat
import mir_eval.key
import mir_eval.onset
import mir_eval.tempo
import numpy as np
import pyloudnorm

from pipeline.music import synth
from pipeline.music.compose import compose
from pipeline.music.render import master, render
from pipeline.music.score import Piece
from stages import STAGES
from stages.audio import Audio
from stages.base import Stage, StageSettings, Track

STEM_ONSETS = "drums"


@dataclass(frozen=True)
class Answer:
    """One song: what is true, and what was found."""

    name: str
    tempo_bpm: float
    librosa_bpm: float
    essentia_bpm: float
    key: str
    chroma_key: str
    essentia_key: str
    onset_f: float  # of everything that begins, in the mix
    drum_onset_f: float  # of the strokes, in the true stem of the drums
    beat_f: float
    true_lufs: float
    found_lufs: float


def answers(pieces: Iterable[Piece]) -> Iterator[Answer]:
    """Give what the stages find in the mix of each piece, beside what is true."""
    stages = {name: _loaded(name) for name in ("loudness", "onsets", "chroma", "essentia")}
    for piece in pieces:
        stems = render(piece)
        mix = master(stems)
        found = {name: _measured(stage, mix) for name, stage in stages.items()}
        drums = _measured(stages["onsets"], stems["drums"])
        meter = pyloudnorm.Meter(synth.RATE_HZ, filter_class="DeMan")
        yield Answer(
            name=piece.file_name.rpartition(".")[0],
            tempo_bpm=piece.tempo_bpm,
            librosa_bpm=found["onsets"]["tempo_bpm"],
            essentia_bpm=found["essentia"]["tempo_bpm"],
            key=piece.key,
            chroma_key=f"{found['chroma']['key']} {found['chroma']['scale']}",
            essentia_key=f"{found['essentia']['key']} {found['essentia']['scale']}",
            onset_f=_onset_f(piece.all_onsets_s(), found["onsets"]["onset_times_s"]),
            drum_onset_f=_onset_f(
                sorted({piece.time_s(hit.start_beats) for hit in piece.hits}),
                drums["onset_times_s"],
            ),
            beat_f=float(
                mir_eval.beat.f_measure(np.array(piece.beats_s()), found["onsets"]["beat_times_s"])
            ),
            true_lufs=float(meter.integrated_loudness(mix.T.astype(np.float64))),
            found_lufs=found["loudness"]["integrated_lufs"],
        )


def _onset_f(true_s: list[float], found_s: Any) -> float:
    """F-measure with a window of 50 ms, as MIREX has it."""
    return float(mir_eval.onset.f_measure(np.array(true_s), found_s)[0])


def _loaded(name: str) -> Stage[StageSettings]:
    module, _, kind = STAGES[name].target.partition(":")
    settings = STAGES[name].settings()
    stage: Stage[StageSettings] = getattr(importlib.import_module(module), kind)(settings)
    stage.load()
    return stage


def _measured(stage: Stage[StageSettings], samples: synth.Sound) -> dict[str, Any]:
    """Return features and series of one source, by their names."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        stage.run(Track("0" * 64, {"mix": Audio(samples, synth.RATE_HZ)}), out)
        found: dict[str, Any] = json.loads((out / "features.json").read_text())["mix"]
        with np.load(out / "frames.npz") as frames:
            series = {name.partition(".")[2]: frames[name].astype(np.float64) for name in frames}
        return found | series


def key_score(true: str, found: str) -> float:
    """Return 1 for the key, 0.5 for its fifth, 0.3 for its relative, 0.2 for its parallel, else 0."""
    return float(mir_eval.key.weighted_score(true, found))


def tempo_class(true_bpm: float, found_bpm: float) -> str:
    """Return how a tempo was found: `right` within 4 %, `octave` for half or twice, else `wrong`."""
    if abs(found_bpm / true_bpm - 1) <= 0.04:
        return "right"
    octaves = (0.5, 2.0)
    near = any(abs(found_bpm / true_bpm / octave - 1) <= 0.04 for octave in octaves)
    return "octave" if near else "wrong"


def table(found: list[Answer]) -> Iterator[str]:
    """Give the table as Markdown."""
    yield (
        "| song | tempo | onsets | essentia | key | chroma | essentia | onsets F | drum onsets F "
        "| beats F | LUFS | found |"
    )
    yield "|" + " --- |" * 12
    for one in found:
        yield (
            f"| {one.name} | {one.tempo_bpm:.0f} | {one.librosa_bpm:.1f} | {one.essentia_bpm:.1f} "
            f"| {one.key} | {one.chroma_key} | {one.essentia_key} | {one.onset_f:.2f} "
            f"| {one.drum_onset_f:.2f} | {one.beat_f:.2f} | {one.true_lufs:.2f} | {one.found_lufs:.2f} |"
        )


def summary(found: list[Answer]) -> Iterator[str]:
    """Give the table's sums as Markdown."""
    yield "| of all songs | onsets, chroma | essentia |"
    yield "| --- | --- | --- |"
    pairs = [[(one.tempo_bpm, one.librosa_bpm) for one in found],
             [(one.tempo_bpm, one.essentia_bpm) for one in found]]  # fmt: skip
    for kind in ("right", "octave", "wrong"):
        counts = [sum(tempo_class(*pair) == kind for pair in one) for one in pairs]
        yield f"| tempo {kind} | {counts[0]} of {len(found)} | {counts[1]} of {len(found)} |"
    keys = [
        [(one.key, one.chroma_key) for one in found],
        [(one.key, one.essentia_key) for one in found],
    ]
    right = [sum(key_score(*pair) == 1.0 for pair in one) for one in keys]
    score = [np.mean([key_score(*pair) for pair in one]) for one in keys]
    yield f"| key right | {right[0]} of {len(found)} | {right[1]} of {len(found)} |"
    yield f"| key, weighted score | {score[0]:.2f} | {score[1]:.2f} |"
    for name in ("onset_f", "drum_onset_f", "beat_f"):
        yield f"| {name.replace('_', ' ').replace(' f', 's F')}, mean | {np.mean([getattr(one, name) for one in found]):.2f} | |"
    apart = max(abs(one.true_lufs - one.found_lufs) for one in found)
    yield f"| loudness apart, at most | {apart:.4f} LU | |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--songs", type=int, default=20)
    asked = parser.parse_args()
    from pipeline.music.bundle import BUNDLED

    found = list(answers([*BUNDLED[:3], *map(compose, range(asked.songs))]))
    for line in (*table(found), "", *summary(found)):
        print(line)


if __name__ == "__main__":
    main()
