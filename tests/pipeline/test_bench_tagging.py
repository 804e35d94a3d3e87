"""`pipeline bench tagging` on real files: what Essentia's own calls say is what a run wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.bench.subjects import tagging
from pipeline.cli import main
from tests.sandbox import Sandbox
from tests.stages.small_models import give_vggish


def test_scripts_and_runs_say_the_same_of_the_same_files(tmp_path: Path) -> None:
    box = Sandbox(tmp_path, registry=None)
    give_vggish(tmp_path, box.environment)
    for number in range(2):
        box.add(f"t{number}.wav", seed=number, seconds=6.0)
    files = sorted(map(str, box.dataset.glob("*.wav")))

    done = box.command(
        "bench",
        "tagging",
        *files,
        "--families",
        "vggish",
        "--against",
        "each-by-itself",
        "--runs",
        "1",
        "--json",
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["bench"] == "tagging"
    assert found["times_ours"].keys() == {"each-by-itself"}
    assert set(found["largest_difference"]) == {
        "vggish_embeddings",
        "danceability_yes",
        "danceability_no",
    }
    assert max(found["largest_difference"].values()) < 1e-3


def test_a_family_that_there_is_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["bench", "tagging", "a.wav", "--families", "openl3"])

    assert code == 2
    assert "--families openl3: give some of musicnn, vggish, effnet" in capsys.readouterr().err


def test_a_run_is_asked_for_the_same_families_as_the_script() -> None:
    subject = tagging(("musicnn", "effnet"))

    assert subject.options == ("musicnn,effnet",)
    assert subject.settings == ("tagging.families=['musicnn', 'effnet']",)
