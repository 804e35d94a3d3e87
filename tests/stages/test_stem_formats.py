"""What each format gives back, by libsndfile and by ffmpeg."""

from __future__ import annotations

import errno
import os
import subprocess
import threading
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from stages import stem_files
from stages.mp3_output import crc16
from stages.stem_files import FlacFile, Stopped, open_stem, wav_header
from stages.stem_formats import StemFormat, lossless, stored_rate_hz, suffix
from stages.stem_writer import StemWriter, WrittenStems

RATE_HZ = 44_100
ALL: tuple[StemFormat, ...] = ("flac24", "flac16", "wav32f", "opus", "mp3")


def _music(frames: int, *, peak: float = 0.8, rate_hz: int = RATE_HZ) -> NDArray[np.float32]:
    """Return chords that swell and fade, another in each channel and stem: `(2, 2, frames)`."""
    seconds = np.arange(frames) / rate_hz
    tones = np.array([[[110, 277, 1_318], [98, 330, 2_093]], [[55, 220, 880], [147, 440, 1_175]]])
    chords = np.sin(2 * np.pi * tones[..., None] * seconds).sum(axis=2)
    chords *= 0.6 + 0.4 * np.sin(2 * np.pi * 1.5 * seconds)
    noise = np.random.default_rng(0).normal(scale=0.003, size=chords.shape)
    music = chords + noise
    return np.asarray(music / np.abs(music).max() * peak, dtype=np.float32)


def _write(
    folder: Path, stems: NDArray[np.float32], format: StemFormat, *, rate_hz: int = RATE_HZ
) -> WrittenStems:
    writer = StemWriter(folder, ["bass", "other"], sample_rate_hz=rate_hz, format=format)
    for start in range(0, stems.shape[2], 50_001):
        writer.write(stems[:, :, start : start + 50_001].copy())
    return writer.finish()


def _read(folder: Path, format: StemFormat) -> tuple[NDArray[np.float64], int]:
    """Return the stems, each decoded by libsndfile, and their rate."""
    stems = []
    for name in ("bass", "other"):
        samples, rate_hz = soundfile.read(folder / f"{name}{suffix(format)}", always_2d=True)
        stems.append(samples.T)
    return np.stack(stems), rate_hz


def _ffmpeg(path: Path) -> NDArray[np.float32]:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", path, "-f", "f32le", "-"]
    decoded = subprocess.run(command, capture_output=True, check=True)
    assert decoded.stderr == b""
    return np.frombuffer(decoded.stdout, dtype="<f4").reshape(-1, 2).T


def _snr_db(reference: NDArray[np.floating], read: NDArray[np.floating]) -> float:
    error = read.astype(np.float64) - reference
    power = np.square(reference, dtype=np.float64).sum()
    return float(10 * np.log10(power / (np.square(error).sum() + 1e-30)))


@pytest.mark.parametrize("format", ALL)
def test_every_format_has_its_ending_and_leaves_nothing_else(
    tmp_path: Path, format: StemFormat
) -> None:
    _write(tmp_path, _music(5_000), format)

    ending = {"flac24": ".flac", "flac16": ".flac", "wav32f": ".wav"}.get(format, f".{format}")
    assert suffix(format) == ending
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"bass{ending}", f"other{ending}"]


def test_only_24_bits_and_floats_are_called_lossless() -> None:
    assert [format for format in ALL if lossless(format)] == ["flac24", "wav32f"]


@pytest.mark.parametrize("frames", [1, 1_151, 1_152, 44_100, 131_071])
@pytest.mark.parametrize("format", ["flac24", "flac16", "wav32f", "mp3"])
def test_the_length_is_exact(tmp_path: Path, format: StemFormat, frames: int) -> None:
    _write(tmp_path, _music(frames), format)

    for path in tmp_path.iterdir():
        assert soundfile.info(path).frames == frames
        assert soundfile.read(path)[0].shape == (frames, 2)
        assert _ffmpeg(path).shape == (2, frames)


@pytest.mark.parametrize(("format", "least_db"), [("flac24", 130), ("flac16", 85), ("mp3", 35)])
@pytest.mark.parametrize(("peak", "gain"), [(0.8, 1.0), (1 - 2.0**-23, 1.0), (3.0, 0.25)])
def test_stems_come_back_in_place_and_without_clipping(
    tmp_path: Path, format: StemFormat, least_db: float, peak: float, gain: float
) -> None:
    stems = _music(3 * RATE_HZ, peak=peak)
    if format == "flac16" and gain == 1:
        stems *= np.float32(0.99)  # its range ends half a step of its own below 1

    written = _write(tmp_path, stems, format)

    read, rate_hz = _read(tmp_path, format)
    assert (written.gain, rate_hz) == (gain, RATE_HZ)
    for stem, one in zip(stems, read / written.gain, strict=True):
        assert _snr_db(stem, one) > least_db
    assert _snr_db(stems[0], _ffmpeg(tmp_path / f"bass{suffix(format)}") / written.gain) > least_db


