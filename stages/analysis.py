"""The views that the spectral features share: one STFT, one mel spectrum, at one rate and one hop.

22,050 Hz, frames of 2,048 samples every 512, Hann window, frames centred on their times with zeros
beyond both ends: the defaults of librosa 0.11, which most published descriptors were made with.
"""

from __future__ import annotations

import librosa
import numpy as np
from numpy.typing import NDArray

from stages.audio import Audio
from stages.outputs import Missing
from stages.silence import SILENCE, silence_of

RATE_HZ = 22_050
FRAME_SAMPLES = 2048
HOP_SAMPLES = 512

SHORTER_THAN_FRAME = Missing(f"shorter than one frame of {FRAME_SAMPLES / RATE_HZ:.3f} s")

_SILENT_MAGNITUDE = 1e-6 * FRAME_SAMPLES / 4  # what a sine of -120 dBFS has in its bin


def nothing_there(audio: Audio) -> Missing | None:
    """Say why a source cannot be analysed, None where it can."""
    if len(audio.mono(RATE_HZ)) < FRAME_SAMPLES:
        return SHORTER_THAN_FRAME
    silent = silence_of(audio, sample_rate_hz=RATE_HZ)
    # A click of -90 dB, or noise of -110, is no silence to its peak and fills no bin of a spectrum.
    return silent or (None if sounding(audio).any() else SILENCE)


def magnitude(audio: Audio) -> NDArray[np.float32]:
    """Return the STFT's magnitude, shape `(1025, frames)`. The source is no shorter than a frame."""

    def make() -> NDArray[np.float32]:
        mono = audio.mono(RATE_HZ)
        stft = librosa.stft(mono, n_fft=FRAME_SAMPLES, hop_length=HOP_SAMPLES)
        absolute: NDArray[np.float32] = np.abs(stft)
        return absolute

    return audio.once("magnitude", make)


def power(audio: Audio) -> NDArray[np.float32]:
    """Return the square of `magnitude`."""
    return audio.once("power", lambda: np.square(magnitude(audio)))


def mel_db(audio: Audio) -> NDArray[np.float32]:
    """Return the power in 128 mel bands (Slaney) to 11,025 Hz, in dB, shape `(128, frames)`.

    What is 80 dB below the loudest value of the source is raised to that.
    """

    def make() -> NDArray[np.float32]:
        mel = librosa.feature.melspectrogram(S=power(audio), sr=RATE_HZ, n_fft=FRAME_SAMPLES)
        in_db: NDArray[np.float32] = librosa.power_to_db(mel)
        return in_db

    return audio.once("mel_db", make)


def sounding(audio: Audio) -> NDArray[np.bool_]:
    """Return for each frame whether there is anything above -120 dB in it, shape `(frames,)`."""
    return audio.once("sounding", lambda: magnitude(audio).max(axis=0) > _SILENT_MAGNITUDE)


def frame_times_s(audio: Audio) -> NDArray[np.float64]:
    """Return the time of each frame's centre, shape `(frames,)`."""
    frames = np.arange(magnitude(audio).shape[1], dtype=np.float64)
    return frames * HOP_SAMPLES / RATE_HZ
