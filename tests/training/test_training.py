"""The training as a script: what it is given decides it, and it goes on where it stopped."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from stages.catalogue import CATALOGUE
from stages.demucs_loader import load_network
from stages.published import folder_of
from stages.weights import WeightFile
from training import evaluate, examples, floors, nano
from training.music.songs import STEMS, TRAINING, VALIDATION, VERSION
from training.render import rendered
from training.train import OtherSettings, Settings, Training, loss_of, train

SHORT = Settings(
    songs=3, watched=2, steps=7, batch=3, segment_s=0.25, saved_every_steps=3, watched_every_steps=2
)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nano, "ARGUMENTS", {**nano.ARGUMENTS, "channels": 8})
    monkeypatch.setattr(
        torch, "set_num_threads", lambda count: None
    )  # this process has other tests


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    chance = np.random.default_rng(5)
    place = tmp_path / f"songs-{VERSION}"
    place.mkdir()
    for seed in (*TRAINING[:3], *VALIDATION[:2]):
        song = 0.1 * chance.standard_normal((4, 2, 5 * 44_100))
        np.save(place / f"{seed}.npy", song.astype(np.float16))
    return tmp_path


def weights(file: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(file)
    return found


@pytest.mark.usefixtures("small")
def test_a_training_that_was_stopped_ends_as_one_that_was_not(folder: Path) -> None:
    class Stopped(Exception):
        pass

    def stop_at_three(self: Training) -> None:
        save(self)
        if self.step == 3:
            raise Stopped

    def stop_at_five(self: Training, true: torch.Tensor, pool: ThreadPoolExecutor) -> float:
        if self.step == 5:
            raise Stopped
        return learn(self, true, pool)

    train(folder, SHORT)
    whole = weights(folder / "nano.safetensors")
    for name in ("checkpoint.pt", "nano.safetensors", "training.jsonl"):
        (folder / name).unlink()
    save, learn = Training.save, Training.learn
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "save", stop_at_three)
        with pytest.raises(Stopped):
            train(folder, SHORT)
    with pytest.MonkeyPatch.context() as patch:  # after a row of the log that no checkpoint knows
        patch.setattr(Training, "learn", stop_at_five)
        with pytest.raises(Stopped):
            train(folder, SHORT)
    assert not (folder / "nano.safetensors").exists()
    train(folder, SHORT)

    assert all(
        torch.equal(whole[name], value)
        for name, value in weights(folder / "nano.safetensors").items()
    )
    rows = [json.loads(line) for line in (folder / "training.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4, 6]
    assert set(rows[0]["sdr_db"]) == set(STEMS)


@pytest.mark.usefixtures("small")
def test_a_training_goes_on_with_its_own_settings_only(folder: Path) -> None:
    train(folder, SHORT)

    with pytest.raises(OtherSettings, match=r"checkpoint\.pt was begun with .*another folder"):
        train(folder, replace(SHORT, rate=1.0))


@pytest.mark.usefixtures("small")
def test_how_many_threads_share_a_batch_decides_no_more_than_rounding(folder: Path) -> None:
    songs = rendered(folder, TRAINING[:3])
    true = torch.from_numpy(examples.batch(songs, seed=1, step=0, size=3, samples=22_050))

    def moved(threads: int) -> dict[str, torch.Tensor]:
        training = Training(folder, SHORT)
        training.threads = threads
        with ThreadPoolExecutor(threads) as pool:
            training.learn(true, pool)
        found = dict(training.network.named_parameters())
        return {name: value.grad for name, value in found.items() if value.grad is not None}

    alone, shared = moved(1), moved(2)
    for name, gradient in alone.items():
        apart = torch.linalg.vector_norm(shared[name] - gradient)
        assert apart <= 0.1 * torch.linalg.vector_norm(gradient) + 1e-4, name


def test_songs_that_are_there_are_not_rendered_again(folder: Path) -> None:
    place = folder / f"songs-{VERSION}"
    before = {file.name: file.stat().st_mtime_ns for file in place.iterdir()}
    plain = TRAINING[9]  # needs no FluidSynth

    songs = rendered(folder, [*TRAINING[:3], plain])

    assert [song.dtype for song in songs] == [np.float16] * 4
    assert songs[3].shape == (4, 2, 20 * 44_100)
    after = {file.name: file.stat().st_mtime_ns for file in place.iterdir()}
    assert after.keys() - before.keys() == {f"{plain}.npy"}
    assert all(after[name] == stamp for name, stamp in before.items())


@pytest.mark.usefixtures("small")
def test_what_is_written_is_what_the_loader_reads(tmp_path: Path) -> None:
    network = nano.build()
    file = tmp_path / "nano.safetensors"

    nano.write(network.state_dict(), file)

    loaded = load_network(WeightFile(file)).state_dict()
    for name, value in network.state_dict().items():
        assert torch.equal(loaded[name], value.half().float())
    assert file.read_bytes() == nano.to_bytes(network.state_dict())


def test_the_model_that_ships_is_the_one_that_is_trained_here() -> None:
    shipped = CATALOGUE["nano"]
    file = folder_of(shipped) / shipped.files[0].name

    network = load_network(WeightFile(file))

    assert type(network) is type(nano.build())
    given: Any = network._init_args_kwargs
    assert {key: given[1][key] for key in nano.ARGUMENTS} == nano.ARGUMENTS


def test_the_loss_is_the_error_against_the_mix() -> None:
    true = torch.zeros(2, 4, 2, 100)
    true[:, 0] = 0.5

    assert float(loss_of(true, true)) == 0.0
    assert float(loss_of(torch.zeros_like(true), true)) == pytest.approx(0.25, rel=1e-3)
    quiet = 0.1 * true
    assert float(loss_of(torch.zeros_like(quiet), quiet)) == pytest.approx(0.25, rel=1e-2)


def test_a_step_decides_its_examples(folder: Path) -> None:
    songs = rendered(folder, TRAINING[:3])

    def made(step: int) -> np.ndarray[Any, Any]:
        return examples.batch(songs, seed=1, step=step, size=3, samples=1000)

    assert made(7).shape == (3, 4, 2, 1000)
    assert made(7).dtype == np.float32
    assert np.array_equal(made(7), made(7))
    assert not np.array_equal(made(7), made(8))


def test_what_needs_no_model_adds_up_to_the_mix() -> None:
    chance = np.random.default_rng(1)
    mix = (0.1 * chance.standard_normal((2, 44_100))).astype(np.float32)
    time_s = np.arange(44_100) / 44_100
    mix += (0.3 * np.sin(2 * np.pi * 60.0 * time_s)).astype(np.float32)

    given = floors.split(mix)

    assert tuple(given) == STEMS
    assert np.abs(sum(given.values()) - mix).max() < 1e-5
    spectrum = np.abs(np.fft.rfft(given["bass"][0]))
    assert int(spectrum.argmax()) == 60
    assert all(given is mix for given in floors.the_mix(mix).values())


def test_the_table_holds_medians_of_what_sounds() -> None:
    rows = [
        {"seed": seed, "way": way, "stem": stem, **dict.fromkeys(evaluate.MEASURES, level)}
        for way in ("mix", "split", "model")
        for stem in STEMS
        for seed, level in enumerate((1.0, 5.0, 2.0, None))
    ]

    assert evaluate.medians(rows, "SDR")["model", "bass"] == 2.0
    assert evaluate.table(rows).splitlines()[-1] == "| SI-SDR | model | 2.0 | 2.0 | 2.0 | 2.0 |"


def test_a_song_is_held_against_its_true_stems_by_each_way() -> None:
    rows = list(evaluate.evaluate("nano", [9], seconds=3.0))  # of the kind that needs no FluidSynth

    assert {(row["way"], row["stem"]) for row in rows} == {
        (way, stem) for way in ("mix", "split", "model") for stem in STEMS
    }
    sdr = evaluate.medians(rows, "SDR")
    for stem in ("drums", "bass"):
        assert sdr["model", stem] > sdr["mix", stem] + 4.0