@pytest.mark.parametrize("peak", [0.8, 3.0])
def test_opus_is_stored_at_48_khz_in_place_and_without_clipping(
    tmp_path: Path, peak: float
) -> None:
    stems = _music(3 * RATE_HZ, peak=peak)

    written = _write(tmp_path, stems, "opus")

    read, rate_hz = _read(tmp_path, "opus")
    assert (written.gain, rate_hz, read.shape[2]) == (1.0 if peak < 1 else 0.25, 48_000, 144_000)
    for stem, one in zip(stems, read / written.gain, strict=True):
        assert _snr_db(soxr.resample(stem.T, RATE_HZ, 48_000).T, one) > 20


@pytest.mark.parametrize(
    ("format", "rate_hz", "stored_hz"),
    [
        ("opus", 48_000, 48_000),
        ("opus", 16_000, 16_000),
        ("opus", 22_050, 48_000),
        ("mp3", 48_000, 48_000),
        ("mp3", 32_000, 32_000),
        ("mp3", 8_000, 48_000),
        ("mp3", 96_000, 48_000),
        ("flac24", 96_000, 96_000),
        ("wav32f", 8_000, 8_000),
    ],
)
def test_rates_that_a_format_lacks_become_48_khz(
    tmp_path: Path, format: StemFormat, rate_hz: int, stored_hz: int
) -> None:
    stems = _music(rate_hz, rate_hz=rate_hz)

    _write(tmp_path, stems, format, rate_hz=rate_hz)

    read, found_hz = _read(tmp_path, format)
    assert stored_rate_hz(format, rate_hz) == stored_hz
    assert found_hz == stored_hz
    reference = soxr.resample(stems[0].T, rate_hz, found_hz).T if found_hz != rate_hz else stems[0]
    assert read.shape[2] == pytest.approx(reference.shape[1], abs=1)
    assert _snr_db(reference[:, : read.shape[2]], read[0, :, : reference.shape[1]]) > 15


def test_16_bits_are_rounded_without_dither(tmp_path: Path) -> None:
    stems = _music(10_000) * np.float32(0.01)
    stems[:, :, 5_000:] = 0

    _write(tmp_path, stems, "flac16")

    read, _ = _read(tmp_path, "flac16")
    assert np.array_equal(read, np.rint(stems.astype(np.float64) * 2**15) / 2**15)
    assert soundfile.info(tmp_path / "bass.flac").subtype == "PCM_16"


# ---- WAV


def test_floats_come_back_as_they_were_however_loud(tmp_path: Path) -> None:
    stems = _music(70_001, peak=1e4)
    stems[0, 0, :3] = (-3e38, 1e-40, -0.0)

    written = _write(tmp_path, stems, "wav32f")

    read = [
        soundfile.read(tmp_path / f"{name}.wav", dtype="float32")[0].T for name in ("bass", "other")
    ]
    assert np.stack(read).tobytes() == stems.tobytes()
    assert (written.gain, written.over_full_scale) == (1.0, int((abs(stems) > 1 - 2.0**-24).sum()))
    info = soundfile.info(tmp_path / "bass.wav")
    assert (info.format, info.subtype, info.samplerate) == ("WAV", "FLOAT", RATE_HZ)


def test_a_wav_beyond_4_gib_is_an_rf64_that_others_read(tmp_path: Path) -> None:
    frames = 10 * 3_600 * RATE_HZ  # 12.7 GB, but for its ends a hole
    last = np.array([[0.25, -0.5], [3.5, 0.125]], dtype="<f4")
    path = tmp_path / "bass.wav"
    with path.open("wb") as file:
        file.write(wav_header(frames, RATE_HZ))
        file.seek(8 * (frames - len(last)), 1)
        file.write(last.tobytes())

    with soundfile.SoundFile(path) as sound:
        sound.seek(frames - 3)
        read = sound.read(dtype="float32")
        kind = (sound.format, sound.subtype, sound.frames, sound.samplerate)

    assert kind == ("RF64", "FLOAT", frames, RATE_HZ)
    assert np.array_equal(read, [[0, 0], *last])
    probed = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-i", path], capture_output=True, text=True
    )
    assert "Duration: 10:00:00.00" in probed.stderr


