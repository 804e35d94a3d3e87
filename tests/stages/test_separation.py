from __future__ import annotations

import shutil
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import soundfile
import torch
from demucs.apply import BagOfModels, apply_model
from demucs.hf import load_safetensors_model
from numpy.typing import NDArray

from stages.audio import Audio
from stages.base import (
    DeviceUnusable,
    Facts,
    Piece,
    Reason,
    StageBlocked,
    Tick,
    Track,
    TrackUnusable,
    no_tick,
)
from stages.demucs_loader import DemucsModel, Network, load_model
from stages.device import torch_device
from stages.downmix import to_stereo
from stages.engine import compute
from stages.engine.compute import Compute, Poisoned
from stages.engine.separator import Separator
from stages.mix import Mix, mix_of_samples
from stages.outputs import FEATURES_FILE
from stages.separation import Separation, separate
from stages.settings import SeparationSettings
from stages.weights import find_model
from tests.models import SOURCES, write_model

pytestmark = pytest.mark.usefixtures("one_thread")

RATE_HZ = 44_100
LENGTHS = [1, 4_410, 3 * RATE_HZ, 12 * RATE_HZ]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("weights") / "small.safetensors")


@pytest.fixture(scope="module")
def model(weights: Path) -> DemucsModel:
    return load_model(find_model(str(weights)))


