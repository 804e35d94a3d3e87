"""The music of the demo: five pieces, rendered once and shipped.

python -m pipeline.music.bundle    # renders them anew, after a change of a score or a sound
"""

from __future__ import annotations

from pathlib import Path

import soundfile

from pipeline.music import synth
from pipeline.music.compose import compose
from pipeline.music.pieces import HARBOUR_LIGHTS, NIGHT_BUS, THIRD_SHIFT
from pipeline.music.render import master, render
from pipeline.music.score import Piece

FOLDER = Path(__file__).parent / "bundled"

# Three by hand, two from a seed, in which a voice sings; three formats.
BUNDLED = (
    NIGHT_BUS,
    HARBOUR_LIGHTS,
    THIRD_SHIFT,
    compose(5, file_name="Paper Boats.ogg"),
    compose(9, file_name="Second Wind.mp3"),
)

_BLOCK_FRAMES = 65_536  # libsndfile crashes on a Vorbis stream that is written in one call


def write(piece: Piece, file: Path) -> None:
    """Render a piece into a file, in the format of its suffix, FLAC with 16 bits."""
    frames = master(render(piece)).T
    with soundfile.SoundFile(file, "w", synth.RATE_HZ, frames.shape[1]) as sound:
        for start in range(0, len(frames), _BLOCK_FRAMES):
            sound.write(frames[start : start + _BLOCK_FRAMES])


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for piece in BUNDLED:
        write(piece, FOLDER / piece.file_name)