@pytest.mark.parametrize("frames", [(2**32 - 1 - 84) // 8, (2**32 - 1 - 84) // 8 + 1])
def test_the_header_is_an_rf64_from_the_first_frame_that_needs_it(frames: int) -> None:
    header = wav_header(frames, RATE_HZ)

    long = 92 + 8 * frames - 8 > 2**32 - 1
    assert (header[:4], header[12:16]) == ((b"RF64", b"ds64") if long else (b"RIFF", b"JUNK"))
    assert len(header) == 92


def test_a_wav_that_grows_long_is_an_rf64(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stem_files, "_MAX_RIFF_BYTES", 100_000)
    stems = _music(60_000)

    _write(tmp_path, stems, "wav32f")

    read, _ = _read(tmp_path, "wav32f")
    assert soundfile.info(tmp_path / "bass.wav").format == "RF64"
    assert np.array_equal(read, stems)


# ---- MP3


def test_the_first_frame_of_an_mp3_counts_the_others_and_the_padding(tmp_path: Path) -> None:
    _write(tmp_path, _music(44_100), "mp3")

    mp3 = (tmp_path / "bass.mp3").read_bytes()
    starts = _frame_starts(mp3)
    delay_and_padding = int.from_bytes(mp3[177:180], "big")
    delay, padding = delay_and_padding >> 12, delay_and_padding & 0xFFF
    assert mp3[36:40] == b"Info"
    assert int.from_bytes(mp3[44:48], "big") == len(starts) - 1
    assert int.from_bytes(mp3[48:52], "big") == len(mp3)
    assert delay + 44_100 + padding == 1_152 * (len(starts) - 1)
    assert int.from_bytes(mp3[190:192], "big") == crc16(mp3[:190])


def test_the_checksum_of_the_first_frame_is_that_of_ffmpeg(tmp_path: Path) -> None:
    path = tmp_path / "sine.mp3"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", "sine=d=0.2"]
    subprocess.run([*command, "-ac", "2", "-b:a", "320k", "-id3v2_version", "0", path], check=True)

    mp3 = path.read_bytes()

    first = mp3.find(b"Info") - 36
    assert int.from_bytes(mp3[first + 190 : first + 192], "big") == crc16(mp3[first : first + 190])


def test_the_highest_sample_of_24_bits_is_not_wrapped_by_the_16_of_mp3(tmp_path: Path) -> None:
    tone = np.sin(2 * np.pi * 441 / RATE_HZ * np.arange(RATE_HZ)) * (1 - 2.0**-23)
    stems = np.broadcast_to(tone.astype(np.float32), (2, 2, RATE_HZ))

    written = _write(tmp_path, stems, "mp3")

    read, _ = _read(tmp_path, "mp3")
    assert written.gain == 1.0
    assert _snr_db(stems, read) > 50


def _frame_starts(mp3: bytes) -> list[int]:
    """Return where the frames of 320 kbit/s at 44.1 kHz begin: each has 1044 bytes and its padding."""
    starts, position = [], 0
    while position < len(mp3):
        assert mp3[position : position + 2] == b"\xff\xfb"
        starts.append(position)
        position += 1_044 + (mp3[position + 2] >> 1 & 1)
    assert position == len(mp3)
    return starts


# ---- stopping


@pytest.mark.parametrize("format", ["opus", "mp3"])
def test_a_long_encoding_ends_when_the_track_is_discarded(
    tmp_path: Path, format: StemFormat
) -> None:
    stop = threading.Event()
    file = open_stem(tmp_path, "bass", format=format, sample_rate_hz=RATE_HZ, stop=stop)
    file.write(_music(1_000)[0], [])
    stop.set()

    with pytest.raises(Stopped):
        file.finish()

    file.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_temporary_file_that_lost_its_end_is_told(tmp_path: Path) -> None:
    path = tmp_path / "bass.flac"
    file = FlacFile(path, sample_rate_hz=RATE_HZ, bits=24, stop=threading.Event())
    file.write(_music(200_000)[0], [])
    file.finish()
    os.truncate(path, path.stat().st_size // 2)

    with pytest.raises(OSError, match=r"cannot be read back.*bass\.flac") as caught:
        list(file.read_blocks())

    assert caught.value.errno == errno.EIO
