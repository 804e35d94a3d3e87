from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from stages.stem_writer import common_gain, write_stems

RATE_HZ = 44_100
STEP = 2.0**-23


def _noise(samples: int, *, peak: float, seed: int = 0) -> NDArray[np.float32]:
    noise = np.random.default_rng(seed).uniform(-1, 1, (2, samples))
    return np.asarray(noise / np.abs(noise).max() * peak, dtype=np.float32)


def _read(path: Path) -> NDArray[np.float64]:
    samples, rate_hz = soundfile.read(path, dtype="float64", always_2d=True)
    assert rate_hz == RATE_HZ
    return np.asarray(samples.T)


@pytest.mark.parametrize("samples", [1, 4_410, 200_000])
def test_stems_read_back_are_within_half_a_step(tmp_path: Path, samples: int) -> None:
    stem = _noise(samples, peak=0.9)

    written = write_stems({"drums": stem}, tmp_path, sample_rate_hz=RATE_HZ)

    read = _read(tmp_path / "drums.flac")
    assert written.gain == 1.0
    assert read.shape == stem.shape
    assert np.abs(read - stem.astype(np.float64)).max() <= STEP / 2


def test_one_loud_stem_lowers_all_by_the_same_power_of_two(tmp_path: Path) -> None:
    stems = {"quiet": _noise(9_999, peak=0.3), "loud": _noise(9_999, peak=3.1, seed=1)}

    written = write_stems(stems, tmp_path, sample_rate_hz=RATE_HZ)

    assert written.gain == 0.25
    assert written.peak == pytest.approx({"quiet": 0.3, "loud": 3.1}, rel=1e-6)
    for name, stem in stems.items():
        read = _read(tmp_path / f"{name}.flac") / written.gain
        assert np.abs(read - stem.astype(np.float64)).max() <= STEP / 2 / written.gain


@pytest.mark.parametrize(
    ("sample", "gain"),
    [
        (0.0, 1.0),
        (1.0 - STEP, 1.0),
        (1.0, 0.5),
        (-1.0, 1.0),
        (-1.0 - 2 * STEP, 0.5),
        (1.9999, 0.5),
        (2.0, 0.25),
        (-3e38, 2.0**-128),
    ],
)
def test_the_gain_is_the_largest_at_which_nothing_clips(sample: float, gain: float) -> None:
    assert common_gain([np.array([[0.0, sample]], dtype=np.float32)]) == gain


def test_full_scale_is_kept_on_both_sides(tmp_path: Path) -> None:
    stem = np.array([[-1.0, 1.0 - STEP], [0.0, STEP]], dtype=np.float32)

    write_stems({"drums": stem}, tmp_path, sample_rate_hz=RATE_HZ)

    assert np.array_equal(_read(tmp_path / "drums.flac"), stem.astype(np.float64))


def test_the_files_are_24_bit_flac(tmp_path: Path) -> None:
    write_stems({"bass": _noise(100, peak=0.5)}, tmp_path, sample_rate_hz=RATE_HZ)

    info = soundfile.info(tmp_path / "bass.flac")
    assert (info.format, info.subtype, info.channels) == ("FLAC", "PCM_24", 2)


def test_the_same_stems_give_the_same_bytes(tmp_path: Path) -> None:
    stems = {"drums": _noise(70_000, peak=1.4)}
    for run in ("first", "second"):
        (tmp_path / run).mkdir()
        write_stems(stems, tmp_path / run, sample_rate_hz=RATE_HZ)

    first = (tmp_path / "first" / "drums.flac").read_bytes()
    assert first == (tmp_path / "second" / "drums.flac").read_bytes()


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    (tmp_path / "drums.flac").symlink_to("/dev/full")

    with pytest.raises(OSError, match="No space left"):
        write_stems({"drums": _noise(1_000, peak=0.5)}, tmp_path, sample_rate_hz=RATE_HZ)
