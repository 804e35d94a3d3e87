"""The two real stages on real sound, through real processes: small random HTDemucs, full loudness."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyloudnorm
import pytest
import soundfile as sf

from tests.models import write_model
from tests.real import PIECES, cut_music, fill, real_sandbox
from tests.sandbox import ROOT, Sandbox
from tests.zygote import Zygote

SHARED_AUDIO = ROOT.parent / "shared" / "audio"
STEMS = {"drums", "bass", "other", "vocals"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "small.safetensors")


@pytest.fixture
def real(tmp_path: Path, model: Path, stage_zygote: Zygote) -> Sandbox:
    """A dataset of one's own. One thread: beside other tests, several wait for one another."""
    box = real_sandbox(tmp_path, model, stage_zygote)
    box.environment["NIGHTSHIFT_THREADS"] = "1"
    return box


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, model: Path, music: Path, zygote: Zygote
) -> Sandbox:
    """A dataset that one undisturbed run has done, with as many threads as it takes by itself.

    That run is started anew, what comes after it is forked. Tests that share it leave it so.
    """
    box = real_sandbox(tmp_path_factory.mktemp("finished"), model, zygote)
    fill(box, music)
    run = box.start_run()
    _, stderr = run.communicate(timeout=120)
    assert run.returncode == 0, stderr
    return box


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cut_music(tmp_path_factory.mktemp("music"))


def test_music_goes_through_loudness_and_separation_and_a_second_run_has_nothing_to_do(
    finished: Sandbox,
) -> None:
    second = finished.run()

    assert f"nothing to do: {PIECES} tracks, all done. No lane was started." in second.stderr
    stages = finished.status()["stages"]
    assert [
        stages[stage][scope]["done"]
        for stage, scope in (("loudness", "mix"), ("separation", "mix"), ("loudness", "stems"))
    ] == [PIECES] * 3
    finished.check()
    for track in (finished.out / "tracks").iterdir():
        assert {path.stem for path in (track / "separation").glob("*.flac")} == STEMS
        features = json.loads((track / "stems/loudness/features.json").read_text())
        assert STEMS <= set(features) <= STEMS | {"null_reasons"}


def test_published_loudness_is_that_of_pyloudnorm(finished: Sandbox) -> None:
    question = "SELECT path, value FROM feature WHERE name = 'integrated_lufs' AND source = 'mix'"

    rows = finished.command("query", str(finished.dataset), question, "--json")

    found = [json.loads(line) for line in rows.stdout.splitlines()]
    assert len(found) == PIECES
    for row in found:
        samples, rate = sf.read(finished.dataset / row["path"])
        expected = pyloudnorm.Meter(rate, filter_class="DeMan").integrated_loudness(samples)
        assert row["value"] == pytest.approx(expected, abs=0.01)


def test_stem_features_are_those_of_the_model_before_the_gain(real: Sandbox, music: Path) -> None:
    """A mix far above full scale makes stems above it: published with a gain, measured without."""
    sf.write(
        real.dataset / "loud.wav",
        np.random.default_rng(0).normal(0, 8, (22050, 2)),
        44100,
        subtype="FLOAT",
    )

    assert real.run().returncode == 0

    track = real.out / "tracks/loud.wav"
    gain = json.loads((track / "separation/manifest.json").read_text())["facts"]["gain"]
    assert gain < 1
    features = json.loads((track / "stems/loudness/features.json").read_text())
    for stem in STEMS:
        samples, _ = sf.read(track / f"separation/{stem}.flac")
        assert np.abs(samples).max() < 1
        peak_dbfs = 20 * np.log10(np.abs(samples / gain).max())
        assert features[stem]["sample_peak_dbfs"] == pytest.approx(peak_dbfs, abs=0.01)


def test_changing_a_loudness_setting_makes_exactly_the_loudness_jobs_stale(
    finished: Sandbox,
) -> None:
    told = finished.command(
        "status", str(finished.dataset), "--set", "loudness.series_hop_ms=50", "--json"
    )

    stages = json.loads(told.stdout)["stages"]
    assert (stages["loudness"]["mix"]["stale"], stages["loudness"]["stems"]["stale"]) == (
        PIECES,
        PIECES,
    )
    assert stages["separation"]["mix"]["stale"] == 0


def test_a_model_that_was_moved_makes_nothing_stale(finished: Sandbox, model: Path) -> None:
    copy = shutil.copy(model, finished.root / "another name.safetensors")

    assert "nothing to do" in finished.run("--model", str(copy)).stderr


