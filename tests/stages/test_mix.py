from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile as sf
from numpy.typing import NDArray

from stages import collect, handover
from stages import mix as mix_module
from stages.audio import Audio
from stages.base import Reason, TrackUnusable
from stages.decode import DecodeLimits, decode
from stages.downmix import to_stereo
from stages.ffmpeg import find_ffmpeg
from stages.mix import MAX_BLOCK_SAMPLES, Mix, mix_of_file, mix_of_samples
from tests.stages.audio_files import (
    RATE_HZ,
    cut,
    encoded,
    noise,
    patched,
    refusal,
    scrambled,
    written,
)

Give = Callable[[NDArray[np.float32]], None]

ROOT = Path(__file__).parents[2]
HALF_AN_HOUR_S = 1800


def _mix(file: Path, *, keep_bytes: int = 1 << 30, allow_partial: bool = False) -> Mix:
    return mix_of_file(
        bytes(file),
        sample_rate_hz=RATE_HZ,
        keep_bytes=keep_bytes,
        limits=DecodeLimits(allow_partial=allow_partial),
    )


def _joined(mix: Mix) -> NDArray[np.float32]:
    blocks = list(mix.blocks())
    for block in blocks:
        assert block.dtype == np.float32
        assert block.flags.c_contiguous
        assert block.shape[0] == 2
        assert 0 < block.shape[1] <= MAX_BLOCK_SAMPLES
    return np.concatenate(blocks, axis=1)


def _whole(file: Path, *, allow_partial: bool = False) -> NDArray[np.float32]:
    limits = DecodeLimits(allow_partial=allow_partial)
    return to_stereo(decode(bytes(file), limits=limits).audio.at_rate(RATE_HZ))


def _reading_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name in ("mix", "ffmpeg-log")]


def _wav(folder: Path, seconds: float, *, channels: int = 2, rate_hz: int = RATE_HZ) -> Path:
    samples = noise(seconds, channels=channels, sample_rate_hz=rate_hz)
    return written(folder / "a.wav", samples, samplerate=rate_hz)


def _joined_mp3(folder: Path) -> Path:
    """Three files in one: libsndfile stops after the first, which shows only when it was decoded."""
    file = written(folder / "a.mp3", noise(3.0))
    file.write_bytes(file.read_bytes() * 3)
    return file


def _chained_ogg(folder: Path) -> Path:
    file = written(folder / "a.ogg", noise(1.0))
    file.write_bytes(file.read_bytes() * 2)
    return file


FILES: dict[str, Callable[[Path], Path]] = {
    "stereo": lambda folder: _wav(folder, 4.0),
    "mono": lambda folder: _wav(folder, 4.0, channels=1),
    "48 kHz": lambda folder: _wav(folder, 4.0, rate_hz=48_000),
    "8 kHz mono": lambda folder: _wav(folder, 20.0, channels=1, rate_hz=8_000),
    "192 kHz": lambda folder: _wav(folder, 1.0, rate_hz=192_000),
    "5.1": lambda folder: _wav(folder, 2.0, channels=6),
    "5.1 at 48 kHz": lambda folder: _wav(folder, 2.0, channels=6, rate_hz=48_000),
    "one sample": lambda folder: _wav(folder, 1 / RATE_HZ),
    "one sample of 48 kHz": lambda folder: _wav(folder, 1 / 48_000, rate_hz=48_000),
    "0.1 s": lambda folder: _wav(folder, 0.1),
    "whole blocks": lambda folder: _wav(folder, 2 * 65_664 / RATE_HZ),
    "whole blocks and one sample": lambda folder: _wav(folder, (2 * 65_664 + 1) / RATE_HZ),
    "mp3": lambda folder: written(folder / "a.mp3", noise(4.0)),
    "ogg": lambda folder: written(folder / "a.ogg", noise(4.0)),
    "m4a": lambda folder: encoded(folder / "a.m4a", noise(4.0)),
    "opus in mkv": lambda folder: encoded(folder / "a.mkv", noise(4.0), "-c:a", "libopus"),
    "mp3 of three": _joined_mp3,
    "chained ogg": _chained_ogg,
}


