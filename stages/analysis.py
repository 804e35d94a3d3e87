"""What the spectral features share: one pass over one STFT of a source, at one rate and one hop."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from stages.audio import Audio
from stages.base import Tick, no_tick
from stages.constant_q import BINS_PER_OCTAVE
from stages.crossings import Crossings
from stages.frame_shapes import MEL_BANDS, Measurer
from stages.growing import Growing
from stages.mono import MonoSink
from stages.outputs import Missing
from stages.pitches import SEMITONES, Pitches
from stages.silence import SILENCE, silence_of
from stages.stft import FRAME_SAMPLES, HOP_SAMPLES, Stft, frame_count

RATE_HZ = 22_050

SHORTER_THAN_FRAME = Missing(f"shorter than one frame of {FRAME_SAMPLES / RATE_HZ:.3f} s")
ONE_FRAME = Missing("a single frame, and so no change")

_SILENT_MAGNITUDE = 1e-6 * FRAME_SAMPLES / 4  # what a sine of -120 dBFS has in its bin

# So long a source stays in memory, 400 MB of it with its mel bands. A longer one is heard again.
_KEEP_S = 3_600

# What is kept is handed out in pieces that stay in the caches.
_BLOCK_SAMPLES = 1 << 16
_BLOCK_FRAMES = 512


class Analysis(MonoSink):
    """The sink that measures every frame of a source once, for all stages.

    `shapes`: what was measured. `crossings`: see there. `tunings` by bins per octave, by the peaks of
    the magnitudes, and `power_tuning` in semitones, by those of their squares. `highest_mel_power`: of
    all bands and frames.
    """

    def __init__(self) -> None:
        super().__init__(RATE_HZ)

    def start(self, expected: int) -> None:
        self._stft = Stft()
        self._measurer = Measurer(RATE_HZ, frame_count(expected))
        self._pitches = Pitches(RATE_HZ, (SEMITONES, BINS_PER_OCTAVE))
        self._power_pitches = Pitches(RATE_HZ, (SEMITONES,))
        self._crossings = Crossings()
        self.highest_mel_power = 0.0
        kept = min(expected, _KEEP_S * RATE_HZ)
        self._kept: Growing | None = Growing((), np.float32, kept)
        self._mel = Growing((MEL_BANDS,), np.float32, frame_count(kept))

    def take(self, mono: NDArray[np.float32]) -> None:
        if self._kept is not None:
            self._keep(mono, self._kept)
        self._crossings.add(mono)
        self._measure(self._stft.add(mono))

    def finish(self) -> None:
        self._measure(self._stft.end())
        self.shapes = self._measurer.shapes()
        self.crossings = self._crossings.shares()
        self.tunings = self._pitches.tunings()
        self.power_tuning = self._power_pitches.tunings()[SEMITONES]
        self.sounding: NDArray[np.bool_] = self.shapes.line("highest") > _SILENT_MAGNITUDE

    def _keep(self, mono: NDArray[np.float32], kept: Growing) -> None:
        if self.count > _KEEP_S * RATE_HZ:
            self._kept = None
            self._mel = Growing((MEL_BANDS,), np.float32)
        else:
            kept.add(mono)

    def _measure(self, spectra: Iterable[NDArray[np.float32]]) -> None:
        for magnitudes in spectra:
            mel = self._measurer.measure(magnitudes)
            self.highest_mel_power = max(self.highest_mel_power, float(mel.max()))
            self._pitches.add(magnitudes)
            self._power_pitches.add(np.square(magnitudes))
            if self._kept is not None:
                self._mel.add(mel)

    def hear_mono(self, audio: Audio, sink: MonoSink, tick: Tick) -> None:
        """Let another sink hear the one channel, from memory or from the file."""
        if self._kept is None:
            audio.feed(sink, tick)
            return
        sink.channels = self.channels
        sink.start(self.count)
        for chunk in self._kept.chunks():
            for start in range(0, len(chunk), _BLOCK_SAMPLES):
                sink.take(chunk[start : start + _BLOCK_SAMPLES])
        sink.finish()

    def hear_mel(
        self, audio: Audio, take: Callable[[NDArray[np.float32]], None], tick: Tick
    ) -> None:
        """Give the power in mel bands, shape `(n, 128)`, in order, some frames at a time."""
        if self._kept is None:
            audio.feed(_MelAgain(take), tick)
            return
        for chunk in self._mel.chunks():
            for start in range(0, len(chunk), _BLOCK_FRAMES):
                take(chunk[start : start + _BLOCK_FRAMES])


class _MelAgain(MonoSink):
    """Measures a source again, for its mel bands only."""

    def __init__(self, give: Callable[[NDArray[np.float32]], None]) -> None:
        super().__init__(RATE_HZ)
        self._give = give

    def start(self, expected: int) -> None:
        self._stft = Stft()

    def take(self, mono: NDArray[np.float32]) -> None:
        self._measure(self._stft.add(mono))

    def finish(self) -> None:
        self._measure(self._stft.end())

    def _measure(self, spectra: Iterable[NDArray[np.float32]]) -> None:
        for magnitudes in spectra:
            self._give(Measurer(RATE_HZ).measure(magnitudes))  # a new one each: none keeps much


def analysis(audio: Audio) -> Analysis:
    """Return what the pass over all frames leaves."""
    return audio.heard(Analysis)


def nothing_there(audio: Audio) -> Missing | None:
    """Say why a source cannot be analysed, None where it can."""
    found = analysis(audio)
    if found.count < FRAME_SAMPLES:
        return SHORTER_THAN_FRAME
    silent = silence_of(found)
    # A click of -90 dB, or noise of -110, is no silence to its peak and fills no bin of a spectrum.
    return silent or (None if found.sounding.any() else SILENCE)


def hear_mel_db(
    audio: Audio, take: Callable[[NDArray[np.float32]], None], tick: Tick = no_tick
) -> None:
    """Give the power in 128 mel bands (Slaney) to 11,025 Hz in dB, shape `(n, 128)`, in order.

    As `librosa.power_to_db` of the whole: what is 80 dB below the loudest value of the source is
    raised to that.
    """
    found = analysis(audio)
    floor_db = np.float32(_decibels(np.float32(found.highest_mel_power)) - 80.0)

    def give(mel: NDArray[np.float32]) -> None:
        take(np.maximum(_decibels(mel), floor_db))

    found.hear_mel(audio, give, tick)


def _decibels(power: NDArray[np.float32] | np.float32) -> NDArray[np.float32]:
    in_db: NDArray[np.float32] = np.float32(10.0) * np.log10(np.maximum(np.float32(1e-10), power))
    return in_db


def frame_times_s(audio: Audio) -> NDArray[np.float64]:
    """Return the time of each frame's centre, shape `(frames,)`."""
    return np.arange(len(analysis(audio).sounding)) * HOP_SAMPLES / RATE_HZ
