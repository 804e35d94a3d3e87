"""CENS, tonal centroids and harmonic change, on chroma that is written down here."""

from __future__ import annotations

from collections.abc import Sequence
from math import pi, sqrt

import librosa
import numpy as np
import pytest
from numpy.typing import NDArray

from stages.harmony import cens, harmonic_change, tonnetz

C_MAJOR = (0, 4, 7)
F_SHARP_MAJOR = (6, 10, 1)
FRAMES = 80


def _held(pitch_classes: tuple[int, ...], *, frames: int = FRAMES) -> NDArray[np.float32]:
    chroma = np.zeros((12, frames), dtype=np.float32)
    chroma[list(pitch_classes)] = 1.0
    return chroma


def _columns(shares: Sequence[float], *, frames: int = FRAMES) -> NDArray[np.float32]:
    return np.repeat(np.array(shares, dtype=np.float32)[:, np.newaxis], frames, axis=1)


def _random(*, frames: int = 300, silent: slice = slice(0)) -> NDArray[np.float32]:
    chroma = np.random.default_rng(0).uniform(size=(12, frames)).astype(np.float32) ** 4
    chroma[:, silent] = 0.0
    return chroma


def _change(chroma: NDArray[np.float32]) -> NDArray[np.float32]:
    return harmonic_change(tonnetz(chroma), chroma.sum(axis=0) > 0)


CHROMAS = {
    "random": _random(),
    "with a rest": _random(silent=slice(100, 200)),
    "shares on the thresholds": _columns([4, 2, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0], frames=50),
    "all alike": np.ones((12, 50), dtype=np.float32),
    "a single frame": _held(C_MAJOR, frames=1),
    "nothing": _held((), frames=50),
}


@pytest.mark.parametrize("what", CHROMAS)
def test_cens_and_tonnetz_are_those_of_librosa_on_the_same_chroma(what: str) -> None:
    chroma = CHROMAS[what]

    # An octave of twelve bins is a chroma already.
    expected = librosa.feature.chroma_cens(C=chroma, bins_per_octave=12, n_octaves=1)
    np.testing.assert_allclose(cens(chroma), expected, rtol=1e-6)
    np.testing.assert_allclose(
        tonnetz(chroma), librosa.feature.tonnetz(chroma=chroma), atol=1e-6, rtol=0
    )


def test_cens_of_a_held_chord_is_the_chord() -> None:
    found = cens(_held(C_MAJOR))

    np.testing.assert_allclose(found, _held(C_MAJOR) / sqrt(3), atol=1e-6)