@pytest.mark.parametrize("kind", FILES)
def test_the_blocks_are_those_of_the_whole_file(tmp_path: Path, kind: str) -> None:
    file = FILES[kind](tmp_path)
    decoded = decode(bytes(file))
    whole = to_stereo(decoded.audio.at_rate(RATE_HZ))

    kept, read_again = _mix(file), _mix(file, keep_bytes=0)
    of_samples = mix_of_samples(
        decoded.audio.samples, decoded.audio.sample_rate_hz, model_rate_hz=RATE_HZ
    )

    for mix in (kept, read_again, of_samples, read_again):
        assert np.array_equal(_joined(mix), whole)
    assert kept == read_again
    assert (kept.samples, kept.peak) == (whole.shape[1], np.abs(whole).max())
    assert (kept.sample_rate_hz, kept.duration_s) == (RATE_HZ, whole.shape[1] / RATE_HZ)
    assert kept.flags == decoded.flags
    assert (kept.mean, kept.std) == (of_samples.mean, of_samples.std)


@pytest.mark.parametrize("spoilt", [cut, scrambled])
@pytest.mark.parametrize("name", ["a.flac", "a.ogg"])
def test_a_partial_file_gives_its_good_part_each_time(
    tmp_path: Path, name: str, spoilt: Callable[[Path], Path]
) -> None:
    file = spoilt(written(tmp_path / name, noise(6.0)))

    mix = _mix(file, keep_bytes=0, allow_partial=True)

    assert mix.flags in (("truncated",), ("damaged",))
    for _ in range(2):
        assert np.array_equal(_joined(mix), _whole(file, allow_partial=True))


@pytest.mark.parametrize("name", ["a.wav", "a.ogg"])
@pytest.mark.parametrize("offset", [0.0, 0.02])
def test_the_level_is_that_of_the_mono_mix(tmp_path: Path, name: str, offset: float) -> None:
    torch = pytest.importorskip("torch")
    samples = noise(7.0) / np.float32(32_768) + np.float32(offset)
    whole = _whole(written(tmp_path / name, samples.astype(np.float32)))
    mono = whole.astype(np.float64).mean(axis=0)
    level = mix_module._Level(RATE_HZ)
    level.add(whole)

    mix = _mix(tmp_path / name, keep_bytes=0)
    level.finish()

    mean, deviation = level.exact()
    if offset:
        assert mean == pytest.approx(mono.mean(), rel=1e-12)
    assert mean == pytest.approx(mono.mean(), rel=0, abs=1e-16)
    assert deviation == pytest.approx(mono.std(ddof=1), rel=1e-12)
    assert mix.mean == float(np.float32(mean))
    assert mix.std == float(np.float32(deviation + 1e-8))
    reference = torch.from_numpy(whole).mean(0)
    assert mix.mean == pytest.approx(float(reference.mean()), rel=0, abs=1e-6 * mix.std)
    assert mix.std == pytest.approx(float(reference.std() + 1e-8), rel=1e-6)


def test_the_level_does_not_depend_on_how_it_is_cut_into_blocks() -> None:
    whole = np.random.default_rng(3).normal(0.01, 0.2, (2, 300_000)).astype(np.float32)
    levels = []

    for block in (1_000, 65_535, 65_536, 70_001, 300_000):
        level = mix_module._Level(RATE_HZ)
        for start in range(0, whole.shape[1], block):
            level.add(whole[:, start : start + block])
        levels.append((level.finish(), level.exact(), level.samples, level.peak))

    assert len(set(levels)) == 1


def test_samples_of_double_precision_and_any_layout_are_taken(tmp_path: Path) -> None:
    exact = np.asfortranarray(noise(2.0).T / 32_768)

    for rate_hz in (RATE_HZ, 48_000):
        whole = to_stereo(Audio(exact.astype(np.float32), rate_hz).at_rate(RATE_HZ))
        mix = mix_of_samples(exact, rate_hz, model_rate_hz=RATE_HZ)
        assert np.array_equal(_joined(mix), whole)


def test_silence_divides_by_a_little_and_one_sample_by_one() -> None:
    silence = mix_of_samples(np.zeros((2, 100_000)), RATE_HZ, model_rate_hz=RATE_HZ)
    one = mix_of_samples(np.full((1, 1), 0.5), RATE_HZ, model_rate_hz=RATE_HZ)

    assert (silence.mean, silence.std, silence.peak) == (0.0, float(np.float32(1e-8)), 0.0)
    assert (one.mean, one.std, one.peak) == (0.5, 1.0, 0.5)


