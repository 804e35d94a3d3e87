"""How near a separated stem comes to the true one: the measures that the field quotes."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_SILENT = 1e-10  # of full scale, squared: 100 dB down


def sdr_db(true: NDArray[np.float32], given: NDArray[np.float32]) -> float | None:
    """Return the signal-to-distortion ratio over all samples, in dB; higher is nearer.

    Energy of the true stem against that of the error, as the Music Demixing Challenge has it
    (Mitsufuji et al., "Music Demixing Challenge 2021", Frontiers in Signal Processing 1, 2022).

    Args:
        true: shape `(2, samples)`.
        given: of the same shape.

    Returns:
        None where the true stem is silent: nothing can be near it.
    """
    signal = float(np.square(true, dtype=np.float64).mean())
    error = float(np.square(true - given, dtype=np.float64).mean())
    return _ratio_db(signal, error) if signal > _SILENT else None


def si_sdr_db(true: NDArray[np.float32], given: NDArray[np.float32]) -> float | None:
    """Return the scale-invariant SDR in dB: the true stem may be louder or softer than the given.

    Le Roux et al., "SDR - half-baked or well done?", ICASSP 2019; both channels as one signal,
    without their means.

    Args and returns: as of `sdr_db`; a constant counts as silence. Silence given for a sound is 0 dB.
    """
    one = (true - true.mean(axis=1, keepdims=True)).astype(np.float64)
    other = (given - given.mean(axis=1, keepdims=True)).astype(np.float64)
    if np.square(one).mean() <= _SILENT:
        return None
    target = one * ((one * other).sum() / np.square(one).sum())
    return _ratio_db(float(np.square(target).mean()), float(np.square(other - target).mean()))


def framewise_sdr_db(
    true: NDArray[np.float32], given: NDArray[np.float32], *, frame: int = 44_100
) -> float | None:
    """Return the median over frames of the SDR in dB: the figure of SiSEC and of `museval`.

    Of BSS Eval v4's images SDR (Stöter et al., "The 2018 Signal Separation Evaluation Campaign").
    Frames in which the true stem is silent do not count.

    Args:
        true: shape `(2, samples)`.
        given: of the same shape.
        frame: samples of a frame, and from one to the next; of one second, as `museval` has it.

    Returns:
        None where no frame sounds.
    """
    starts = range(0, true.shape[1] - frame + 1, frame)
    cuts = ((true[:, at : at + frame], given[:, at : at + frame]) for at in starts)
    found = [sdr for one, other in cuts if (sdr := sdr_db(one, other)) is not None]
    return float(np.median(found)) if found else None


def _ratio_db(signal: float, error: float) -> float:
    """Return a ratio of powers in dB; a power below 1e-20 counts as that, so that both may be 0."""
    return 10.0 * math.log10(max(signal, 1e-20) / max(error, 1e-20))
