"""The pictures of docs/nano.md: how it learned, how well it separates, what the demo's stems look like.

python -m training.pictures work/training.jsonl results.json demo-music/_pipeline docs/nano
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from numpy.typing import NDArray
from PIL import Image
from scipy.signal import ShortTimeFFT, get_window

from pipeline.music.compare import separated
from pipeline.music.measures import sdr_db
from pipeline.music.render import mastered, render
from pipeline.music.score import Piece
from training.evaluate import Row
from training.music.songs import SAMPLE_RATE_HZ, STEMS

_WAYS = {"mix": "the mix itself", "split": "median filter and bands", "model": "nano"}
_COLOURS = {"mix": "#b8b8b8", "split": "#8fb4d9", "model": "#d9822b"}
_FLOOR_DB, _TOP_DB = -100.0, -20.0  # of the spectrograms
_DOTS_PER_INCH = 80


def learning(log: Sequence[dict[str, Any]], file: Path) -> None:
    """Draw the SDR on the songs of validation over the steps."""
    figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
    for stem in STEMS:
        axes.plot([row["step"] for row in log], [row["sdr_db"][stem] for row in log], label=stem)
    axes.set(xlabel="step", ylabel="median SDR, dB", title="Songs of validation, while it learns")
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    _save(figure, file)


def quality(rows: Sequence[Row], file: Path) -> None:
    """Draw the SDR of each stem of each song, by way."""
    figure, axes = plt.subplots(figsize=(8, 4.2), layout="constrained")
    for place, (way, words) in enumerate(_WAYS.items()):
        found = [_of(rows, way, stem) for stem in STEMS]
        boxes = axes.boxplot(
            found,
            positions=[number + 0.25 * (place - 1) for number in range(len(STEMS))],
            widths=0.2,
            patch_artist=True,
            medianprops={"color": "black"},
            flierprops={"markersize": 3},
            label=words,
        )
        for box in boxes["boxes"]:
            box.set_facecolor(_COLOURS[way])
    songs = len({row["seed"] for row in rows})
    axes.set_xticks(range(len(STEMS)), STEMS)
    axes.set(ylabel="SDR, dB", title=f"{songs} songs that it never heard")
    axes.grid(axis="y", alpha=0.3)
    axes.set_ylim(bottom=-20.0)
    axes.legend(loc="lower center", ncols=3)
    _save(figure, file)


def _of(rows: Sequence[Row], way: str, stem: str) -> list[float]:
    chosen = (row["SDR"] for row in rows if row["way"] == way and row["stem"] == stem)
    return [sdr for sdr in chosen if isinstance(sdr, float)]


def stems(piece: Piece, given: Mapping[str, NDArray[np.float32]], file: Path) -> None:
    """Draw spectrograms of a piece of the demo: its true stems above, those of `nano` below."""
    true = mastered(render(piece))
    figure, grid = plt.subplots(
        2, len(STEMS), figsize=(14, 5.6), sharex=True, sharey=True, layout="constrained"
    )
    for stem, (above, below) in zip(STEMS, grid.T, strict=True):
        sdr = sdr_db(true[stem], given[stem])
        _draw(above, true[stem], f"{stem}, true")
        _draw(below, given[stem], f"{stem}, nano" + ("" if sdr is None else f": {sdr:.1f} dB"))
        below.set_xlabel("s")
    for axes in grid[:, 0]:
        axes.set_ylabel("kHz")
    figure.suptitle(piece.file_name.rpartition(".")[0])
    _save(figure, file)


def _draw(axes: Any, sound: NDArray[np.float32], title: str) -> None:
    stft = ShortTimeFFT(get_window("hann", 2048), 1024, SAMPLE_RATE_HZ, scale_to="magnitude")
    levels_db = 20.0 * np.log10(np.abs(stft.stft(sound.mean(axis=0))) + 1e-7)
    axes.imshow(
        levels_db,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=_FLOOR_DB,
        vmax=_TOP_DB,
        extent=(0.0, sound.shape[1] / SAMPLE_RATE_HZ, 0.0, SAMPLE_RATE_HZ / 2000.0),
    )
    axes.set_ylim(0.0, 16.0)
    axes.set_title(title)


def _save(figure: Any, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=_DOTS_PER_INCH)
    plt.close(figure)
    # 64 colours: half the bytes, and the eye sees no other picture.
    Image.open(drawn).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(
        file, optimize=True
    )


if __name__ == "__main__":
    mpl.use("agg")
    given = argparse.ArgumentParser(description=__doc__)
    for name in ("log", "results", "out", "folder"):
        given.add_argument(name, type=Path)
    asked = given.parse_args()
    lines = asked.log.read_text(encoding="utf-8").splitlines()
    learning([json.loads(line) for line in lines], asked.folder / "learning.png")
    quality(json.loads(asked.results.read_text(encoding="utf-8")), asked.folder / "quality.png")
    for piece, given_stems in separated(asked.out):
        name = piece.file_name.rpartition(".")[0].lower().replace(" ", "-")
        stems(piece, given_stems, asked.folder / f"{name}.png")
