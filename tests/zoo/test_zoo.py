"""A whole night over the zoo: every input is what docs/zoo.md says, and nothing else happens."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from stages.base import Reason
from stages.ffmpeg import find_ffmpeg
from tests.listening import listening
from tests.sandbox import Sandbox
from tests.zoo.animal import Animal
from tests.zoo.animals import animals, write
from tests.zoo.table import expected
from tests.zoo.visit import FEATURES, Finding, findings

ROWS = {f"F{number}" for number in (*range(1, 21), 22, 23)}
STAGES = ",".join(FEATURES)

# What a decoder says to its programmer and what no user can act on.
_RAW = re.compile(r"0x[0-9a-f]{6}|Traceback|File does not exist|/tmp/|\berrno -?\d+\b")


@dataclass(frozen=True)
class Night:
    """One run over the whole zoo, and a second one."""

    box: Sandbox
    zoo: list[Animal]
    found: dict[str, Finding]
    hashes: dict[str, str]
    calls: list[object]
    first: int
    again: dict[str, object]


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    if find_ffmpeg() is None:
        pytest.skip("no ffmpeg on this machine")
    box = Sandbox(tmp_path_factory.mktemp("zoo"), registry=None)
    with listening() as (port, calls):
        zoo = animals(port=port)
        write(box.dataset, zoo)
        hashes = _hashes(box)
        first = box.run("--stages", STAGES)
        again = box.run("--stages", STAGES, "--json")
    box.wait_until_gone()
    return Night(
        box, zoo, findings(box, zoo), hashes, calls, first.returncode, json.loads(again.stdout)
    )


def _hashes(box: Sandbox) -> dict[str, str]:
    """Return the hash of every source."""
    return {
        str(file): sha256(file.read_bytes()).hexdigest()
        for file in box.dataset.rglob("*")
        if file.is_file() and not file.is_relative_to(box.out)
    }


def test_every_animal_stands_in_the_table_and_every_line_of_it_is_an_animal() -> None:
    titles = [animal.title for animal in animals()]

    assert titles == list(expected())
    assert {animal.row for animal in animals()} == ROWS


def test_a_line_that_stands_twice_in_the_table_is_noticed() -> None:
    line = "| `a.wav` | done | | |\n"

    with pytest.raises(ValueError, match=r"F1/a\.wav stands twice"):
        expected("## F1: x\n" + line + line)


def test_a_night_over_the_whole_zoo_finds_what_the_table_says(night: Night) -> None:
    found = {title: str(finding.verdict) for title, finding in night.found.items()}

    assert night.first == 1
    assert found == {title: str(verdict) for title, verdict in expected().items()}


def test_no_lane_and_no_probe_died_and_no_error_is_a_bug_of_ours(night: Night) -> None:
    reasons = {why for one in night.found.values() for why in one.verdict.why}

    assert not reasons & {Reason.ERROR, Reason.CRASH, Reason.HANG}
    assert night.box.events("lane_died") == night.box.events("probe_died") == []


def test_every_failure_says_what_happened_in_words_for_a_user(night: Night) -> None:
    failed = {
        title: finding.detail
        for title, finding in night.found.items()
        if finding.verdict.state == "failed"
    }

    assert len(failed) > 50
    poor = {
        title: said for title, said in failed.items()
        if not said.isprintable() or len(said) < 7 or _RAW.search(said)
    }  # fmt: skip
    assert poor == {}


def test_every_number_that_was_published_is_a_number(night: Night) -> None:
    def refuse(constant: str) -> NoReturn:
        raise AssertionError(f"{constant} in {file}")

    tracks = night.box.out / "tracks"
    files = [file for file in tracks.rglob("features.json") if file.is_file()]
    for file in files:
        json.loads(file.read_text(), parse_constant=refuse)
    series = [file for file in tracks.rglob("frames.npz") if file.is_file()]
    for file in series:
        with np.load(file, allow_pickle=False) as arrays:
            assert all(np.isfinite(arrays[name]).all() for name in arrays), file

    assert len(files) > 100
    assert len(series) > 100


def test_no_playlist_opened_an_address(night: Night) -> None:
    assert night.calls == []


def test_a_second_run_has_nothing_to_do_and_no_source_was_touched(night: Night) -> None:
    done = [one for one in night.found.values() if one.verdict.state == "done"]

    assert (night.again["done"], night.again["already_done"]) == (0, len(done) * len(FEATURES))
    assert _hashes(night.box) == night.hashes
    assert len(set(night.hashes.values())) == len(night.zoo)
    night.box.check()


def test_another_night_publishes_the_same_bytes_of_every_format(
    night: Night, tmp_path: Path
) -> None:
    other = tmp_path / "out"

    done = night.box.run("--stages", STAGES, "--out", str(other), "--include", "F18/")

    assert done.returncode == 1, done.stderr
    assert len(_published(other)) > 40 * len(FEATURES)
    assert _published(other) == _published(night.box.out)


def _published(out: Path) -> dict[str, str]:
    """Return the hash of every output of F18 but the manifests, which hold the time."""
    formats = out / "tracks" / "F18"
    return {
        str(file.relative_to(formats)): sha256(file.read_bytes()).hexdigest()
        for file in formats.rglob("*")
        if file.is_file() and file.name != "manifest.json"
    }