def _music(samples: int, *, channels: int = 2, rate_hz: int = RATE_HZ) -> NDArray[np.float32]:
    """Tones and noise on an offset of 0.02, a quiet passage, then silence: what shows mistakes."""
    random = np.random.default_rng(samples)
    seconds = np.arange(samples) / rate_hz
    tones = 0.2 * np.sin(2 * np.pi * 220 * seconds) + 0.1 * np.sin(2 * np.pi * 1_333 * seconds)
    music = tones + 0.1 * random.standard_normal((channels, samples)) + 0.02
    music[:, samples // 2 : samples * 3 // 4] *= 0.001
    music[:, samples * 7 // 8 :] = 0.0 if samples > 1 else 0.3
    return music.astype(np.float32)


def _sdr_db(reference: NDArray[np.float32], estimate: NDArray[np.floating]) -> float:
    exact = reference.astype(np.float64)
    error = np.sum((exact - estimate) ** 2)
    return float(10 * np.log10(np.sum(exact**2) / error)) if error else np.inf


def _demucs(
    network: Network | BagOfModels, mix: NDArray[np.float32], *, overlap: float = 0.25
) -> dict[str, NDArray[np.float32]]:
    """What Demucs itself gives, as written in its `Separator.separate_tensor`."""
    wav = torch.from_numpy(mix.copy())
    ref = wav.mean(0)
    std = ref.std() + 1e-8 if wav.shape[1] > 1 else 1.0
    out = apply_model(network, ((wav - ref.mean()) / std)[None], shifts=0, overlap=overlap)[0]
    return dict(zip(SOURCES, (out * std + ref.mean()).numpy(), strict=True))


def _track(samples: NDArray[np.float32], *, rate_hz: int = RATE_HZ, tick: Tick = no_tick) -> Track:
    return Track("0" * 64, {"mix": Audio(samples, rate_hz)}, tick)


def _stage(weights: Path, **settings: object) -> Separation:
    return Separation(SeparationSettings.model_validate({"model": str(weights), **settings}))


def _read(folder: Path, facts: Facts) -> dict[str, NDArray[np.float64]]:
    """Read the stems back, in the model's values; beside them is nothing but their features."""
    gain = facts["gain"]
    assert isinstance(gain, float)
    assert (folder / FEATURES_FILE).is_file()
    read = {}
    for file in sorted(set(folder.iterdir()) - {folder / FEATURES_FILE}):
        samples, rate_hz = soundfile.read(file, dtype="float64", always_2d=True)
        assert rate_hz == facts["sample_rate_hz"]
        assert len(samples) == facts["samples"]
        read[file.stem] = samples.T / gain
    assert isinstance(facts["sources"], list)
    assert set(read) == set(facts["sources"])
    return read


@pytest.mark.parametrize("samples", LENGTHS)
def test_stems_are_what_demucs_gives(weights: Path, model: DemucsModel, samples: int) -> None:
    mix = _music(samples)
    expected = _demucs(load_safetensors_model(weights), mix)

    stems = separate(model, mix)

    assert list(stems) == SOURCES
    for source in SOURCES:
        assert stems[source].shape == mix.shape
        assert _sdr_db(expected[source], stems[source]) >= 110


@pytest.mark.parametrize("samples", LENGTHS)
def test_stems_read_back_are_what_demucs_gives(tmp_path: Path, weights: Path, samples: int) -> None:
    mix = _music(samples)
    expected = _demucs(load_safetensors_model(weights), mix)

    facts = _stage(weights).run(_track(mix), tmp_path)

    stems = _read(tmp_path, facts)
    assert facts["sources"] == SOURCES
    assert facts["lossless"] is True
    for source in SOURCES:
        assert _sdr_db(expected[source], stems[source]) >= 100


def test_the_overlap_asked_for_is_used(weights: Path, model: DemucsModel) -> None:
    mix = _music(4 * RATE_HZ)
    expected = _demucs(load_safetensors_model(weights), mix, overlap=0.5)

    stems = separate(model, mix, overlap=0.5)

    assert _sdr_db(expected["bass"], stems["bass"]) >= 110
    assert _sdr_db(expected["bass"], separate(model, mix)["bass"]) < 80


@pytest.mark.parametrize("recipe", ["", "\nsegment: 1.5"])
def test_a_bag_is_what_demucs_gives(tmp_path: Path, recipe: str) -> None:
    bag_weights = [[1.0, 0.0, 0.5, 1.0], [0.0, 2.0, 0.5, 1.0]]
    files = [write_model(tmp_path / f"m{seed}.safetensors", seed=seed) for seed in (1, 2)]
    (tmp_path / "bag.yaml").write_text(f"models: ['m1', 'm2']\nweights: {bag_weights}{recipe}")
    mix = _music(3 * RATE_HZ)
    segment = 1.5 if recipe else None
    networks = [load_safetensors_model(file) for file in files]
    expected = _demucs(BagOfModels(networks, bag_weights, segment), mix)

    stems = separate(load_model(find_model(str(tmp_path))), mix)

    for source in SOURCES:
        assert _sdr_db(expected[source], stems[source]) >= 110


@pytest.mark.parametrize(("stem", "networks"), [("drums", 1), ("vocals", 2)])
def test_a_stem_of_a_bag_costs_only_its_networks_and_keeps_its_bits(
    tmp_path: Path, stem: str, networks: int
) -> None:
    for seed in range(4):
        write_model(tmp_path / f"m{seed}.safetensors", seed=seed)
    rows = [[1, 0, 0, 0.25], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0.5]]
    (tmp_path / "bag.yaml").write_text(f"models: ['m0', 'm1', 'm2', 'm3']\nweights: {rows}")
    mix = _music(RATE_HZ)
    whole = load_model(find_model(str(tmp_path)))

    cut = whole.only([stem])

    assert len(cut.networks) == networks
    stems = separate(cut, mix)
    assert list(stems) == [stem]
    assert np.array_equal(stems[stem], separate(whole, mix)[stem])


def test_only_the_stems_asked_for_are_written(tmp_path: Path, weights: Path) -> None:
    mix = _music(RATE_HZ)
    expected = _demucs(load_safetensors_model(weights), mix)

    facts = _stage(weights, stems=["vocals", "drums"]).run(_track(mix), tmp_path)

    stems = _read(tmp_path, facts)
    assert facts["sources"] == ["drums", "vocals"]
    assert min(_sdr_db(expected[name], stems[name]) for name in stems) >= 100


def test_two_stems_are_one_stem_and_the_sum_of_the_others(tmp_path: Path, weights: Path) -> None:
    mix = _music(RATE_HZ)
    expected = _demucs(load_safetensors_model(weights), mix)
    rest = np.asarray(expected["drums"] + expected["bass"] + expected["other"])

    facts = _stage(weights, two_stems="vocals").run(_track(mix), tmp_path)

    stems = _read(tmp_path, facts)
    assert facts["sources"] == ["vocals", "no_vocals"]
    assert _sdr_db(expected["vocals"], stems["vocals"]) >= 100
    assert _sdr_db(rest, stems["no_vocals"]) >= 100


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"stems": ["vocals"], "two_stems": "vocals"}, "exclude each other"),
        ({"stems": ["vocals", "piano"]}, "no stem named piano.*drums, bass, other, vocals"),
        ({"two_stems": "piano"}, "no stem named piano.*drums, bass, other, vocals"),
        ({"overlap": 0.9999999}, "overlap"),
    ],
)
def test_settings_that_cannot_be_met_block_the_stage(
    weights: Path, settings: dict[str, object], says: str
) -> None:
    with pytest.raises(StageBlocked, match=says):
        _stage(weights, **settings).load()


