from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from pipeline.artifacts import replace_json
from pipeline.machine import Machine, processor


def _weights(folder: Path, content: bytes = b"first") -> Path:
    file = folder / "weights.safetensors"
    file.write_bytes(content)
    return file


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_the_number_of_threads_is_decided_once_and_kept(tmp_path: Path) -> None:
    first = Machine.read(tmp_path)
    assert first.threads(asked=None, budget=6) == 6
    first.save(replace_json)

    # Tonight other programs leave fewer cores: the results must not change by it.
    assert Machine.read(tmp_path).threads(asked=None, budget=2) == 6


def test_a_number_that_is_asked_for_wins_and_is_kept(tmp_path: Path) -> None:
    first = Machine.read(tmp_path)
    first.threads(asked=None, budget=6)
    assert first.threads(asked=3, budget=6) == 3
    first.save(replace_json)

    assert Machine.read(tmp_path).threads(asked=None, budget=6) == 3


def test_another_processor_decides_for_itself(tmp_path: Path) -> None:
    other = {"dataset": None, "decided": {"x86_64 Another CPU": {"threads": 64}}, "weights": {}}
    (tmp_path / "machine.json").write_text(json.dumps(other))
    machine = Machine.read(tmp_path)

    assert machine.threads(asked=None, budget=2) == 2

    machine.save(replace_json)
    saved = json.loads((tmp_path / "machine.json").read_text())
    assert saved["decided"] == {"x86_64 Another CPU": {"threads": 64}, processor(): {"threads": 2}}


def test_the_processor_s_name_says_which_it_is() -> None:
    assert processor() == processor()
    assert len(processor().split()) > 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"7",
        b"[]",
        b"{}",
        b'{"decided": {}}',
        b'{"decided": {}, "weights": {}}',
        b'{"dataset": null, "decided": null, "weights": {}}',
        b'{"dataset": null, "decided": {}, "weights": [1, 2]}',
        b'{"dataset": null, "decided": "text", "weights": {}}',
        b"\xff\xfe\x00",
        bytes(100),
    ],
)
def test_a_broken_file_means_that_nothing_was_decided(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "machine.json").write_bytes(content)

    machine = Machine.read(tmp_path)

    assert machine.threads(asked=None, budget=5) == 5
    assert machine.sha256_of(_weights(tmp_path)) == _sha256(b"first")
    machine.save(replace_json)
    assert Machine.read(tmp_path).threads(asked=None, budget=9) == 5


@pytest.mark.parametrize(
    "decided",
    [
        {},
        {"threads": "many"},
        {"threads": []},
        pytest.param({"threads": 0}),
        pytest.param({"threads": -4}),
        pytest.param("six"),
    ],
)
def test_a_decision_that_cannot_be_is_made_anew(tmp_path: Path, decided: object) -> None:
    content = {"dataset": None, "decided": {processor(): decided}, "weights": {}}
    (tmp_path / "machine.json").write_text(json.dumps(content))

    assert Machine.read(tmp_path).threads(asked=None, budget=5) == 5


@pytest.mark.parametrize(
    "known",
    [
        [],
        "text",
        [1, 2, 3, "of another file"],
        pytest.param(7),
        pytest.param("its stat alone"),
    ],
)
def test_a_remembered_hash_that_cannot_be_is_made_anew(tmp_path: Path, known: object) -> None:
    file = _weights(tmp_path)
    if known == "its stat alone":
        stat = file.stat()
        known = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
    content = {"dataset": None, "decided": {}, "weights": {str(file): known}}
    (tmp_path / "machine.json").write_text(json.dumps(content))

    assert Machine.read(tmp_path).sha256_of(file) == _sha256(b"first")


def test_reading_decides_and_writes_nothing(tmp_path: Path) -> None:
    machine = Machine.read(tmp_path)
    machine.threads(asked=4, budget=2)

    assert list(tmp_path.iterdir()) == []


def test_a_hash_is_remembered_as_long_as_the_file_looks_the_same(tmp_path: Path) -> None:
    file = _weights(tmp_path, b"first")
    machine = Machine.read(tmp_path)
    assert machine.sha256_of(file) == _sha256(b"first")
    machine.save(replace_json)

    stat = file.stat()
    with file.open("r+b") as stream:
        stream.write(b"FIRST")  # in place, and its time put back: nothing to be seen
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    assert Machine.read(tmp_path).sha256_of(file) == _sha256(b"first")


@pytest.mark.parametrize("change", ["time", "size", "inode"])
def test_a_file_whose_stat_changed_is_read_again(tmp_path: Path, change: str) -> None:
    file = _weights(tmp_path, b"first")
    os.utime(file, ns=(0, 1_000))
    machine = Machine.read(tmp_path)
    machine.sha256_of(file)

    content = b"longer" if change == "size" else b"other"
    if change == "inode":
        fresh = tmp_path / "fresh"
        fresh.write_bytes(content)
        os.rename(fresh, file)
    else:
        with file.open("r+b") as stream:
            stream.write(content)
    os.utime(file, ns=(0, 2_000 if change == "time" else 1_000))

    assert machine.sha256_of(file) == _sha256(content)
    assert machine.sha256_of(file) == _sha256(content)


def test_weights_that_are_gone_are_an_os_error_even_when_remembered(tmp_path: Path) -> None:
    file = _weights(tmp_path)
    machine = Machine.read(tmp_path)
    machine.sha256_of(file)
    file.unlink()

    with pytest.raises(FileNotFoundError):
        machine.sha256_of(file)


def test_the_dataset_is_remembered_whatever_it_is_called(tmp_path: Path) -> None:
    name = os.fsdecode(b"/music/\xff\xfe")
    Machine(tmp_path / "machine.json", dataset=name).save(replace_json)

    assert Machine.read(tmp_path).dataset == name


def test_weights_of_any_name_are_remembered(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"\xff music")
    folder.mkdir()
    file = _weights(folder)
    machine = Machine.read(tmp_path)
    machine.sha256_of(file)

    machine.save(replace_json)

    assert list(Machine.read(tmp_path).weights) == [str(file)]


def test_what_a_stage_decides_stands_beside_what_it_decided_before(tmp_path: Path) -> None:
    machine = Machine.read(tmp_path)
    machine.decide("separation", {"batch of a": 8})
    machine.decide("separation", {"batch of b": 2})
    machine.save(replace_json)

    assert Machine.read(tmp_path).of_stage("separation") == {"batch of a": 8, "batch of b": 2}
