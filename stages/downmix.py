"""Any number of channels to stereo, or to one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_HALF_POWER = float(np.sqrt(0.5))

# ITU-R BS.775-3, annex 4: left = L + 0.7071 C + 0.7071 Ls, right likewise; LFE is left out.
# One (to left, to right) pair per channel, channels in WAV order.
_LEFT, _RIGHT, _CENTRE, _LFE = (1.0, 0.0), (0.0, 1.0), (_HALF_POWER, _HALF_POWER), (0.0, 0.0)
_TO_LEFT, _TO_RIGHT = (_HALF_POWER, 0.0), (0.0, _HALF_POWER)
_BS_775: dict[int, tuple[tuple[float, float], ...]] = {
    3: (_LEFT, _RIGHT, _CENTRE),
    4: (_LEFT, _RIGHT, _TO_LEFT, _TO_RIGHT),
    5: (_LEFT, _RIGHT, _CENTRE, _TO_LEFT, _TO_RIGHT),
    6: (_LEFT, _RIGHT, _CENTRE, _LFE, _TO_LEFT, _TO_RIGHT),
    8: (_LEFT, _RIGHT, _CENTRE, _LFE, _TO_LEFT, _TO_RIGHT, _TO_LEFT, _TO_RIGHT),
}


def to_stereo(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the stereo version of samples of shape `(channels, samples)`, shape `(2, samples)`.

    Mono is doubled and stereo given back as it is. 3, 4, 5, 6 and 8 channels are taken as L R C,
    L R Ls Rs, L R C Ls Rs, 5.1 and 7.1 and mixed by ITU-R BS.775, without lowering the level: the
    sum may exceed ±1. For other counts nobody can know the places: left is the mean of the
    channels 1, 3, 5, …, right that of 2, 4, 6, ….
    """
    channels = samples.shape[0]
    if channels == 1:
        return np.repeat(samples, 2, axis=0)
    if channels == 2:
        return samples
    stereo = np.zeros((2, samples.shape[1]), dtype=np.float32)
    for channel, (to_left, to_right) in zip(samples, _coefficients(channels), strict=True):
        for side, coefficient in zip(stereo, (to_left, to_right), strict=True):
            if coefficient:
                side += np.float32(coefficient) * channel
    return stereo


def to_mono(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean of left and right, shape `(samples,)`, of samples of `(channels, samples)`.

    More than two channels are mixed to stereo first, as `to_stereo` does.
    """
    if samples.shape[0] == 1:
        mono: NDArray[np.float32] = samples[0]
        return mono
    left, right = to_stereo(samples)
    # Not `mean(axis=0)`, which is twenty times slower on so short an axis; the same bits.
    mean: NDArray[np.float32] = (left + right) * np.float32(0.5)
    return mean


def _coefficients(channels: int) -> tuple[tuple[float, float], ...]:
    if channels in _BS_775:
        return _BS_775[channels]
    left, right = (channels + 1) // 2, channels // 2
    return tuple((0.0, 1 / right) if index % 2 else (1 / left, 0.0) for index in range(channels))