def test_missing_weights_block_the_stage_with_the_command_that_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    with pytest.raises(StageBlocked, match="pipeline models fetch htdemucs"):
        _stage(Path("htdemucs")).load()


def test_a_loud_mix_is_written_without_clipping(tmp_path: Path, weights: Path) -> None:
    mix = _music(RATE_HZ) * 40
    expected = _demucs(load_safetensors_model(weights), mix)
    peaks = {name: float(np.abs(stem).max()) for name, stem in expected.items()}

    facts = _stage(weights).run(_track(mix), tmp_path)

    gain = facts["gain"]
    assert isinstance(gain, float)
    assert 0.5 <= gain * max(peaks.values()) <= 1.0
    assert facts["peak"] == pytest.approx(peaks, rel=1e-5)
    stems = _read(tmp_path, facts)
    assert min(_sdr_db(expected[name], stems[name]) for name in SOURCES) >= 100


@pytest.mark.parametrize(
    ("channels", "rate_hz"), [(1, 44_100), (6, 44_100), (2, 48_000), (2, 8_000)]
)
def test_any_channels_and_rate_become_stereo_at_the_models_rate(
    tmp_path: Path, weights: Path, channels: int, rate_hz: int
) -> None:
    mix = _music(rate_hz, channels=channels, rate_hz=rate_hz)
    stereo = to_stereo(Audio(mix, rate_hz).at_rate(RATE_HZ))
    expected = _demucs(load_safetensors_model(weights), stereo)

    facts = _stage(weights).run(_track(mix, rate_hz=rate_hz), tmp_path)

    assert facts["sample_rate_hz"] == RATE_HZ
    assert facts["samples"] == stereo.shape[1] == RATE_HZ
    stems = _read(tmp_path, facts)
    assert min(_sdr_db(expected[name], stems[name]) for name in SOURCES) >= 100


def test_silence_gives_finite_stems_and_leaves_no_gain(tmp_path: Path, weights: Path) -> None:
    facts = _stage(weights).run(_track(np.zeros((2, RATE_HZ), dtype=np.float32)), tmp_path)

    assert facts["gain"] == 1.0
    for stem in _read(tmp_path, facts).values():
        assert np.abs(stem).max() < 1e-6


def test_a_track_run_twice_gives_the_same_bytes(tmp_path: Path, weights: Path) -> None:
    stage = _stage(weights)
    for run in ("first", "second"):
        (tmp_path / run).mkdir()
        stage.run(_track(_music(3 * RATE_HZ)), tmp_path / run)

    for source in SOURCES:
        first = (tmp_path / "first" / f"{source}.flac").read_bytes()
        assert first == (tmp_path / "second" / f"{source}.flac").read_bytes()


def test_the_model_is_loaded_once(tmp_path: Path, weights: Path) -> None:
    own = tmp_path / "own.safetensors"
    shutil.copy(weights, own)
    stage = _stage(own)
    stage.load()
    own.unlink()
    (tmp_path / "out").mkdir()

    stage.load()
    stage.run(_track(_music(4_410)), tmp_path / "out")

    assert len(list((tmp_path / "out").glob("*.flac"))) == 4


