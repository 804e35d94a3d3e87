from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.downmix import to_stereo

HALF = np.sqrt(0.5)


def _one_channel_sounds(channel: int, *, channels: int) -> NDArray[np.float32]:
    samples = np.zeros((channels, 3), dtype=np.float32)
    samples[channel] = 0.5
    return samples


def test_mono_sounds_the_same_on_both_sides() -> None:
    mono = np.array([[0.1, -0.2]], dtype=np.float32)

    stereo = to_stereo(mono)

    assert np.array_equal(stereo, np.array([[0.1, -0.2], [0.1, -0.2]], dtype=np.float32))


def test_stereo_stays_as_it_is() -> None:
    stereo = np.array([[0.1, 0.2], [0.3, 0.4]], dtype=np.float32)

    assert to_stereo(stereo) is stereo


# (to left, to right) per channel, from the text of ITU-R BS.775, in WAV order.
@pytest.mark.parametrize(
    ("channels", "places"),
    [
        (3, [(1, 0), (0, 1), (HALF, HALF)]),
        (4, [(1, 0), (0, 1), (HALF, 0), (0, HALF)]),
        (5, [(1, 0), (0, 1), (HALF, HALF), (HALF, 0), (0, HALF)]),
        (6, [(1, 0), (0, 1), (HALF, HALF), (0, 0), (HALF, 0), (0, HALF)]),
        (
            8,
            [(1, 0), (0, 1), (HALF, HALF), (0, 0), (HALF, 0), (0, HALF), (HALF, 0), (0, HALF)],
        ),
        (7, [(0.25, 0), (0, 1 / 3), (0.25, 0), (0, 1 / 3), (0.25, 0), (0, 1 / 3), (0.25, 0)]),
    ],
)
def test_every_channel_goes_where_the_standard_puts_it(
    channels: int, places: list[tuple[float, float]]
) -> None:
    for channel, (left, right) in enumerate(places):
        stereo = to_stereo(_one_channel_sounds(channel, channels=channels))

        assert stereo.dtype == np.float32
        assert np.allclose(stereo, [[0.5 * left] * 3, [0.5 * right] * 3], rtol=1e-6)


def test_channels_that_sound_together_add_up() -> None:
    surround = np.full((6, 4), 0.5, dtype=np.float32)

    stereo = to_stereo(surround)

    assert np.allclose(stereo, 0.5 * (1 + 2 * HALF), rtol=1e-6)


def test_no_samples_give_no_samples() -> None:
    assert to_stereo(np.zeros((6, 0), dtype=np.float32)).shape == (2, 0)
