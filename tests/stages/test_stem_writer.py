from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from stages.encoders import Encoders
from stages.stem_formats import StemFormat
from stages.stem_writer import StemWriter, WrittenStems
from tests.stages.noise_stems import NAMES, RATE_HZ, files, noise, read_back, stems_of_noise, write

STEP = 2.0**-23

# Where samples exceed full scale, in 140,001 frames: frame and value.
LOUD: dict[str, dict[int, float]] = {
    "never": {},
    "in the first block": {3: -1.3},
    "in the first frame": {0: 1.7},
    "in the middle": {70_007: 1.2},
    "in the last block": {139_990: 2.6},
    "in the last frame": {140_000: -4.5},
    "twice": {900: 1.2, 100_100: -2.3},
    "twice, at last less": {900: 1.2, 100_100: -1.1},
    "twice in one block": {66_000: 1.2, 66_400: 3.0},
    "ever more": {10: 1.1, 65_536: 2.1, 65_537: 4.1, 139_000: 8.1},
}


def _read_stems(folder: Path) -> NDArray[np.float64]:
    return np.stack([read_back(folder / f"{name}.flac") for name in NAMES])


def _steps_by_hand(stems: NDArray[np.float32]) -> NDArray[np.float64]:
    """The rule, one loud frame after the other, in float64: what is written falls with the gain."""
    steps, gain = np.zeros(stems.shape), 1.0
    start = 0
    for frame in [*np.flatnonzero(np.abs(stems).max(axis=(0, 1)) >= 1 - 2.0**-24), stems.shape[2]]:
        steps[..., start:frame] = np.rint(stems[..., start:frame].astype(np.float64) * gain / STEP)
        start, before = int(frame), gain
        while start < stems.shape[2] and _clips(stems[..., start], gain):
            gain /= 2
        steps[..., :start] = np.rint(steps[..., :start] * (gain / before))
    return steps


def _clips(samples: NDArray[np.float32], gain: float) -> bool:
    steps = np.rint(samples.astype(np.float64) * gain / STEP)
    return bool(steps.max() > 2**23 - 1 or steps.min() < -(2**23))


# ---- what is written


@pytest.mark.parametrize("samples", [1, 4_410, 200_000])
def test_stems_read_back_are_within_half_a_step(tmp_path: Path, samples: int) -> None:
    stem = noise(samples, peak=0.9)

    written = write(tmp_path, stem[None], block=65_536)

    read = read_back(tmp_path / "drums.flac")
    assert written.gain == 1.0
    assert read.shape == stem.shape
    assert np.abs(read - stem.astype(np.float64)).max() <= STEP / 2


def test_the_files_are_24_bit_flac(tmp_path: Path) -> None:
    write(tmp_path, noise(100, peak=0.5)[None])

    info = soundfile.info(tmp_path / "drums.flac")
    assert (info.format, info.subtype, info.channels) == ("FLAC", "PCM_24", 2)


def test_one_loud_stem_lowers_all_by_the_same_power_of_two(tmp_path: Path) -> None:
    stems = np.stack([noise(9_999, peak=0.3), noise(9_999, peak=3.1, seed=1)])

    written = write(tmp_path, stems)

    assert written.gain == 0.25
    assert written.peak == pytest.approx({"drums": 0.3, "vocals": 3.1}, rel=1e-6)
    read = _read_stems(tmp_path) / written.gain
    assert np.abs(read - stems.astype(np.float64)).max() <= STEP / written.gain


@pytest.mark.parametrize(
    ("sample", "gain"),
    [
        (0.0, 1.0),
        (1.0 - STEP, 1.0),
        (1.0 - STEP / 2, 0.5),
        (1.0, 0.5),
        (-1.0, 1.0),
        (-1.0 - STEP, 0.5),
        (1.9999, 0.5),
        (2.0, 0.25),
        (-3e38, 2.0**-128),
    ],
)
def test_the_gain_is_the_largest_at_which_nothing_clips(
    tmp_path: Path, sample: float, gain: float
) -> None:
    stem = np.array([[[0.5, sample, -0.5], [0.0, 0.0, 0.0]]], dtype=np.float32)

    written = write(tmp_path, stem)

    read = read_back(tmp_path / "drums.flac")
    assert written.gain == gain
    assert written.over_full_scale == (gain < 1)
    assert np.abs(read - stem[0].astype(np.float64) * gain).max() <= STEP


@pytest.mark.parametrize(
    ("sample", "gain"),
    [(1 - 2.0**-15, 1.0), (1 - 2.0**-16, 0.5), (-1 - 2.0**-16, 1.0), (-1 - 2.0**-15, 0.5)],
)
def test_16_bits_have_a_range_of_their_own(tmp_path: Path, sample: float, gain: float) -> None:
    stem = np.full((1, 2, 3), sample, dtype=np.float32)

    written = write(tmp_path, stem, format="flac16")

    read = read_back(tmp_path / "drums.flac")
    assert (written.gain, written.over_full_scale) == (gain, 0 if gain == 1 else 6)
    assert np.abs(read - stem[0] * gain).max() <= 2.0**-16


def test_full_scale_is_kept_on_both_sides(tmp_path: Path) -> None:
    stem = np.array([[-1.0, 1.0 - STEP], [0.0, STEP]], dtype=np.float32)

    write(tmp_path, stem[None])

    assert np.array_equal(read_back(tmp_path / "drums.flac"), stem.astype(np.float64))


