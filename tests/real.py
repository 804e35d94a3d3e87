"""Real stages on real sound, through real processes: a small random HTDemucs, short pieces of music."""

from __future__ import annotations

import shutil
from pathlib import Path

import soundfile as sf

from pipeline.music.bundle import FOLDER
from tests.sandbox import Sandbox
from tests.zygote import QuickSandbox, Zygote

PIECES = 4


def real_sandbox(root: Path, model: Path, zygote: Zygote | None = None) -> Sandbox:
    """A dataset with the shipped stages and a model of one's own; commands forked, given a zygote."""
    box = (
        Sandbox(root, registry=None)
        if zygote is None
        else QuickSandbox(root, zygote, registry=None)
    )
    box.environment["NIGHTSHIFT_SEPARATION__MODEL"] = str(model)
    # One stage of each lane; the others share theirs with loudness, see test_features_lane.
    box.environment["NIGHTSHIFT_STAGES"] = '["loudness", "separation"]'
    return box


def cut_music(folder: Path) -> Path:
    """Write four short pieces of music."""
    for number, piece in enumerate(sorted(FOLDER.glob("*.flac")) + sorted(FOLDER.glob("*.ogg"))):
        _cut(piece, folder / f"{number}.flac", seconds=1.5 + number)
    _cut(folder / "0.flac", folder / "short.wav", seconds=0.7)
    return folder


def fill(box: Sandbox, music: Path) -> None:
    """Put the music into the dataset."""
    for file in music.iterdir():
        shutil.copy(file, box.dataset)


def _cut(source: Path, target: Path, *, seconds: float) -> None:
    samples, rate = sf.read(source, frames=round(seconds * sf.info(source).samplerate))
    sf.write(target, samples, rate)
