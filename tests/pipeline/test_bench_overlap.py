"""`pipeline bench overlap`: every way does the same work, and the table says what each took."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline.bench.clips import Clip
from pipeline.bench.overlap import Measured, Question, measure
from pipeline.bench.overlap_words import measured_json, table
from pipeline.bench.processes import Spent
from pipeline.bench.simulated_device import STEMS

SPEED = 2.0


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files of noise, one second each."""
    folder = tmp_path_factory.mktemp("music")
    for number in range(2):
        noise = np.random.default_rng(number).uniform(-0.5, 0.5, (44_100, 2))
        soundfile.write(folder / f"{number}.wav", noise, 44_100)
    return folder


def _features(folder: Path, *places: str) -> list[object]:
    return [json.loads((folder / place / "features.json").read_text()) for place in places]


def test_every_way_does_the_same_work(music: Path, tmp_path: Path) -> None:
    files = tuple(sorted(music.iterdir()))
    question = Question(files, speed=SPEED, stages=("loudness",), runs=1)

    measured = measure(question, tmp_path, environment=os.environ, say=lambda line: None)

    serial, overlap, *pools = measured.rounds
    assert (serial, overlap, len(pools)) == ("serial", "overlap", 2)
    for (one,) in measured.rounds.values():
        assert one.wall_s > measured.device_s == pytest.approx(2 / SPEED)
        assert 0 < one.cpu_s < 100
        assert one.switches > 0
    for number, file in enumerate(files):
        first = tmp_path / serial / "tracks" / measured.clips[number].name
        places = [tmp_path / overlap / "tracks" / first.name]
        places += [tmp_path / pool / f"{number:04}" for pool in pools]
        for place in places:
            _same(first, place)
        _quarters(first, file)


def _same(first: Path, other: Path) -> None:
    features = ("loudness", "stems/loudness")
    assert _features(first, *features) == _features(other, *features)
    for stem in STEMS:
        name = f"separation/{stem}.flac"
        assert (first / name).read_bytes() == (other / name).read_bytes()


def _quarters(track: Path, file: Path) -> None:
    mix, _ = soundfile.read(file)
    for stem in STEMS:
        samples, _ = soundfile.read(track / "separation" / f"{stem}.flac")
        np.testing.assert_allclose(samples, mix / 4, atol=2**-23)
    manifest = json.loads((track / "separation" / "manifest.json").read_text())
    assert manifest["timings"]["wall_s"] >= 1 / SPEED  # the device was waited for


def _measured() -> Measured:
    files = (Path("a.wav"), Path("b.wav"))
    return Measured(
        Question(files, speed=10.0, runs=3),
        tuple(Clip(file, file.name, 50.0) for file in files),
        cores=2,
        rounds={
            "serial": (Spent(30.0, 15.0, 0, 1000), Spent(20.0, 15.0, 0, 3000), Spent(10.0, 15.0, 0, 2000)),
            "overlap": (Spent(10.0, 15.0, 0, 4000),) * 3,
        },
    )  # fmt: skip


def test_the_table_says_what_each_way_took_and_what_the_device_takes_alone() -> None:
    head, _, *rows = table(_measured()).splitlines()

    assert "100 s of music" in head
    assert "10 times as fast as real time, which alone takes 10.0 s; median of 3 runs" in head
    assert rows[1].split() == ["serial", "20.0", "1.00", "0.75", "of", "2", "2,000"]
    assert rows[2].split() == ["overlap", "10.0", "2.00", "1.50", "of", "2", "4,000"]


def test_the_json_has_every_round() -> None:
    answer = json.loads(json.dumps(measured_json(_measured())))

    assert answer["device_s"] == 10.0
    assert answer["ways"]["overlap"]["times_serial"] == 2.0
    assert [one["wall_s"] for one in answer["ways"]["serial"]["rounds"]] == [30.0, 20.0, 10.0]