def test_without_weights_separation_is_blocked_with_the_command_and_the_rest_goes_on(
    real: Sandbox, music: Path
) -> None:
    fill(real, music)
    real.environment["NIGHTSHIFT_SEPARATION__MODEL"] = "htdemucs"
    real.environment["HOME"] = str(real.root)

    done = real.run()

    assert done.returncode == 1
    assert "  pipeline models fetch htdemucs\n" in done.stderr
    assert real.status()["stages"]["loudness"]["mix"]["done"] == PIECES
    assert real.status()["stages"]["separation"]["mix"]["blocked"] == PIECES


def test_two_stems_are_the_wanted_one_and_the_rest(real: Sandbox, music: Path) -> None:
    fill(real, music)

    assert real.run("--two-stems", "vocals", "--include", "0.flac").returncode == 0

    folder = real.out / "tracks/0.flac/separation"
    assert {path.name for path in folder.glob("*.flac")} == {"vocals.flac", "no_vocals.flac"}


@pytest.mark.skipif(
    not SHARED_AUDIO.is_dir(), reason="the real recordings in ../shared/audio are not here"
)
def test_real_recordings_of_every_format_are_done(real: Sandbox) -> None:
    recordings = [path for path in SHARED_AUDIO.iterdir() if path.suffix != ".md"]
    for recording in recordings:
        shutil.copy(recording, real.dataset)

    done = real.run("--stages", "loudness")

    assert done.returncode == 0, done.stderr
    assert real.status()["stages"]["loudness"]["mix"]["done"] == len(recordings)
    assert any(path.suffix == ".m4a" for path in recordings)


def test_help_and_status_take_at_most_three_times_the_imports_they_cannot_do_without(
    finished: Sandbox,
) -> None:
    commands = {
        "imports": [sys.executable, "-c", "import typer, sqlalchemy"],
        "help": [sys.executable, "-m", "pipeline", "--help"],
        "status": [sys.executable, "-m", "pipeline", "status", str(finished.dataset)],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}

    for _ in range(7):
        for name, command in commands.items():
            begun = time.monotonic()
            subprocess.run(command, env=finished.environment, check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.monotonic() - begun)

    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    print(medians)
    assert medians["help"] <= 3 * medians["imports"]
    assert medians["status"] <= 3 * medians["imports"]


def test_one_damaged_file_among_twenty_fails_alone(real: Sandbox) -> None:
    for number in range(20):
        real.add(f"t{number:02}.wav", seed=number, seconds=0.5, rate=44_100)
    damaged = real.dataset / "t07.wav"
    damaged.write_bytes(damaged.read_bytes()[:20_000])

    done = real.run("--stages", "separation")

    assert done.returncode == 1
    jobs = {path: job for (path, _, scope), job in real.jobs().items() if scope == "mix"}
    failed = jobs.pop("t07.wav")
    assert (failed["state"], failed["reason"]) == ("failed", "truncated")
    assert {job["state"] for job in jobs.values()} == {"done"}
    assert len(jobs) == 19
    assert len(real.events("lane_started")) == 1
    real.check()


@pytest.mark.parametrize(
    ("settings", "suffix", "lossless"),
    [
        (["separation.format=flac16"], ".flac", False),
        (["separation.format=wav32f", "separation.precision=fast"], ".wav", True),
        (["separation.format=opus", "separation.shifts=1"], ".opus", False),
    ],
)
def test_what_is_asked_of_a_separation_stands_in_its_manifest_and_in_the_ledger(
    real: Sandbox, settings: list[str], suffix: str, lossless: bool
) -> None:
    real.add("a.wav", seconds=1, rate=44_100)

    done = real.run(
        "--stages", "separation,loudness", *(word for one in settings for word in ("--set", one))
    )

    assert done.returncode == 0, done.stderr
    folder = real.out / "tracks" / "a.wav" / "separation"
    assert {path.stem for path in folder.glob(f"*{suffix}")} == STEMS
    facts = json.loads((folder / "manifest.json").read_text())["facts"]
    asked = dict(one.partition(".")[2].split("=") for one in settings)
    assert facts["lossless"] is lossless
    assert {key: str(facts[key]) for key in asked} == asked
    features = real.sql("SELECT name, value FROM feature WHERE stage = 'separation'")
    assert {row["name"]: row["value"] for row in features}["stems_residual_db"] == (
        pytest.approx(facts["residual_db"])
    )
    stems = real.sql("SELECT DISTINCT source FROM feature WHERE scope = 'stems'")
    assert {row["source"] for row in stems} == STEMS
