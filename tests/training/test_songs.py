"""The songs that the separator learns from: the same for a seed, true in their sum, and music."""

from __future__ import annotations

import shutil
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from training.music import soundfont
from training.music.score import Hit, Note
from training.music.songs import SAMPLE_RATE_HZ, STEMS, TEST, TRAINING, VALIDATION, song
from training.music.soundfont import Preset, SoundFontMissing, play_hits, play_notes

SECONDS = 5.0
SEEDS = range(6)

needs_soundfont = pytest.mark.skipif(
    shutil.which("fluidsynth") is None or not soundfont.SOUNDFONT.exists(),
    reason="needs the Debian packages fluidsynth and fluid-soundfont-gm",
)


@cache
def short(seed: int) -> NDArray[np.float32]:
    """Return a short song without samples."""
    return song(seed, seconds=SECONDS, sampled=False)


def part_of_energy(
    sound: NDArray[np.float32], *, from_hz: float = 0.0, to_hz: float = np.inf
) -> float:
    """Return which part of a sound's energy, shape `(2, samples)`, lies in a band."""
    power = (np.abs(np.fft.rfft(sound, axis=1)) ** 2).sum(axis=0)
    hz = np.fft.rfftfreq(sound.shape[1], 1.0 / SAMPLE_RATE_HZ)
    return float(power[(hz >= from_hz) & (hz < to_hz)].sum() / power.sum())


def sounding(stem: str) -> list[NDArray[np.float32]]:
    """Return a stem of each song in which it is not silent."""
    sounds = [short(seed)[STEMS.index(stem)] for seed in SEEDS]
    return [sound for sound in sounds if np.abs(sound).max() > 0.01]


def test_a_seed_is_always_the_same_song() -> None:
    assert song(3, seconds=SECONDS, sampled=False).tobytes() == short(3).tobytes()


def test_each_seed_is_another_song() -> None:
    assert len({short(seed).tobytes() for seed in SEEDS}) == len(SEEDS)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_song_is_four_stems_in_stereo_whose_sum_does_not_clip(seed: int) -> None:
    stems = short(seed)

    assert stems.shape == (len(STEMS), 2, round(SECONDS * SAMPLE_RATE_HZ))
    assert stems.dtype == np.float32
    assert np.isfinite(stems).all()
    assert 0.05 < np.abs(stems.sum(axis=0)).max() <= 1.0


def test_a_song_is_as_long_as_it_is_asked_to_be() -> None:
    assert song(1, seconds=4.321, sampled=False).shape[2] == round(4.321 * SAMPLE_RATE_HZ)


def test_the_seeds_of_tests_validation_and_training_lie_apart() -> None:
    ranges = sorted((TEST, VALIDATION, TRAINING), key=lambda seeds: seeds.start)

    assert ranges[0].stop <= ranges[1].start
    assert ranges[1].stop <= ranges[2].start


def test_drums_reach_high() -> None:
    shares = [part_of_energy(sound, from_hz=5000.0) for sound in sounding("drums")]

    assert np.median(shares) > 0.01


def test_a_bass_is_low() -> None:
    shares = [part_of_energy(sound, to_hz=300.0) for sound in sounding("bass")]

    assert np.median(shares) > 0.6


def test_no_stem_leaves_a_constant_in_the_mix() -> None:
    for stem in STEMS:
        for sound in sounding(stem):
            assert np.abs(sound.mean(axis=1)).max() < 0.05 * np.abs(sound).max()


def test_a_sampled_song_without_fluidsynth_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")

    with pytest.raises(SoundFontMissing, match="fluidsynth and fluid-soundfont-gm: install both"):
        play_notes([Note(0.0, 1.0, 60, 1.0)], Preset(0), seconds=1.0)


def test_a_synthesised_song_needs_no_fluidsynth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")

    assert song(2, seconds=4.0, sampled=False).any()


@needs_soundfont
def test_a_sampled_note_sounds_at_its_pitch_and_time() -> None:
    sound = play_notes([Note(0.5, 1.0, 69, 1.0)], Preset(73), seconds=2.0)  # A4 on a flute

    assert sound.shape == (2, 2 * SAMPLE_RATE_HZ)
    assert np.abs(sound[:, : SAMPLE_RATE_HZ * 49 // 100]).max() < 1e-4
    assert part_of_energy(sound, from_hz=425.0, to_hz=455.0) > 0.3


@needs_soundfont
def test_a_sampled_hat_is_no_kick() -> None:
    kit = Preset(0, drums=True)

    hat = play_hits([Hit(0.1, "hat", 1.0)], kit, seconds=1.0)
    kick = play_hits([Hit(0.1, "kick", 1.0)], kit, seconds=1.0)

    assert part_of_energy(hat, from_hz=3000.0) > 0.8
    assert part_of_energy(kick, to_hz=300.0) > 0.8


@needs_soundfont
def test_a_sampled_song_is_the_same_each_time() -> None:
    first = song(4, seconds=4.0, sampled=True)

    assert first.tobytes() == song(4, seconds=4.0, sampled=True).tobytes()
    assert first.tobytes() != song(4, seconds=4.0, sampled=False).tobytes()
