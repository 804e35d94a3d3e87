"""A throat: pulses and noise, and the formants that colour them, changing from frame to frame."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from pipeline.music.synth import RATE_HZ, Wave

HOP = 256
WINDOW = 1024
_SPECTRUM = 2048
# Above the fourth, formants that hardly move: centres in Hz, and levels under the fourth's.
_HIGH_HZ = (4500.0, 5600.0, 6900.0, 8400.0)
_HIGH_DB = (-4.0, -10.0, -13.0, -16.0)
_WIDTHS_HZ = (75.0, 95.0, 130.0, 180.0, 250.0, 400.0, 700.0, 1200.0)


def pulses(hz: Wave, *, tilt_hz: float) -> Wave:
    """Return pulses that fall by 6 dB an octave, and by 12 from `tilt_hz` on, without aliases."""
    step = hz / RATE_HZ
    place = np.cumsum(step)
    place -= np.floor(place)
    wave = 2.0 * place - 1.0
    # The jump of the saw, rounded over two samples (PolyBLEP).
    after, before = place < step, place > 1.0 - step
    near = place[after] / step[after]
    wave[after] -= 2.0 * near - near**2 - 1.0
    near = (place[before] - 1.0) / step[before]
    wave[before] -= near**2 + 2.0 * near + 1.0
    keep = np.exp(-2.0 * np.pi * tilt_hz / RATE_HZ)
    return np.asarray(signal.lfilter([1.0 - keep], [1.0, -keep], wave), np.float64)


def frame_times_s(length: int) -> Wave:
    """Return the middle of each frame of a sound of so many samples, shape `(frames,)`."""
    frames = 1 + (length + WINDOW) // HOP
    return (np.arange(frames) * HOP - WINDOW / 2) / RATE_HZ


Response: TypeAlias = NDArray[np.complex64] | NDArray[np.float32]


def formants(slow: Wave, pitch_hz: Wave, *, size: float, presence_db: float) -> Response:
    """Return the throat's response, shape `(frames, bins)`, from centres and levels, shape `(8, frames)`."""
    bins_hz = np.fft.rfftfreq(_SPECTRUM, 1.0 / RATE_HZ).astype(np.float32)
    real = np.zeros((slow.shape[1], bins_hz.size), np.float32)
    imaginary = np.zeros_like(real)
    for number, width_hz in enumerate(_WIDTHS_HZ):
        high = number - 4
        if high < 0:
            centre_hz, level_db = size * slow[number], slow[4 + number]
        else:
            centre_hz = np.full(slow.shape[1], size * _HIGH_HZ[high])
            level_db = slow[7] + _HIGH_DB[high]
        if number == 0:  # singers open the mouth so that the first formant is not below the pitch
            centre_hz = np.maximum(centre_hz, 1.03 * pitch_hz)
        # Levels are those after the glottis' fall of 6 dB an octave.
        lift = np.maximum(centre_hz, 300.0) / 500.0
        level = 10.0 ** ((level_db + presence_db * (1 < number < 5)) / 20.0) * lift
        off = (bins_hz - centre_hz[:, np.newaxis].astype(np.float32)) * np.float32(2.0 / width_hz)
        part = (level * (-1.0) ** number)[:, np.newaxis].astype(np.float32) / (1.0 + off**2)
        real += part
        imaginary -= part * off
    response: NDArray[np.complex64] = real + np.complex64(1j) * imaginary
    return response


def colour(centre_hz: Wave, width_hz: Wave) -> Response:
    """Return the response to noise, shape `(frames, bins)`."""
    bins_hz = np.fft.rfftfreq(_SPECTRUM, 1.0 / RATE_HZ).astype(np.float32)
    off = (bins_hz - centre_hz[:, np.newaxis].astype(np.float32)) / width_hz[:, np.newaxis].astype(
        np.float32
    )
    response: NDArray[np.float32] = np.exp(np.float32(-0.5) * off**2)
    return response


def filtered(wave: Wave, response: Response) -> Wave:
    """Pass a wave through a filter that changes from frame to frame; silent frames are left out."""
    padded = np.zeros((response.shape[0] - 1) * HOP + WINDOW, np.float32)
    padded[WINDOW : WINDOW + wave.size] = wave[: padded.size - WINDOW]
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    sounds = np.flatnonzero(np.abs(frames).max(axis=1) > 1e-5)
    window = signal.windows.hann(WINDOW, sym=False).astype(np.float32) / 2.0
    spectra = np.fft.rfft(frames[sounds] * window, _SPECTRUM, axis=1)
    made = np.fft.irfft(spectra * response[sounds], _SPECTRUM, axis=1)
    pieces = _SPECTRUM // HOP
    track = np.zeros((response.shape[0] + pieces, HOP))
    for piece in range(pieces):
        track[sounds + piece] += made[:, piece * HOP : (piece + 1) * HOP]
    return track.ravel()[WINDOW : WINDOW + wave.size]