def test_constant_sound_has_no_deviation_to_amplify() -> None:
    constant = mix_of_samples(np.full((2, 200_000), 0.1), RATE_HZ, model_rate_hz=RATE_HZ)

    assert (constant.mean, constant.std) == (float(np.float32(0.1)), float(np.float32(1e-8)))


@pytest.mark.parametrize("peak", [1.8e38, 3.4e38])
@pytest.mark.parametrize("rate_hz", [RATE_HZ, 48_000])
def test_what_is_too_loud_for_float32_is_refused(tmp_path: Path, peak: float, rate_hz: int) -> None:
    loud = _tone_of_peak(peak)
    file = written(tmp_path / "a.wav", loud, subtype="FLOAT", samplerate=rate_hz)

    with pytest.raises(TrackUnusable, match="not finite") as of_file:
        _mix(file)
    with pytest.raises(TrackUnusable, match="not finite") as of_samples:
        mix_of_samples(loud.T, rate_hz, model_rate_hz=RATE_HZ)

    assert of_file.value.reason is of_samples.value.reason is Reason.NONFINITE


def test_what_is_just_not_too_loud_has_a_level() -> None:
    mix = mix_of_samples(_tone_of_peak(1.5e38).T, RATE_HZ, model_rate_hz=RATE_HZ)

    assert mix.peak == pytest.approx(1.5e38)
    assert 1e37 < mix.std < 1.5e38


def _tone_of_peak(peak: float) -> NDArray[np.float32]:
    samples = noise(1.0) / np.abs(noise(1.0)).max()
    return np.asarray(samples * peak, dtype=np.float32)


def test_a_stereo_difference_that_normalising_would_make_infinite_is_refused() -> None:
    opposed = np.array([[1e31], [-1e31]]) * np.ones(1_000)

    with pytest.raises(TrackUnusable, match=r"mean 0, deviation 0, peak 1e\+31"):
        mix_of_samples(opposed, RATE_HZ, model_rate_hz=RATE_HZ)


def test_samples_in_memory_that_are_no_numbers_are_refused() -> None:
    samples = np.zeros((2, 100_000), dtype=np.float32)
    samples[1, round(2 * RATE_HZ)] = np.nan

    with pytest.raises(TrackUnusable, match=r"nonfinite: the mix at 44100 Hz .* at 2\.000 s"):
        mix_of_samples(samples, RATE_HZ, model_rate_hz=RATE_HZ)


def test_nothing_left_at_the_models_rate_is_empty(tmp_path: Path) -> None:
    file = _wav(tmp_path, 1 / 192_000, rate_hz=192_000)

    with pytest.raises(TrackUnusable, match=r"^empty: no sample is left at 44100 Hz"):
        _mix(file)
    with pytest.raises(TrackUnusable, match=r"^empty"):
        mix_of_samples(np.zeros((2, 0)), RATE_HZ, model_rate_hz=RATE_HZ)


def _nan_at_the_end(folder: Path) -> Path:
    samples = np.zeros((200_000, 2), dtype=np.float32)
    samples[199_999] = np.nan
    return written(folder / "a.wav", samples, subtype="FLOAT")


def _text(folder: Path) -> Path:
    (folder / "a.mp3").write_bytes(b"hello world " * 500)
    return folder / "a.mp3"