def test_progress_is_told_after_each_segment_up_to_the_end(tmp_path: Path, weights: Path) -> None:
    ticks: list[float] = []

    _stage(weights).run(_track(_music(4 * RATE_HZ), tick=ticks.append), tmp_path)

    step_s = int(0.75 * 85_995) / RATE_HZ
    assert ticks == pytest.approx([step_s, 2 * step_s, 4.0])


def test_progress_of_a_bag_is_told_over_all_its_models(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_model(tmp_path / f"m{seed}.safetensors", seed=seed)
    (tmp_path / "bag.yaml").write_text("models: ['m1', 'm2']")
    ticks: list[float] = []

    separate(load_model(find_model(str(tmp_path))), _music(RATE_HZ), tick=ticks.append)

    assert ticks == pytest.approx([0.5, 1.0])


def _runs(monkeypatch: pytest.MonkeyPatch, result: torch.Tensor | Exception) -> None:
    """Let every forward give this."""

    def run(_: torch.Tensor) -> torch.Tensor:
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(compute, "ready", lambda *_: run)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=["gpu", "python", "cpu"],
)
def test_too_little_memory_fails_the_track_and_not_the_stage(
    model: DemucsModel, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    _runs(monkeypatch, error)

    with pytest.raises(TrackUnusable, match="85995 samples on the CPU: ") as unusable:
        separate(model, _music(441))

    assert unusable.value.reason is Reason.MEMORY
    assert unusable.value.__context__ is None


def test_another_error_of_torch_is_not_called_a_lack_of_memory(
    model: DemucsModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    _runs(monkeypatch, RuntimeError("CUDA error: an illegal memory access was encountered"))

    with pytest.raises(RuntimeError, match="illegal"):
        separate(model, _music(441))


def test_a_stem_that_is_not_finite_fails_the_track_and_says_where(
    model: DemucsModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimates = torch.zeros(1, 4, 2, 85_995)
    # The segment is longer than the mix, which lies in its middle.
    estimates[0, 3, 1, (85_995 - RATE_HZ) // 2 + RATE_HZ // 2] = torch.nan
    _runs(monkeypatch, estimates)

    with pytest.raises(TrackUnusable, match=r"vocals that are not finite, the first at 0\.500 s"):
        separate(model, _music(RATE_HZ))


def test_a_mix_beyond_float32_is_refused(model: DemucsModel) -> None:
    with pytest.raises(TrackUnusable, match="not finite") as unusable:
        separate(model, np.full((2, 10), 3e38, dtype=np.float32))

    assert unusable.value.reason is Reason.NONFINITE


def test_a_mix_of_which_resampling_leaves_nothing_is_empty(model: DemucsModel) -> None:
    with pytest.raises(TrackUnusable) as unusable:
        separate(model, np.zeros((2, 0), dtype=np.float32))

    assert unusable.value.reason is Reason.EMPTY


def _gpu(
    monkeypatch: pytest.MonkeyPatch, *, result: float | Exception, hip: str | None = None
) -> None:
    """Make torch believe in a GPU whose convolution gives `result`."""

    def convolve(*_: object) -> torch.Tensor:
        if isinstance(result, Exception):
            raise result
        return torch.tensor(result)

    def ones(*size: int, device: str) -> torch.Tensor:
        assert device.startswith("cuda")
        return torch.empty(*size)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "ones", ones)
    monkeypatch.setattr(torch.nn.functional, "conv1d", convolve)
    monkeypatch.setattr(torch.version, "hip", hip)


@pytest.fixture
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.usefixtures("_no_gpu")
def test_without_a_gpu_auto_is_the_cpu_and_nobody_is_warned(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert torch_device("auto") == "cpu"
    assert torch_device("cpu") == "cpu"
    assert not caplog.records


def test_a_gpu_that_convolves_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    _gpu(monkeypatch, result=18.0)

    assert torch_device("auto") == "cuda"
    assert torch_device("cuda") == "cuda"
    assert torch_device("cuda:1") == "cuda:1"
    assert torch_device("cpu") == "cpu"


BROKEN = [
    RuntimeError("CUDA error: no kernel image is available"),
    AssertionError("Torch not compiled with CUDA enabled"),
    0.0,
    float("nan"),
]


@pytest.mark.parametrize("result", BROKEN, ids=str)
def test_auto_never_turns_to_the_cpu_by_itself_when_the_gpu_does_not_convolve(
    monkeypatch: pytest.MonkeyPatch, result: float | Exception
) -> None:
    _gpu(monkeypatch, result=result)

    with pytest.raises(DeviceUnusable, match="There is a GPU, but it does not work") as blocked:
        torch_device("auto")

    assert "--device cpu" in blocked.value.remedy


@pytest.mark.parametrize("result", BROKEN, ids=str)
def test_a_gpu_asked_for_that_does_not_convolve_blocks_the_stage(
    monkeypatch: pytest.MonkeyPatch, result: float | Exception
) -> None:
    _gpu(monkeypatch, result=result)

    with pytest.raises(StageBlocked, match="cuda:3 does not work") as blocked:
        torch_device("cuda:3")

    assert "--device cpu" in blocked.value.remedy


@pytest.mark.usefixtures("_no_gpu")
def test_a_gpu_asked_for_that_is_not_there_blocks_the_stage(weights: Path) -> None:
    settings = SeparationSettings(model=str(weights))

    with pytest.raises(StageBlocked, match="sees no GPU") as blocked:
        Separation(settings, device="cuda").load()

    assert "--device cpu" in blocked.value.remedy


def test_rocm_is_torchs_cuda_on_a_rocm_build_only(monkeypatch: pytest.MonkeyPatch) -> None:
    _gpu(monkeypatch, result=18.0, hip="6.4")
    assert torch_device("rocm") == "cuda"

    monkeypatch.setattr(torch.version, "hip", None)
    with pytest.raises(StageBlocked, match="not a ROCm build"):
        torch_device("rocm")


@pytest.mark.parametrize("asked", ["mps", "cuda:", "cuda:x", "cuda:1:2", "gpu", ""])
def test_an_unknown_device_is_answered_with_the_known_ones(asked: str) -> None:
    with pytest.raises(StageBlocked, match="auto, cpu, cuda, cuda:N or rocm"):
        torch_device(asked)


def test_what_was_decided_for_other_models_is_not_recorded_with_a_result(weights: Path) -> None:
    stage = _stage(weights)
    stage.decided = {"batch of another (exact) on a card": 8, "products of torch 1.0": "default"}

    stage.load()

    assert set(stage.decided) == {"memory", f"products of torch {torch.__version__}"}


def test_a_processor_without_bfloat16_blocks_what_needs_it(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.separation.computes_bfloat16", lambda: False)

    with pytest.raises(StageBlocked, match="bfloat16, which precision = fast needs"):
        _stage(weights, precision="fast").load()

    _stage(weights, precision="exact").load()


@pytest.mark.parametrize(
    ("asked", "first", "at_the_end", "kept"),
    [(None, 8, 4, 4), (None, 8, 8, None), (8, 8, 4, None)],
    ids=["memory was short", "as it began", "asked for"],
)
def test_a_batch_is_kept_for_the_machine_where_memory_has_taught_it(
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: int | None,
    first: int,
    at_the_end: int,
    kept: int | None,
) -> None:
    monkeypatch.setattr("stages.separation.name_of", lambda device: "a card")
    stage = _stage(weights, batch=asked)
    stage._first_batch = first
    compute = SimpleNamespace(batch=at_the_end)

    stage._remember(cast(Separator, SimpleNamespace(compute=compute)))

    assert stage.decided.get("batch of small.safetensors (exact) on a card") == kept


@pytest.mark.parametrize(
    ("asked", "remembered", "is_beside_cpu", "batch", "kept"),
    [
        (None, None, True, 2, 2),
        (None, 8, True, 8, 8),
        (5, 8, True, 5, 8),
        (None, None, False, 1, None),
    ],
    ids=["measured", "remembered", "asked for", "a CPU"],
)
def test_a_batch_is_measured_once_for_a_model_on_a_card(
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: int | None,
    remembered: int | None,
    is_beside_cpu: bool,
    batch: int,
    kept: int | None,
) -> None:
    """Of a card that takes a second for a batch and a quarter for each segment in it."""
    monkeypatch.setattr("stages.separation.name_of", lambda device: "a card")
    monkeypatch.setattr(
        "stages.separation.forward_s", lambda compute, samples, batch: 1 + batch / 4
    )
    stage = _stage(weights, batch=asked)
    key = "batch of small.safetensors (exact) on a card"
    stage.decided = {} if remembered is None else {key: remembered}
    monkeypatch.setattr("stages.engine.batch._BATCHES", (1, 2))
    compute = cast(Compute, SimpleNamespace(runs_behind=is_beside_cpu))

    assert stage._batch(compute, 1000) == batch

    assert stage.decided.get(key) == kept


def test_a_batch_for_want_of_room_is_not_kept(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program may have had the memory that evening."""
    monkeypatch.setattr("stages.separation.name_of", lambda device: "a card")
    monkeypatch.setattr(
        "stages.separation.forward_s", lambda compute, samples, batch: 1.0 if batch <= 4 else None
    )
    stage = _stage(weights)

    assert stage._batch(cast(Compute, SimpleNamespace(runs_behind=True)), 1000) == 4

    assert stage.decided == {}


def test_a_device_that_fails_in_its_first_forward_ends_the_run(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(compute: object, samples: int, batch: int) -> float:
        raise Poisoned("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr("stages.separation.name_of", lambda device: "a card")
    monkeypatch.setattr("stages.separation.forward_s", failing)

    with pytest.raises(DeviceUnusable, match="illegal memory access") as unusable:
        _stage(weights)._batch(cast(Compute, SimpleNamespace(runs_behind=True)), 1000)

    assert "--device cpu" in str(unusable.value)


def _pieces(folder: Path, count: int) -> list[Piece[Mix]]:
    pieces = []
    for number in range(count):
        out = folder / str(number)
        out.mkdir(parents=True)
        music = _music(30_000 + number)
        mix = mix_of_samples(music, RATE_HZ, model_rate_hz=RATE_HZ)
        pieces.append(Piece(number, "0" * 64, mix, out))
    return pieces


def test_a_track_whose_stems_cannot_be_written_fails_alone(tmp_path: Path, weights: Path) -> None:
    bad, good = _pieces(tmp_path / "both", 2)
    (bad.out / "bass.flac").symlink_to("/dev/full")
    waiting = iter([bad, good])

    outcomes = {one.key: one for one in _stage(weights).stream(lambda wait: next(waiting, None))}

    with pytest.raises(OSError, match="No space left on device"):
        outcomes[bad.key].finish()
    outcomes[good.key].finish()
    (alone,) = [piece for piece in _pieces(tmp_path / "alone", 2) if piece.key == good.key]
    _stage(weights).run(Track(alone.sha256, {"mix": Audio(_music(30_001), RATE_HZ)}), alone.out)
    assert _bytes(good.out) == _bytes(alone.out)
    assert not [path for path in bad.out.iterdir() if not path.is_symlink()]


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_leaving_a_stream_leaves_nothing_of_the_tracks_under_way(
    tmp_path: Path, weights: Path
) -> None:
    first, second = _pieces(tmp_path, 2)
    waiting = iter([first, second])
    threads = threading.active_count()
    outcomes = _stage(weights).stream(lambda wait: next(waiting, None))
    outcome = next(outcomes)

    outcomes.close()  # type: ignore[attr-defined]

    outcome.finish()  # what is computed can still be finished
    assert set(_bytes(first.out)) == {f"{name}.flac" for name in SOURCES} | {FEATURES_FILE}
    assert not list(second.out.iterdir())
    assert threading.active_count() == threads
