"""The CPU features in one lane, on real files: what is decoded, loaded and computed how often."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from pipeline.config import load
from pipeline.lane import _check_weights, _why_blocked
from pipeline.machine import Machine
from pipeline.order import StageOrder
from pipeline.recipe import recipes
from stages import STAGES
from stages.base import StageBlocked
from tests.sandbox import Sandbox
from tests.stages.frozen_graphs import write_backbone, write_head, write_vggish
from tests.zygote import QuickSandbox, Zygote

MEASURING = [name for name, declared in STAGES.items() if declared.lane == "features"]
TRACKS = 3


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, stage_zygote: Zygote) -> Sandbox:
    root = tmp_path_factory.mktemp("lane")
    box = QuickSandbox(root, stage_zygote, registry="tests.counted:STAGES")
    box.environment["HOME"] = str(root)
    models = root / ".cache" / "nightshift" / "models" / "essentia"
    models.mkdir(parents=True)
    write_backbone(models, ["rock", "pop"])
    write_head(models, "mood_happy", ["happy", "non_happy"])
    write_vggish(models)
    write_head(models, "danceability", ["yes", "no"], of="audioset-vggish-3", width=128)
    for number in range(TRACKS):
        box.add(f"t{number}.wav", seed=number, seconds=4.0)
    box.environment["NIGHTSHIFT_TAGGING__FAMILIES"] = "['musicnn', 'vggish']"
    done = box.run("--stages", ",".join(MEASURING))
    assert done.returncode == 0, done.stderr
    return box


def _calls(box: Sandbox) -> Counter[str]:
    return Counter(Path(box.environment["NIGHTSHIFT_TEST_CALLS"]).read_text().splitlines())


def test_a_track_is_decoded_once_and_its_stft_computed_once_for_all_stages(
    finished: Sandbox,
) -> None:
    calls = _calls(finished)

    assert calls["open"] == calls["decode"] == TRACKS
    assert calls["spectra"] == calls["constant-Q"] == TRACKS
    # Made anew for the chroma, when the tuning is known: keeping them would cost more.
    assert calls["spectra of a known tuning"] == TRACKS
    assert not [name for name in calls if name.startswith("stft")]  # librosa's own, anew
    assert len(MEASURING) == 6


def test_every_stage_and_every_graph_is_loaded_once_in_one_process(finished: Sandbox) -> None:
    calls = _calls(finished)

    assert {name: calls[f"load {name}"] for name in MEASURING} == dict.fromkeys(MEASURING, 1)
    assert calls["graph"] == 4  # two backbones and a head of each, for three tracks
    started = [event for event in finished.events() if event["event"] == "lane_started"]
    assert [event["lane"] for event in started] == ["features"]


def test_every_job_is_done_and_the_ledger_has_its_features(finished: Sandbox) -> None:
    jobs = finished.jobs()
    rows = finished.sql("SELECT DISTINCT stage, name FROM feature")
    names = {(row["stage"], row["name"]) for row in rows}

    assert {job["state"] for (_, _, scope), job in jobs.items() if scope == "mix"} == {"done"}
    assert {("onsets", "tempo_bpm"), ("chroma", "key"), ("spectral", "flux_mean"),
            ("tagging", "tag_rock"), ("tagging", "mood_happy_non_happy"),
            ("tagging", "vggish_danceability_yes"), ("essentia", "key")} <= names  # fmt: skip


def test_a_model_that_comes_later_makes_exactly_tagging_stale(finished: Sandbox) -> None:
    models = Path(finished.environment["HOME"]) / ".cache" / "nightshift" / "models" / "essentia"

    before = _stale(finished)
    write_head(models, "danceability", ["danceable", "not_danceable"])

    assert set(before.values()) == {0}
    assert _stale(finished) == {**before, "tagging": TRACKS}


def _stale(box: Sandbox) -> dict[str, int]:
    return {name: counts["mix"]["stale"] for name, counts in box.status()["stages"].items()}


def test_models_that_change_while_a_run_works_block_the_stage_of_the_next_lane(
    tmp_path: Path,
) -> None:
    box = Sandbox(tmp_path, registry=None)
    box.environment["HOME"] = str(tmp_path)
    models = tmp_path / ".cache" / "nightshift" / "models" / "essentia"
    models.mkdir(parents=True)
    write_backbone(models, ["rock", "pop"])
    declared = STAGES["tagging"]
    hashes = {
        path.name: sha256(path.read_bytes()).hexdigest()
        for path in (models / "msd-musicnn-1.pb", models / "msd-musicnn-1.json")
    }

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path))
        order = StageOrder(declared, {}, hashes)
        _check_weights(order)
        write_head(models, "mood_happy", ["happy", "non_happy"])
        with pytest.raises(
            StageBlocked, match=r"since this run began: mood_happy-msd-musicnn-1\.json"
        ):
            _check_weights(order)


def test_a_library_that_is_not_installed_blocks_its_stage_with_the_line_that_installs_it(
    tmp_path: Path,
) -> None:
    box = Sandbox(tmp_path, registry=None)
    config = load(box.dataset, environment=box.environment)
    lacking = replace(STAGES["chroma"], libraries=("numpy", "no-such-library"))

    found = recipes(
        replace(config, declarations={**STAGES, "chroma": lacking}), Machine.read(config.out)
    )

    blocked = {
        one.stage: str(one.blocked)
        for one in found
        if one.blocked and one.stage not in {"separation", "tagging"}  # for want of weights
    }
    assert list(blocked) == ["chroma"]
    assert "not installed: no-such-library" in blocked["chroma"]
    assert '.[features]"' in blocked["chroma"]


def test_where_nothing_compiled_can_be_kept_the_stage_says_which_variable_to_set() -> None:
    error = RuntimeError("cannot cache function '_measure': no locator available for file 'a.py'")

    why = _why_blocked(error, StageOrder(STAGES["loudness"], {}, {}))

    assert "'_measure'" in why
    assert "Set NUMBA_CACHE_DIR to a folder that can be written to" in why
