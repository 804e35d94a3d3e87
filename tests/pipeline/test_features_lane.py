"""The CPU features in one lane, on real files: what is decoded, loaded and computed how often."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from stages import STAGES
from tests.sandbox import Sandbox
from tests.stages.frozen_graphs import write_backbone, write_head

MEASURING = [name for name, declared in STAGES.items() if declared.lane == "features"]
TRACKS = 3


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    root = tmp_path_factory.mktemp("lane")
    box = Sandbox(root, registry="tests.counted:STAGES")
    box.environment["HOME"] = str(root)
    models = root / ".cache" / "nightshift" / "models" / "essentia"
    models.mkdir(parents=True)
    write_backbone(models, ["rock", "pop"])
    write_head(models, "mood_happy", ["happy", "non_happy"])
    for number in range(TRACKS):
        box.add(f"t{number}.wav", seed=number, seconds=4.0)
    done = box.run("--stages", ",".join(MEASURING))
    assert done.returncode == 0, done.stderr
    return box


def _calls(box: Sandbox) -> Counter[str]:
    return Counter(Path(box.environment["NIGHTSHIFT_TEST_CALLS"]).read_text().splitlines())


def test_a_track_is_decoded_once_and_its_stft_computed_once_for_all_stages(
    finished: Sandbox,
) -> None:
    calls = _calls(finished)

    assert calls["decode"] == TRACKS
    assert calls["stft 2048"] == TRACKS
    others = {name for name in calls if name.startswith("stft") and name != "stft 2048"}
    assert others == {"stft 1024"}  # of the constant-Q transform
    assert len(MEASURING) == 5


def test_every_stage_and_every_graph_is_loaded_once_in_one_process(finished: Sandbox) -> None:
    calls = _calls(finished)

    assert {name: calls[f"load {name}"] for name in MEASURING} == dict.fromkeys(MEASURING, 1)
    assert calls["graph"] == 2
    started = [event for event in finished.events() if event["event"] == "lane_started"]
    assert [event["lane"] for event in started] == ["features"]


def test_every_job_is_done_and_the_ledger_has_its_features(finished: Sandbox) -> None:
    jobs = finished.jobs()
    rows = finished.sql("SELECT DISTINCT stage, name FROM feature")
    names = {(row["stage"], row["name"]) for row in rows}

    assert {job["state"] for (_, _, scope), job in jobs.items() if scope == "mix"} == {"done"}
    assert {("onsets", "tempo_bpm"), ("chroma", "key"), ("spectral", "flux_mean"),
            ("essentia", "tag_rock"), ("essentia", "mood_happy_non_happy")} <= names  # fmt: skip


def test_a_model_that_comes_later_makes_exactly_essentia_stale(finished: Sandbox) -> None:
    models = Path(finished.environment["HOME"]) / ".cache" / "nightshift" / "models" / "essentia"

    write_head(models, "danceability", ["danceable", "not_danceable"])

    stages = finished.status()["stages"]
    stale = {name: counts["mix"]["stale"] for name, counts in stages.items()}
    assert stale == {**dict.fromkeys(stages, 0), "essentia": TRACKS}
