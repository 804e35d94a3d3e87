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
from tests.stages.small_models import give_vggish
from tests.zoo.animal import Animal
from tests.zoo.animals import animals, write
from tests.zoo.table import NOT_TAKEN, expected
from tests.zoo.visit import FEATURES, Finding, findings
from tests.zygote import QuickSandbox, Zygote

ROWS = {f"F{number}" for number in (*range(1, 21), 22, 23)}

# What is the same for every stage, how a file is found, read and refused, is looked at with the
# quickest one. All of them get what is odd to hear, and one of each common codec.
QUICK = "loudness"
ODD_TO_HEAR = (
    "F8/", "F9/", "F10/", "F11/", "F13/", "F14/*-hz.wav", "F16/",
    "F18/aac.m4a", "F18/flac.flac", "F18/mp3.mp3", "F18/opus.opus", "F18/vorbis.ogg", "F18/wma-2.wma",
)  # fmt: skip

# Where every stage listens, a bomb is stopped after 25 minutes: that the limit is four hours by itself
# is looked at with the quickest. Below 1,398 s that of the bytes would no longer decide anything.
SHORTER = "decode.max_duration_s=1500"

# What a decoder says to its programmer and what no user can act on.
_RAW = re.compile(r"0x[0-9a-f]{6}|Traceback|File does not exist|/tmp/|\berrno -?\d+\b")


@dataclass(frozen=True)
class Night:
    """One run over the whole zoo, a second one, and one of all stages into another folder."""

    box: Sandbox
    zoo: list[Animal]
    found: dict[str, Finding]
    hashes: dict[str, str]
    calls: list[object]
    first: int
    again: dict[str, object]
    other: Path
    heard: dict[str, Finding]


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory, stage_zygote: Zygote) -> Night:
    if find_ffmpeg() is None:
        pytest.skip("no ffmpeg on this machine")
    box = QuickSandbox(tmp_path_factory.mktemp("zoo"), stage_zygote, registry=None)
    give_vggish(box.root, box.environment)
    with listening() as (port, calls):
        zoo = animals(port=port)
        write(box.dataset, zoo)
        hashes = _hashes(box)
        first = box.run("--stages", QUICK)
        again = box.run("--stages", QUICK, "--json")
        other = box.root / "other"
        wanted = [word for glob in ODD_TO_HEAR for word in ("--include", glob)]
        every = ",".join(FEATURES)
        box.run("--stages", every, "--out", str(other), "--set", SHORTER, *wanted)
    box.wait_until_gone()
    found = findings(box, zoo, stages=[QUICK])
    heard = findings(box, zoo, out=other)
    again_said = json.loads(again.stdout)
    return Night(box, zoo, found, hashes, calls, first.returncode, again_said, other, heard)


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


def test_every_stage_makes_the_same_of_what_is_odd_to_hear(night: Night) -> None:
    heard = {
        title: str(finding.verdict)
        for title, finding in night.heard.items()
        if finding.verdict.state != NOT_TAKEN
    }

    assert len(heard) > 40
    assert heard == {title: str(expected()[title]) for title in heard}


def test_no_lane_and_no_probe_died_and_no_error_is_a_bug_of_ours(night: Night) -> None:
    found = (*night.found.values(), *night.heard.values())
    reasons = {why for one in found for why in one.verdict.why}

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

    files = _files(night, "features.json")
    for file in files:
        json.loads(file.read_text(), parse_constant=refuse)
    series = _files(night, "frames.npz")
    for file in series:
        with np.load(file, allow_pickle=False) as arrays:
            assert all(np.isfinite(arrays[name]).all() for name in arrays), file

    assert len(files) > 150 + 40 * (len(FEATURES) - 1)
    assert len(series) > 150


def _files(night: Night, name: str) -> list[Path]:
    """Return the outputs of a name of both runs."""
    outs = (night.box.out, night.other)
    found = [file for out in outs for file in (out / "tracks").rglob(name)]
    return [file for file in found if file.is_file()]


def test_no_playlist_opened_an_address(night: Night) -> None:
    assert night.calls == []


def test_a_second_run_has_nothing_to_do_and_no_source_was_touched(night: Night) -> None:
    done = [one for one in night.found.values() if one.verdict.state == "done"]

    assert (night.again["done"], night.again["already_done"]) == (0, len(done))
    assert _hashes(night.box) == night.hashes
    assert len(set(night.hashes.values())) == len(night.zoo)
    night.box.check()


def test_another_night_publishes_the_same_bytes(night: Night) -> None:
    other, one = _published(night.other), _published(night.box.out)

    assert len(other) > 80
    assert other == {name: one[name] for name in other}


def _published(out: Path) -> dict[str, str]:
    """Return the hash of every output of the quick stage but the manifests, which hold the time."""
    tracks = out / "tracks"
    return {
        str(file.relative_to(tracks)): sha256(file.read_bytes()).hexdigest()
        for file in tracks.rglob(f"{QUICK}/*")
        if file.is_file() and file.name != "manifest.json"
    }