BAD_FILES: dict[str, Callable[[Path], Path]] = {
    "truncated wav": lambda folder: cut(_wav(folder, 4.0)),
    "truncated flac": lambda folder: cut(written(folder / "a.flac", noise(4.0))),
    "truncated m4a": lambda folder: cut(
        encoded(folder / "a.m4a", noise(4.0), "-movflags", "+faststart")
    ),
    "damaged flac": lambda folder: scrambled(written(folder / "a.flac", noise(4.0))),
    "damaged ogg": lambda folder: scrambled(written(folder / "a.ogg", noise(4.0))),
    "damaged m4a": lambda folder: scrambled(
        encoded(folder / "a.m4a", noise(4.0), "-movflags", "+faststart")
    ),
    "not audio": _text,
    "no numbers": _nan_at_the_end,
    "absurd header": lambda folder: patched(_wav(folder, 0.1), 24, "<I", 4_000_000_000),
    "no samples": lambda folder: _wav(folder, 0.0),
    "nothing there": lambda folder: folder / "gone.wav",
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_is_refused_in_the_words_of_decode(tmp_path: Path, kind: str) -> None:
    file = BAD_FILES[kind](tmp_path)

    for keep_bytes in (0, 1 << 30):
        with pytest.raises(TrackUnusable) as caught:
            _mix(file, keep_bytes=keep_bytes)

        assert (caught.value.reason, caught.value.detail) == refusal(file)


def test_a_mix_that_fits_is_kept_and_a_larger_one_is_read_again(tmp_path: Path) -> None:
    file = _wav(tmp_path, 5.0)
    mix_bytes = 5 * RATE_HZ * 2 * 4

    kept = _mix(file, keep_bytes=mix_bytes)
    not_kept = _mix(file, keep_bytes=mix_bytes - 1)
    file.unlink()

    assert _joined(kept).nbytes == mix_bytes
    with pytest.raises(TrackUnusable, match=r"^io: No such file or directory"):
        _joined(not_kept)
    assert _reading_threads() == []


def test_progress_is_told_in_the_first_reading(tmp_path: Path) -> None:
    told: list[float] = []

    mix_of_file(bytes(_wav(tmp_path, 5.0)), sample_rate_hz=48_000, tick=told.append)

    assert told == sorted(told)
    assert told[-1] == 5.0
    assert len(told) >= 3


def _other_samples(file: Path) -> None:
    written(file, noise(6.0)[::-1])


def _one_bit(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def _sides_swapped(file: Path) -> None:
    written(file, noise(6.0)[:, ::-1])


def _other_rate(file: Path) -> None:
    patched(file, 24, "<I", 48_000)


CHANGES: dict[str, Callable[[Path], object]] = {
    "shorter": lambda file: written(file, noise(5.0)),
    "cut off": cut,
    "longer": lambda file: written(file, noise(9.0)),
    "other samples": _other_samples,
    "one bit": _one_bit,
    "sides swapped": _sides_swapped,
    "other rate": _other_rate,
    "no audio": lambda file: file.write_bytes(b"hello world " * 500),
    "empty": lambda file: file.write_bytes(b""),
    "no numbers": lambda file: written(
        file, np.full((6 * RATE_HZ, 2), np.nan, dtype=np.float32), subtype="FLOAT"
    ),
    "other decoder": lambda file: _joined_mp3(file.parent).rename(file),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_between_the_readings_fails_and_gives_no_more_than_it_had(
    tmp_path: Path, change: str
) -> None:
    file = _wav(tmp_path, 6.0)
    mix = _mix(file, keep_bytes=0)
    CHANGES[change](file)
    given = 0

    def count() -> None:
        nonlocal given
        for block in mix.blocks():
            assert np.isfinite(block).all()
            given += block.shape[1]

    with pytest.raises(TrackUnusable, match="changed while it was read") as caught:
        count()

    assert caught.value.reason is Reason.IO
    assert given <= mix.samples
    assert _reading_threads() == []


def test_a_file_that_becomes_too_loud_to_resample_gives_no_infinite_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Decoding refuses such samples already; resampling must not rely on it.
    monkeypatch.setattr(collect, "_MAX_MAGNITUDE", 3.4e38)
    loud = np.sign(noise(4.0)).astype(np.float32) * np.float32(3.4e38)
    file = written(tmp_path / "a.wav", loud / 1e38, subtype="FLOAT", samplerate=48_000)
    mix = _mix(file, keep_bytes=0)
    written(file, loud, subtype="FLOAT", samplerate=48_000)

    with pytest.raises(TrackUnusable, match="changed while it was read: it became too loud"):
        assert all(np.isfinite(block).all() for block in mix.blocks())


def test_a_file_that_fails_for_a_passing_reason_is_not_called_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mix = _mix(_wav(tmp_path, 6.0), keep_bytes=0)

    def full(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(mix_module._SecondReading, "take", full)

    with pytest.raises(TrackUnusable, match=r"^memory: not enough memory"):
        _joined(mix)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", ["a.wav", "a.m4a"])
@pytest.mark.parametrize("taken", [1, 3])
def test_blocks_that_nobody_wants_any_more_leave_nothing_running(
    tmp_path: Path, name: str, taken: int
) -> None:
    samples = noise(15.0)
    file = (written if name == "a.wav" else encoded)(tmp_path / name, samples)
    mix = _mix(file, keep_bytes=0)
    before = psutil.Process().children()  # what other tests share lives on

    closed, dropped = mix.blocks(), mix.blocks()
    for _ in range(taken):
        next(closed)
        next(dropped)
    assert len([thread for thread in _reading_threads() if thread.name == "mix"]) == 2
    closed.close()
    del dropped

    assert _reading_threads() == []
    assert psutil.Process().children() == before


def test_blocks_that_nobody_closed_do_not_keep_the_process_from_ending(tmp_path: Path) -> None:
    file = _wav(tmp_path, 15.0)
    script = (
        "from stages.mix import mix_of_file\n"
        f"blocks = mix_of_file({bytes(file)!r}, sample_rate_hz=44100, keep_bytes=0).blocks()\n"
        "print(next(blocks).shape[0])"
    )

    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, cwd=ROOT
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "2\n", "")


def test_blocks_that_were_never_asked_for_start_nothing(tmp_path: Path) -> None:
    mix = _mix(_wav(tmp_path, 6.0), keep_bytes=0)

    blocks = mix.blocks()

    assert _reading_threads() == []
    blocks.close()


def test_two_may_read_the_same_mix_at_once(tmp_path: Path) -> None:
    mix = _mix(_wav(tmp_path, 12.0), keep_bytes=0)

    pairs = list(zip(mix.blocks(), mix.blocks(), strict=True))

    assert len(pairs) > 5
    assert all(np.array_equal(one, other) for one, other in pairs)


@pytest.mark.timeout(30)
def test_what_is_read_ahead_is_bounded() -> None:
    given: list[int] = []

    def produce(give: Give) -> None:
        for number in range(60):
            give(np.full((2, 1), number, dtype=np.float32))
            given.append(number)

    blocks = handover.from_thread(produce, name="mix")
    for taken in range(1, 40):
        assert next(blocks)[0, 0] == taken - 1
        while len(given) < taken + handover._BLOCKS_AHEAD:
            time.sleep(0)  # it will come
        assert len(given) <= taken + handover._BLOCKS_AHEAD

    assert [block[0, 0] for block in blocks] == list(range(39, 60))


def test_blocks_given_before_an_error_come_first() -> None:
    def produce(give: Give) -> None:
        give(np.ones((2, 1), dtype=np.float32))
        raise ZeroDivisionError("in the thread")

    blocks = handover.from_thread(produce, name="mix")

    assert next(blocks).shape == (2, 1)
    with pytest.raises(ZeroDivisionError, match="in the thread"):
        next(blocks)
    assert _reading_threads() == []


def _silent_flac(folder: Path) -> Path:
    silence = np.zeros(10 * RATE_HZ, dtype=np.int16)
    with sf.SoundFile(folder / "a.flac", "w", RATE_HZ, 1) as file:
        for _ in range(HALF_AN_HOUR_S // 10):
            file.write(silence)
    return folder / "a.flac"


def _silent_matroska(folder: Path) -> Path:
    ffmpeg = find_ffmpeg()
    if ffmpeg is None:
        pytest.skip("no ffmpeg on this machine")
    silence = ("-f", "lavfi", "-i", "anullsrc=r=8000:cl=mono", "-t", str(HALF_AN_HOUR_S))
    quiet = (ffmpeg.path, "-nostdin", "-loglevel", "error", "-y")
    subprocess.run([*quiet, *silence, "-c:a", "pcm_u8", str(folder / "a.mka")], check=True)
    return folder / "a.mka"


@pytest.mark.parametrize("made", [_silent_flac, _silent_matroska])
def test_memory_does_not_grow_with_the_length(tmp_path: Path, made: Callable[[Path], Path]) -> None:
    file = made(tmp_path)
    process = psutil.Process()
    resident_bytes: list[int] = []

    def look(done_s: float) -> None:
        resident_bytes.append(process.memory_info().rss)

    keep_bytes = 16 * 2**20
    mix = mix_of_file(bytes(file), sample_rate_hz=RATE_HZ, keep_bytes=keep_bytes, tick=look)
    first = _growth_bytes(resident_bytes)
    resident_bytes.clear()
    for _ in mix.blocks():
        look(0.0)

    assert mix.samples == HALF_AN_HOUR_S * RATE_HZ  # 605 MiB of stereo
    assert first < keep_bytes + 16 * 2**20
    assert _growth_bytes(resident_bytes) < 16 * 2**20


def _growth_bytes(resident_bytes: list[int]) -> int:
    """Return how much there was more of it, ever, than after a tenth of the way."""
    assert len(resident_bytes) > 100
    start = len(resident_bytes) // 10
    return max(resident_bytes[start:]) - resident_bytes[start]
