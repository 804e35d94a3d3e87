from __future__ import annotations

import essentia.standard as es
import numpy as np
import pytest
from numpy.typing import NDArray

from stages.families import MUSICNN_FRONT, VGGISH_FRONT, Front
from stages.log_spectra import LogSpectra
from tests.stages.sounds import noise, song

FRONTS = pytest.mark.parametrize(
    ("front", "theirs"),
    [(MUSICNN_FRONT, es.TensorflowInputMusiCNN), (VGGISH_FRONT, es.TensorflowInputVGGish)],
    ids=["musicnn", "vggish"],
)


def _ours(mono: NDArray[np.float32], front: Front, *, block: int) -> NDArray[np.float32]:
    spectra = LogSpectra(front)
    rows: list[NDArray[np.float32]] = []
    for start in range(0, len(mono), block):
        rows += spectra.add(mono[start : start + block])
    rows += spectra.end()
    return np.concatenate([np.empty((0, front.bands), np.float32), *rows])


def _theirs(mono: NDArray[np.float32], front: Front, make: type) -> NDArray[np.float32]:
    frames = es.FrameGenerator(
        mono, frameSize=front.frame_samples, hopSize=front.hop_samples, startFromZero=False
    )
    measure = make()
    return np.array([measure(frame) for frame in frames])


@FRONTS
@pytest.mark.parametrize("sound", ["song", "noise", "faint"])
def test_rows_are_those_of_essentias_own_front(front: Front, theirs: type, sound: str) -> None:
    audio = song(seconds=6.0) if sound == "song" else noise(seconds=3.0)
    mono = audio.mono(16_000) * np.float32(1e-4 if sound == "faint" else 1.0)

    found = _ours(mono, front, block=len(mono))

    # Both are float32: a faint band beside a loud one has the rounding of the loud one.
    apart = np.abs(found - _theirs(mono, front, theirs))
    assert np.quantile(apart, 0.999) < 2e-4
    assert apart.max() < 2e-3
    assert np.ptp(found) > (1e-5 if sound == "faint" else 0.5)


@FRONTS
@pytest.mark.parametrize("count", [1, 159, 160, 161, 255, 256, 257, 400, 401, 512, 513, 16_000])
def test_there_are_as_many_rows_as_essentia_makes(front: Front, theirs: type, count: int) -> None:
    mono = noise(seconds=2.0).mono(16_000)[:count]

    assert len(_ours(mono, front, block=100)) == len(_theirs(mono, front, theirs))


@FRONTS
def test_rows_are_the_same_bit_for_bit_however_the_samples_are_cut(
    front: Front, theirs: type
) -> None:
    mono = noise(seconds=4.0).mono(16_000)

    at_once = _ours(mono, front, block=len(mono))

    for block in (1_000, 4_096, 7):
        np.testing.assert_array_equal(_ours(mono, front, block=block), at_once)


def test_nothing_gives_a_single_row_of_silence() -> None:
    assert len(_ours(np.empty(0, np.float32), MUSICNN_FRONT, block=1)) == 1
