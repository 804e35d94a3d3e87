"""The tables of our own against those of librosa."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
from numpy.typing import NDArray

from stages import pitches
from stages.beats import tempo_and_beats
from stages.constant_q import _fold
from stages.filter_banks import chroma_filters, mel_filters, octaves, wavelets, without_the_least
from stages.peaks import onset_frames
from stages.pitches import Pitches

RATE_HZ = 22_050


@pytest.mark.parametrize(("frame", "bands"), [(2048, 128), (1024, 40)])
def test_the_mel_filters_are_librosa_s(frame: int, bands: int) -> None:
    expected = librosa.filters.mel(sr=RATE_HZ, n_fft=frame, n_mels=bands)

    assert np.array_equal(mel_filters(RATE_HZ, frame, bands), expected)


@pytest.mark.parametrize("tuning", [-0.5, -0.13, 0.0, 0.49])
def test_the_chroma_filters_are_librosa_s(tuning: float) -> None:
    expected = librosa.filters.chroma(sr=RATE_HZ, n_fft=2048, tuning=tuning)

    found = chroma_filters(RATE_HZ, 2048, tuning=tuning)

    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("tuning", [-0.5, 0.0, 0.31])
def test_the_wavelets_are_librosa_s(tuning: float) -> None:
    lowest = librosa.note_to_hz("C7") * 2 ** (tuning / 36)
    frequencies = lowest * 2.0 ** (np.arange(36) / 36)
    expected, lengths = librosa.filters.wavelet(freqs=frequencies, sr=RATE_HZ)

    found, found_lengths = wavelets(frequencies, RATE_HZ)

    np.testing.assert_allclose(found_lengths, lengths, rtol=1e-12)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_the_least_of_a_row_is_what_librosa_leaves_out() -> None:
    random = np.random.default_rng(0)
    rows = random.standard_normal((20, 100)) ** 5 * np.exp(1j * random.uniform(0, 6, (20, 100)))

    for share in (0.01, 0.2):
        expected = librosa.util.sparsify_rows(rows, quantile=share, dtype=np.complex64).toarray()
        assert np.array_equal(without_the_least(rows, share), expected)
        assert np.count_nonzero(expected) < expected.size


def test_the_bins_of_an_octave_are_summed_as_librosa_sums_them() -> None:
    expected = librosa.filters.cq_to_chroma(252, bins_per_octave=36, n_chroma=12)

    for octave in range(7):
        assert np.array_equal(_fold().T, expected[:, octave * 36 : (octave + 1) * 36])


def _pitches(seed: int, count: int = 300) -> NDArray[np.float32]:
    """Pitches and strengths of notes that are out of tune, and of some noise between them."""
    random = np.random.default_rng(seed)
    notes = random.integers(40, 90, count) + random.normal(random.uniform(-0.5, 0.5), 0.1, count)
    notes[::3] = random.uniform(50, 80, len(notes[::3]))
    return np.stack([440.0 * 2 ** ((notes - 69) / 12), random.exponential(1, count)], 1).astype(
        "f4"
    )


@pytest.mark.parametrize("seed", range(5))
def test_a_tuning_is_librosa_s(seed: int) -> None:
    found, peaks = Pitches(RATE_HZ, (12, 36)), _pitches(seed)
    found._found.add(peaks)
    strong_hz = peaks[peaks[:, 1] >= np.median(peaks[:, 1]), 0]

    expected = {bins: librosa.pitch_tuning(strong_hz, bins_per_octave=bins) for bins in (12, 36)}

    assert found.tunings() == expected
    assert np.array_equal(octaves(strong_hz), librosa.hz_to_octs(strong_hz))


def test_without_pitches_there_is_no_tuning() -> None:
    assert Pitches(RATE_HZ, (12, 36)).tunings() == {12: None, 36: None}


@pytest.mark.parametrize("seed", range(5))
def test_pitches_that_are_only_counted_give_the_same_tuning(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pitches, "_KEPT_PEAKS", 5_000)
    monkeypatch.setattr(pitches, "_COUNTED_AT_ONCE", 700)
    peaks, none = _pitches(seed, 50_000), np.zeros((1, 1025), np.float32)
    kept, counted = Pitches(RATE_HZ, (12, 36)), Pitches(RATE_HZ, (12, 36))
    kept._found.add(peaks)

    for some in np.split(peaks, [10, 6_000, 6_001, 20_000]):
        counted._found.add(some)
        counted.add(none)  # looks whether there are too many

    assert counted._found.count < 700
    assert counted.tunings() == kept.tunings()


def _envelope(seed: int) -> NDArray[np.float32]:
    """Noise with a beat, and in some with a long rest at either end."""
    random = np.random.default_rng(seed)
    frames = int(random.integers(5, 6000))
    envelope = 0.3 * np.abs(random.standard_normal(frames))
    beats = np.arange(0, frames, random.uniform(10, 45)) + random.normal(0, 1)
    envelope[beats[(beats >= 0) & (beats < frames)].astype(int)] += random.uniform(1, 6)
    envelope[: frames // 3 if seed % 7 == 0 else 0] = 0
    envelope[frames // 2 if seed % 11 == 0 else frames :] = 0
    return envelope.astype(np.float32)


@pytest.mark.parametrize("seed", range(60))
def test_tempo_beats_and_onsets_are_librosa_s(seed: int) -> None:
    envelope = _envelope(seed)
    tempo, beats = librosa.beat.beat_track(onset_envelope=envelope, sr=RATE_HZ, hop_length=512)
    onsets = librosa.onset.onset_detect(onset_envelope=envelope, sr=RATE_HZ, hop_length=512)

    found_bpm, found = tempo_and_beats(envelope, RATE_HZ / 512)

    assert found_bpm == pytest.approx(float(np.squeeze(tempo)))
    assert np.array_equal(found, beats)
    assert np.array_equal(onset_frames(envelope), onsets)


@pytest.mark.parametrize("seed", range(4))
def test_beats_between_equally_good_places_are_librosa_s_too(seed: int) -> None:
    random = np.random.default_rng(seed)
    # Six minutes with hardly anything between the beats, as the median over the bands has.
    envelope = np.zeros(16_000, dtype=np.float32)
    for begin in range(0, 16_000, 500):
        period = random.integers(24, 29)
        envelope[begin : begin + 400 : period] = random.uniform(1, 4)
        envelope[begin + 7 : begin + 400 : 2 * period] = random.uniform(0.2, 1)
    _, beats = librosa.beat.beat_track(onset_envelope=envelope, sr=RATE_HZ, hop_length=512)

    assert np.array_equal(tempo_and_beats(envelope, RATE_HZ / 512)[1], beats)


@pytest.mark.parametrize("frames", [1, 2, 3, 9, 400])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_an_even_envelope_has_hardly_a_beat_and_breaks_nothing(frames: int, value: float) -> None:
    envelope = np.full(frames, value, dtype=np.float32)

    tempo_bpm, beats = tempo_and_beats(envelope, RATE_HZ / 512)

    assert np.isfinite(tempo_bpm)
    assert ((beats >= 0) & (beats < frames)).all()
    assert len(onset_frames(envelope)) <= frames
