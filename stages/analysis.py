"""What the spectral features share: one pass over one STFT of a source, at one rate and one hop."""

from __future__ import annotations

from collections.abc import Iterator

import librosa
import numpy as np
from numpy.typing import NDArray

from stages.audio import Audio
from stages.frame_shapes import Measurer, Shapes, joined
from stages.outputs import Missing
from stages.silence import SILENCE, silence_of
from stages.stft import FRAME_SAMPLES, HOP_SAMPLES, magnitudes

RATE_HZ = 22_050

SHORTER_THAN_FRAME = Missing(f"shorter than one frame of {FRAME_SAMPLES / RATE_HZ:.3f} s")

_SILENT_MAGNITUDE = 1e-6 * FRAME_SAMPLES / 4  # what a sine of -120 dBFS has in its bin
_BLOCK_SAMPLES = 1 << 16


def nothing_there(audio: Audio) -> Missing | None:
    """Say why a source cannot be analysed, None where it can."""
    if len(audio.mono(RATE_HZ)) < FRAME_SAMPLES:
        return SHORTER_THAN_FRAME
    silent = silence_of(audio, sample_rate_hz=RATE_HZ)
    # A click of -90 dB, or noise of -110, is no silence to its peak and fills no bin of a spectrum.
    return silent or (None if sounding(audio).any() else SILENCE)


def mono_blocks(audio: Audio) -> Iterator[NDArray[np.float32]]:
    """Yield the samples of one channel at `RATE_HZ`, some at a time."""
    mono = audio.mono(RATE_HZ)
    return (mono[start : start + _BLOCK_SAMPLES] for start in range(0, len(mono), _BLOCK_SAMPLES))


def shapes(audio: Audio) -> Shapes:
    """Return what the pass over all frames leaves. The source is no shorter than a frame."""

    def make() -> Shapes:
        measurer = Measurer(RATE_HZ)
        return joined([measurer.measure(spectra) for spectra in magnitudes(mono_blocks(audio))])

    return audio.once("shapes", make)


def mel_db(audio: Audio) -> NDArray[np.float32]:
    """Return the power in 128 mel bands (Slaney) to 11,025 Hz, in dB, shape `(128, frames)`.

    What is 80 dB below the loudest value of the source is raised to that.
    """

    def make() -> NDArray[np.float32]:
        in_db: NDArray[np.float32] = librosa.power_to_db(shapes(audio).mel.T)
        return in_db

    return audio.once("mel_db", make)


def sounding(audio: Audio) -> NDArray[np.bool_]:
    """Return for each frame whether there is anything above -120 dB in it, shape `(frames,)`."""
    return audio.once("sounding", lambda: shapes(audio).highest > _SILENT_MAGNITUDE)


def frame_times_s(audio: Audio) -> NDArray[np.float64]:
    """Return the time of each frame's centre, shape `(frames,)`."""
    return np.arange(len(shapes(audio).highest)) * HOP_SAMPLES / RATE_HZ