def test_silence_has_a_peak_of_nought_without_a_sign(tmp_path: Path) -> None:
    written = write(tmp_path, np.zeros((2, 2, 100), dtype=np.float32))

    assert written == WrittenStems(1.0, {"drums": 0.0, "vocals": 0.0}, 0)
    assert [str(peak) for peak in written.peak.values()] == ["0.0", "0.0"]


@pytest.mark.parametrize("format", ["flac24", "wav32f", "opus", "mp3"])
def test_a_track_without_a_sample_gives_empty_files(tmp_path: Path, format: StemFormat) -> None:
    writer = StemWriter(tmp_path, NAMES, sample_rate_hz=RATE_HZ, format=format)
    writer.write(np.empty((2, 2, 0), dtype=np.float32))

    assert writer.finish() == WrittenStems(1.0, {"drums": 0.0, "vocals": 0.0}, 0)
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["drums", "vocals"]


def test_peaks_that_the_caller_knows_are_not_searched_for(tmp_path: Path) -> None:
    stems = stems_of_noise(1_000, {7: -1.5})
    ends = np.stack([stems.min(axis=(1, 2)), stems.max(axis=(1, 2))], axis=1)
    (tmp_path / "told").mkdir()
    writer = StemWriter(tmp_path / "told", NAMES, sample_rate_hz=RATE_HZ)

    writer.write(stems, peaks=ends)

    assert writer.finish() == write(tmp_path / "found", stems)
    assert files(tmp_path / "told") == files(tmp_path / "found")
    told = StemWriter(tmp_path / "told", NAMES, sample_rate_hz=RATE_HZ)
    told.write(stems[:, :, 100:], peaks=np.array([[-0.125, 0.25], [-0.5, 0.0625]]))
    assert told.finish().peak == {"drums": 0.25, "vocals": 0.5}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_refused_by_name(tmp_path: Path, bad: float) -> None:
    stems = stems_of_noise(100, {50: bad})
    writer = StemWriter(tmp_path, NAMES, sample_rate_hz=RATE_HZ)

    with pytest.raises(ValueError, match="vocals has samples that are not finite"):
        writer.write(stems)

    writer.discard()


# ---- blocks and the gain


@pytest.mark.parametrize("where", LOUD)
def test_blocks_of_any_length_give_the_bytes_of_one(tmp_path: Path, where: str) -> None:
    stems = stems_of_noise(140_001, LOUD[where])

    whole = write(tmp_path / "whole", stems)

    for block in (65_536, 33_333, 4_099):
        assert write(tmp_path / str(block), stems, block=block) == whole
        assert files(tmp_path / str(block)) == files(tmp_path / "whole")


@pytest.mark.parametrize("block", [1, 7])
@pytest.mark.parametrize("loud", [{}, {0: 1.5}, {777: 1.5}, {1_499: 1.5}, {7: 1.5, 1_001: -2.5}])
def test_the_shortest_blocks_give_the_bytes_of_one(
    tmp_path: Path, block: int, loud: dict[int, float]
) -> None:
    stems = stems_of_noise(1_500, loud)

    assert write(tmp_path / "cut", stems, block=block) == write(tmp_path / "whole", stems)
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


@pytest.mark.parametrize("where", LOUD)
def test_all_stems_follow_the_gain_within_a_step_and_add_up(tmp_path: Path, where: str) -> None:
    loudest = max(map(abs, LOUD[where].values()), default=0.7)
    stems = stems_of_noise(140_001, LOUD[where])

    written = write(tmp_path, stems, block=30_001)

    read = _read_stems(tmp_path)
    exact = stems.astype(np.float64) * written.gain
    assert 0.5 <= loudest * written.gain < 1.0
    assert written.over_full_scale == len(LOUD[where])
    assert np.array_equal(read, _steps_by_hand(stems) * STEP)
    assert np.abs(read - exact).max() <= (STEP if written.gain < 1 else STEP / 2)
    assert np.abs(read.sum(axis=0) - exact.sum(axis=0)).max() <= 2 * STEP


def test_nothing_but_the_stems_is_left_when_the_gain_fell(tmp_path: Path) -> None:
    write(tmp_path, stems_of_noise(140_001, LOUD["ever more"]), block=10_000)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["drums.flac", "vocals.flac"]


@pytest.mark.parametrize("threads", [1, 2, 8])
@pytest.mark.parametrize("format", ["flac24", "flac16", "wav32f", "mp3"])
def test_threads_write_the_same_bytes(tmp_path: Path, threads: int, format: StemFormat) -> None:
    stems = stems_of_noise(60_001, {900: 1.2, 40_100: -2.3})
    alone = write(tmp_path / "alone", stems, block=9_001, format=format)

    with Encoders(threads, held_bytes=200_000) as encoders:
        shared = write(tmp_path / "shared", stems, block=9_001, encoders=encoders, format=format)

    assert shared == alone
    assert files(tmp_path / "shared") == files(tmp_path / "alone")


def test_the_same_stems_give_the_same_bytes(tmp_path: Path) -> None:
    for run in ("first", "second"):
        write(tmp_path / run, stems_of_noise(70_000, {5: 1.4}))

    assert files(tmp_path / "first") == files(tmp_path / "second")
