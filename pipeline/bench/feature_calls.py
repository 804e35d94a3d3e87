"""What a script does that takes features from files, one library call each.

    python -P -m pipeline.bench.feature_calls <way> <out> <file>…

Way `each-by-itself` loads the file for every call, as examples in documentation do; `loaded-once`
loads it once for all of librosa's and once for the loudness. Writes `<out>/<file's name>.npz` under
the names that our stages give.
"""

from __future__ import annotations

import sys
from pathlib import Path

import librosa
import numpy as np
import soundfile

from pipeline.bench.feature_ways import Way
from pipeline.bench.level_calls import LEVELS
from pipeline.bench.librosa_calls import MUSIC, RATE_HZ, Values


def _each_by_itself(file: Path) -> dict[str, Values]:
    music = {name: call(librosa.load(file, sr=RATE_HZ)[0]) for name, call in MUSIC.items()}
    return music | {name: call(*soundfile.read(file)) for name, call in LEVELS.items()}


def _loaded_once(file: Path) -> dict[str, Values]:
    y, _ = librosa.load(file, sr=RATE_HZ)
    music = {name: call(y) for name, call in MUSIC.items()}
    x, rate = soundfile.read(file)
    return music | {name: call(x, rate) for name, call in LEVELS.items()}


def main() -> None:
    """Take the features of every file."""
    way, out, *files = sys.argv[1:]
    take = {Way.EACH_BY_ITSELF: _each_by_itself, Way.LOADED_ONCE: _loaded_once}[Way(way)]
    Path(out).mkdir(parents=True)
    for file in map(Path, files):
        np.savez(Path(out) / f"{file.name}.npz", **take(file))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
