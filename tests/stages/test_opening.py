"""Sources in files: heard once by all who want them, and read again where they are not kept."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stages import analysis, decode, rereading
from stages.analysis import Analysis
from stages.audio import Audio
from stages.base import Reason, Stage, Track, TrackUnusable
from stages.chroma import Chroma
from stages.collect import Collector
from stages.level_meter import LevelMeter
from stages.loudness import Loudness
from stages.mono import WholeMono
from stages.onsets import Onsets
from stages.opening import opened
from stages.settings import ChromaSettings, LoudnessSettings, OnsetsSettings, SpectralSettings
from stages.spectral import Spectral
from tests.stages.audio_files import written
from tests.stages.sounds import song

KINDS = (LevelMeter.of(4), Analysis)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The files that were decoded, in order."""
    paths: list[bytes] = []
    real = decode.decode_into

    def counted(path: bytes, *args: object, **options: object) -> object:
        paths.append(path)
        return real(path, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(rereading, "decode_into", counted)
    return paths


def _file(folder: Path, audio: Audio, **how: object) -> bytes:
    options = {"samplerate": audio.sample_rate_hz, "subtype": "FLOAT", **how}
    return bytes(written(folder / "a.wav", audio.samples.T, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("ahead", [False, True])
def test_what_was_asked_for_beforehand_is_heard_in_one_reading(
    ahead: bool, tmp_path: Path, decoded: list[bytes]
) -> None:
    path = _file(tmp_path, song(seconds=5.0))

    audio, flags = opened(path, KINDS, ahead=ahead)

    assert audio.heard(Analysis) is audio.heard(Analysis)
    assert audio.heard(LevelMeter.of(4)).levels.sample_peak > 0.1
    assert audio.hearing_s(Analysis) > 0.0 == audio.hearing_s(Collector)
    assert (decoded, flags) == ([path], ())
    assert (audio.channels, audio.duration_s) == (2, 5.0)


def test_what_was_not_asked_for_is_another_reading(tmp_path: Path, decoded: list[bytes]) -> None:
    music = song(seconds=3.0)
    audio, _ = opened(_file(tmp_path, music), ())

    assert np.array_equal(audio.samples, music.samples)
    assert np.array_equal(audio.mono(8_000), music.mono(8_000))
    assert np.array_equal(audio.at_rate(8_000), music.at_rate(8_000))

    assert len(decoded) == 3


def test_a_gain_is_taken_back_in_every_reading(tmp_path: Path) -> None:
    music = song(seconds=1.0)
    quiet = Audio(music.samples * np.float32(0.25), music.sample_rate_hz)

    audio, _ = opened(_file(tmp_path, quiet), (WholeMono.at(44_100),), gain=0.25)

    assert np.array_equal(audio.mono(44_100), music.mono(44_100))
    assert np.array_equal(audio.samples, music.samples)


def test_what_is_heard_ahead_is_heard_in_two_threads(tmp_path: Path) -> None:
    threads: list[str] = []

    class Noting(Collector):
        def add(self, block: NDArray[np.float32]) -> None:
            threads.append(threading.current_thread().name)
            super().add(block)

    class Other(Noting):
        pass

    music = song(seconds=5.0)
    audio, _ = opened(_file(tmp_path, music), (Noting, Other), ahead=True)

    assert {*threads} == {"decode", "MainThread"}
    assert np.array_equal(audio.heard(Noting).samples, music.samples)
    assert np.array_equal(audio.heard(Other).samples, music.samples)


@pytest.mark.parametrize("ahead", [False, True])
def test_a_sink_that_fails_spoils_nobody_else_s(ahead: bool, tmp_path: Path) -> None:
    class Failing(Collector):
        def add(self, block: NDArray[np.float32]) -> None:
            raise MemoryError("no room for these")

    audio, _ = opened(_file(tmp_path, song(seconds=1.0)), (Failing, *KINDS), ahead=ahead)

    with pytest.raises(MemoryError, match="no room for these"):
        audio.heard(Failing)
    assert audio.heard(Analysis).count == 22_050


def test_a_file_that_changed_is_not_taken_for_the_one_that_was_read(tmp_path: Path) -> None:
    path = _file(tmp_path, song(seconds=2.0))
    audio, _ = opened(path, KINDS)
    _file(tmp_path, song(seconds=1.5))

    with pytest.raises(TrackUnusable, match="changed while it was read") as caught:
        _ = audio.samples

    assert caught.value.reason is Reason.IO
    assert audio.heard(Analysis).count == 2 * 22_050  # what was heard stays


@pytest.mark.parametrize("ahead", [False, True])
def test_a_damaged_file_is_refused_before_anybody_is_asked(ahead: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"no audio at all, but long enough to look at")

    with pytest.raises(TrackUnusable, match="not_audio"):
        opened(bytes(path), KINDS, ahead=ahead)
    assert [thread.name for thread in threading.enumerate()].count("decode") == 0


STAGES: dict[str, Callable[[], Stage[LoudnessSettings]]] = {
    "loudness": lambda: Loudness(LoudnessSettings()),
    "onsets": lambda: Onsets(OnsetsSettings()),  # type: ignore[dict-item, return-value]
    "chroma": lambda: Chroma(ChromaSettings()),  # type: ignore[dict-item, return-value]
    "spectral": lambda: Spectral(SpectralSettings()),  # type: ignore[dict-item, return-value]
}


@pytest.mark.parametrize("name", STAGES)
def test_a_source_that_is_too_long_to_keep_gives_the_same_numbers(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[bytes]
) -> None:
    path, stage = _file(tmp_path, song(seconds=12.0)), STAGES[name]()
    kept, read_again = tmp_path / "kept", tmp_path / "again"

    for out, keep_s in ((kept, 3_600), (read_again, 5)):
        out.mkdir()
        monkeypatch.setattr(analysis, "_KEEP_S", keep_s)
        assert stage.hears is not None
        audio, _ = opened(path, stage.hears)
        stage.run(Track("0" * 64, {"mix": audio}), out)

    assert (kept / "features.json").read_bytes() == (read_again / "features.json").read_bytes()
    assert (kept / "frames.npz").read_bytes() == (read_again / "frames.npz").read_bytes()
    assert len(json.loads((kept / "features.json").read_text())["mix"]) > 5
    assert len(decoded) == (2 if name == "loudness" else 3)
