"""What the measures of separation say of errors whose size is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.music.measures import framewise_sdr_db, sdr_db, si_sdr_db

RATE_HZ = 44_100
Sound = NDArray[np.float32]


def noise(seed: int, seconds: float = 5.0, *, rms: float = 0.1) -> Sound:
    chance = np.random.default_rng(seed)
    return (rms * chance.standard_normal((2, round(seconds * RATE_HZ)))).astype(np.float32)


def test_an_error_of_a_twentieth_is_26_db() -> None:
    true = noise(1)
    given = true + noise(2, rms=0.005)

    for measure in (sdr_db, framewise_sdr_db, si_sdr_db):
        assert measure(true, given) == pytest.approx(20 * math.log10(20), abs=0.05)


def test_silence_given_for_a_sound_is_0_db() -> None:
    true = noise(1)

    assert sdr_db(true, np.zeros_like(true)) == pytest.approx(0.0)
    assert framewise_sdr_db(true, np.zeros_like(true)) == pytest.approx(0.0)
    assert si_sdr_db(true, np.zeros_like(true)) == pytest.approx(0.0)


def test_of_a_silent_stem_nothing_is_said() -> None:
    true = np.zeros((2, 3 * RATE_HZ), np.float32)

    assert [measure(true, noise(1, 3.0)) for measure in (sdr_db, framewise_sdr_db, si_sdr_db)] == [
        None,
        None,
        None,
    ]


def test_a_constant_has_no_shape_to_be_near_to() -> None:
    assert si_sdr_db(np.full((2, RATE_HZ), 0.1, np.float32), noise(1, 1.0)) is None


def test_only_the_one_that_says_so_does_not_mind_the_level() -> None:
    true = noise(1)
    given = 2.0 * (true + noise(2, rms=0.01))

    assert si_sdr_db(true, given) == pytest.approx(20.0, abs=0.1)
    assert sdr_db(true, given) == pytest.approx(-10 * math.log10(1.04), abs=0.05)


def test_frames_are_told_by_their_median_and_silent_ones_do_not_count() -> None:
    true, wrong = noise(1), noise(2)
    given = true.copy()
    for second, error in enumerate((1.0, 0.1, 0.1, 0.01, 1.0)):  # 0, 20, 20, 40 and 0 dB
        given[:, second * RATE_HZ : (second + 1) * RATE_HZ] += (
            error * wrong[:, second * RATE_HZ : (second + 1) * RATE_HZ]
        )
    assert framewise_sdr_db(true, given) == pytest.approx(20.0, abs=0.1)

    true[:, :RATE_HZ] = 0.0
    true[:, 4 * RATE_HZ :] = 0.0

    assert framewise_sdr_db(true, given) == pytest.approx(20.0, abs=0.1)


def test_what_is_exact_has_a_number() -> None:
    assert sdr_db(noise(1), noise(1)) == pytest.approx(180.0, abs=0.1)
