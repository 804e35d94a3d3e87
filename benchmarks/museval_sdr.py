"""Is our SDR of frames that of museval? Its medians beside ours, for songs whose stems all sound.

pip install museval                     # not a dependency; it wants ffmpeg and ffprobe on the path
python -m benchmarks.museval_sdr        # songs of the test seeds, separated by what needs no model
"""

from __future__ import annotations

import museval
import numpy as np
from numpy.typing import NDArray

from pipeline.music.measures import framewise_sdr_db
from training import floors
from training.music.songs import SAMPLE_RATE_HZ, STEMS, TEST, song

_SONGS = 5
_SECONDS = 8.0


def _sounds(stems: NDArray[np.float32]) -> bool:
    """museval leaves out a frame in which any stem is silent, ours only the stem that is."""
    frames = stems.reshape(4, 2, -1, SAMPLE_RATE_HZ)
    return bool((np.square(frames).mean(axis=(1, 3)) > 1e-9).all())


def main() -> None:
    """Print, for each stem of each song, what museval says and what we say."""
    songs = (song(seed, seconds=_SECONDS, sampled=False) for seed in TEST)
    for _, true in zip(range(_SONGS), filter(_sounds, songs), strict=False):
        given = floors.split(true.sum(axis=0))
        estimates = np.stack([given[stem].T for stem in STEMS])
        sdr, *_ = museval.evaluate(true.transpose(0, 2, 1), estimates, win=44_100, hop=44_100)
        theirs = np.nanmedian(sdr, axis=1)
        ours = [framewise_sdr_db(stem, given[name]) for name, stem in zip(STEMS, true, strict=True)]
        shown = (f"{a:.3f} / {b:.3f}" for a, b in zip(theirs, ours, strict=True))
        print("museval / ours, dB:", ", ".join(shown))


if __name__ == "__main__":
    main()