def test_cens_counts_shares_by_the_thresholds_of_its_paper() -> None:
    chroma = _columns([0.45, 0.25, 0.15, 0.09, 0.04, 0.02, 0, 0, 0, 0, 0, 0])

    found = cens(chroma)[:, FRAMES // 2]

    steps = [4, 3, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    np.testing.assert_allclose(found, np.array(steps) / sqrt(16 + 9 + 4 + 1), atol=1e-6)


def test_the_tonal_centroid_of_c_e_g_is_that_of_the_formula_on_paper() -> None:
    found = tonnetz(_held(C_MAJOR, frames=1))[:, 0]

    # C, E, G on the circles of fifths at 0, 120, 30 degrees; of minor thirds at 0, 0, 90; of major
    # thirds, whose radius is a half, at 0, 120, 120. x is the sine, y the cosine.
    expected = [
        (sqrt(3) / 2 + 1 / 2) / 3,
        (1 - 1 / 2 + sqrt(3) / 2) / 3,
        1 / 3,
        2 / 3,
        (sqrt(3) / 2 + sqrt(3) / 2) / 2 / 3,
        (1 - 1 / 2 - 1 / 2) / 2 / 3,
    ]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("semitones", "turns"),
    [(1, (7 / 12, 3 / 4, 1 / 3)), (7, (1 / 12, 1 / 4, 1 / 3)), (3, (3 / 4, 1 / 4, 0.0))],
    ids=["semitone", "fifth", "minor third"],
)
def test_a_transposition_turns_each_circle_by_what_the_interval_makes_on_it(
    semitones: int, turns: tuple[float, ...]
) -> None:
    chroma = _random()

    here, there = tonnetz(chroma), tonnetz(np.roll(chroma, semitones, axis=0))

    for circle, turn in enumerate(turns):
        x, y = here[2 * circle : 2 * circle + 2]
        # As complex numbers, clockwise from the top.
        turned = (y + 1j * x) * np.exp(2j * pi * turn)
        np.testing.assert_allclose(there[2 * circle], turned.imag, atol=1e-6)
        np.testing.assert_allclose(there[2 * circle + 1], turned.real, atol=1e-6)


def test_twelve_equal_pitch_classes_have_their_centroid_in_the_middle() -> None:
    np.testing.assert_allclose(tonnetz(np.ones((12, 3), np.float32)), 0.0, atol=1e-6)


@pytest.mark.parametrize("measure", [cens, tonnetz, _change])
def test_the_scale_of_a_frame_changes_nothing(measure: object) -> None:
    chroma = _random(silent=slice(100, 200))
    scales = np.random.default_rng(1).uniform(0.01, 100, 300).astype(np.float32)

    here, there = (measure(one) for one in (chroma, chroma * scales))  # type: ignore[operator]

    np.testing.assert_allclose(there, here, atol=1e-5)


def test_a_held_chord_has_no_harmonic_change_whatever_its_length() -> None:
    for frames in (1, 2, 3, FRAMES):
        np.testing.assert_allclose(_change(_held(C_MAJOR, frames=frames)), 0.0, atol=1e-6)


def test_a_change_of_chord_is_the_only_peak_as_high_as_its_distance_under_the_gaussian() -> None:
    first, second = _held(C_MAJOR), _held(F_SHARP_MAJOR)
    chroma = np.concatenate([first, second], axis=1)

    found = _change(chroma)

    # A step that is smoothed: what is before frame n is n's Gaussian up to there.
    sigma = 0.1085 * 22_050 / 512
    gaussian = np.exp(-0.5 * (np.arange(-14, 15) / sigma) ** 2)
    distance = np.linalg.norm(tonnetz(second)[:, 0] - tonnetz(first)[:, 0])
    # The last frame of the first chord and the first of the second see as much of either.
    assert set(np.flatnonzero(found > 0.999 * found.max())) == {FRAMES - 1, FRAMES}
    expected = distance * gaussian[14:16].sum() / gaussian.sum()
    assert found.max() == pytest.approx(expected, rel=1e-3)
    np.testing.assert_allclose(found, found[::-1], atol=1e-6)
    np.testing.assert_allclose(found[: FRAMES - 16], 0.0, atol=1e-6)


def test_a_rest_is_no_change_of_harmony_but_another_chord_after_it_is() -> None:
    rest = _held((), frames=30)

    same = _change(np.concatenate([_held(C_MAJOR), rest, _held(C_MAJOR)], axis=1))
    other = _change(np.concatenate([_held(C_MAJOR), rest, _held(F_SHARP_MAJOR)], axis=1))

    np.testing.assert_allclose(same, 0.0, atol=1e-6)
    without = _change(np.concatenate([_held(C_MAJOR), _held(F_SHARP_MAJOR)], axis=1))
    np.testing.assert_allclose(other[:FRAMES], without[:FRAMES], atol=1e-6)
    assert not other[FRAMES : FRAMES + 30].any()
    np.testing.assert_allclose(other[FRAMES + 30 :], without[FRAMES:], atol=1e-6)


def test_a_shift_in_time_shifts_every_series() -> None:
    chroma = _random(silent=slice(0, 100))
    chroma[:, 200:] = 0.0
    later = np.roll(chroma, 60, axis=1)

    for measure in (cens, tonnetz, _change):
        np.testing.assert_allclose(measure(later), np.roll(measure(chroma), 60, axis=-1), atol=1e-6)


def test_no_series_is_ever_other_than_finite() -> None:
    for chroma in CHROMAS.values():
        sounding = np.ones(chroma.shape[1], dtype=np.bool_)
        change = harmonic_change(tonnetz(chroma), sounding)
        assert all(np.isfinite(one).all() for one in (cens(chroma), tonnetz(chroma), change))
