from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from demucs.demucs import Demucs
from demucs.hdemucs import HDemucs
from demucs.hf import load_safetensors_model
from safetensors import safe_open
from safetensors.torch import save_file

from stages.base import StageBlocked
from stages.demucs_loader import load_model, load_network
from stages.weights import ModelFiles, WeightFile
from tests.models import SMALL, SOURCES, metadata_of, write_model

pytestmark = pytest.mark.usefixtures("one_thread")

# What the published htdemucs file says of itself, but for its size and its segment.
PUBLISHED: dict[str, object] = {
    "audio_channels": 2,
    "bottom_channels": 16,
    "cac": True,
    "channels_time": None,
    "context": 1,
    "context_enc": 0,
    "dconv_comp": 8,
    "dconv_depth": 2,
    "dconv_init": 0.001,
    "dconv_mode": 3,
    "depth": 4,
    "emb_scale": 10,
    "emb_smooth": True,
    "end_iters": 0,
    "freq_emb": 0.2,
    "growth": 2,
    "kernel_size": 8,
    "multi_freqs": [],
    "multi_freqs_depth": 3,
    "nfft": 4096,
    "norm_groups": 4,
    "norm_starts": 4,
    "rescale": 0.1,
    "rewrite": True,
    "samplerate": 44100,
    "stride": 4,
    "t_auto_sparsity": False,
    "t_cape_augment": True,
    "t_cape_glob_loc_scale": [5000.0, 1.0, 1.4],
    "t_cape_mean_normalize": True,
    "t_cross_first": False,
    "t_dropout": 0.02,
    "t_emb": "sin",
    "t_gelu": True,
    "t_global_window": 100,
    "t_group_norm": False,
    "t_heads": 8,
    "t_hidden_scale": 4.0,
    "t_layer_scale": True,
    "t_layers": 5,
    "t_lr": None,
    "t_mask_random_seed": 42,
    "t_mask_type": "diag",
    "t_max_period": 10000.0,
    "t_max_positions": 10000,
    "t_norm_first": True,
    "t_norm_in": True,
    "t_norm_in_group": False,
    "t_norm_out": True,
    "t_sin_random_shift": 0,
    "t_sparse_attn_window": 400,
    "t_sparse_cross_attn": False,
    "t_sparse_self_attn": False,
    "t_sparsity": 0.95,
    "t_weight_decay": 0.0,
    "t_weight_pos_embed": 1.0,
    "time_stride": 2,
    "wiener_iters": 0,
    "wiener_residual": False,
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = write_model(tmp_path_factory.mktemp("good") / "small.safetensors")
    return file


def _parts(file: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    with safe_open(str(file), framework="pt") as opened:
        names = opened.keys()
        return opened.metadata(), {name: opened.get_tensor(name) for name in names}


def _forged(
    good: Path,
    folder: Path,
    *,
    metadata: dict[str, str] | None = None,
    kwargs: dict[str, object] | None = None,
    tensors: dict[str, torch.Tensor] | None = None,
) -> WeightFile:
    """Write a copy of a good file with some of it replaced."""
    old_metadata, old_tensors = _parts(good)
    if kwargs is not None:
        changed = {**json.loads(old_metadata["kwargs"]), **kwargs}
        old_metadata["kwargs"] = json.dumps(changed)
    path = folder / "forged.safetensors"
    save_file(
        {**old_tensors, **(tensors or {})}, path, metadata={**old_metadata, **(metadata or {})}
    )
    return WeightFile(path)


def _refusal(file: WeightFile) -> StageBlocked:
    """Return how loading is refused, having checked that it was quick."""
    start_s = time.process_time()  # of this process alone: the machine may be busy
    with pytest.raises(StageBlocked) as blocked:
        load_network(file)
    assert time.process_time() - start_s < 1.0
    assert str(file.path) in blocked.value.problem
    assert blocked.value.remedy
    return blocked.value


def _same_output(file: Path, samples: int) -> bool:
    mix = torch.rand(1, 2, samples, generator=torch.Generator().manual_seed(1)) - 0.4
    theirs = load_safetensors_model(file).eval()
    ours = load_network(WeightFile(file))
    with torch.no_grad():
        return torch.equal(theirs(mix), ours(mix))


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(
    "arguments", [{}, {"t_emb": "scaled"}, PUBLISHED], ids=["small", "scaled", "published"]
)
def test_a_loaded_model_computes_the_same_bits_as_with_demucs_own_loader(
    tmp_path: Path, *, half: bool, arguments: dict[str, object]
) -> None:
    file = write_model(tmp_path / "model.safetensors", arguments, half=half)

    assert _same_output(file, samples=85_995)


@pytest.mark.parametrize(
    ("network", "arguments"),
    [
        (HDemucs, {"channels": 4, "depth": 5, "dconv_lstm": 3, "dconv_attn": 3}),
        (HDemucs, {"channels": 4, "depth": 2, "nfft": 256, "hybrid": False, "multi_freqs": [0.5]}),
        (Demucs, {"channels": 4, "depth": 3, "lstm_layers": 1, "dconv_lstm": 1, "dconv_attn": 2}),
    ],
)
def test_the_older_classes_load_to_the_same_bits_too(
    tmp_path: Path, network: type[torch.nn.Module], arguments: dict[str, object]
) -> None:
    torch.manual_seed(0)
    chosen: dict[str, object] = {"sources": SOURCES, **arguments}
    file = tmp_path / "model.safetensors"
    klass = f"{network.__module__}.{network.__name__}"
    save_file(network(**chosen).state_dict(), file, metadata=metadata_of(klass, chosen))

    assert _same_output(file, samples=8_192)


def test_a_model_loaded_from_half_precision_is_float32_and_needs_no_gradient(
    tmp_path: Path,
) -> None:
    network = load_network(WeightFile(write_model(tmp_path / "half.safetensors", half=True)))

    assert {weight.dtype for weight in network.parameters()} == {torch.float32}
    assert not any(weight.requires_grad for weight in network.parameters())
    assert not network.training


def test_a_loaded_model_survives_the_end_of_its_file(tmp_path: Path, good: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(good.read_bytes())
    network = load_network(WeightFile(file))

    os.truncate(file, 0)

    assert all(torch.isfinite(weight).all() for weight in network.parameters())


def test_positional_arguments_are_taken_in_order(tmp_path: Path, good: Path) -> None:
    kwargs = json.loads(_parts(good)[0]["kwargs"])
    args = [kwargs.pop("sources"), 2, kwargs.pop("channels")]
    metadata = {"args": json.dumps(args), "kwargs": json.dumps(kwargs)}

    network = load_network(_forged(good, tmp_path, metadata=metadata))

    assert network.sources == SOURCES


@pytest.mark.parametrize("klass", ["os.system", "demucs.solver.Solver", "builtins.dict", ""])
def test_a_class_that_is_not_allowed_is_never_imported(
    tmp_path: Path, good: Path, klass: str
) -> None:
    proof = tmp_path / "proof"
    metadata = {"klass": klass, "args": json.dumps([f"touch {proof}"]), "kwargs": "{}"}

    refusal = _refusal(_forged(good, tmp_path, metadata=metadata))

    assert f"klass = {klass}" in refusal.problem
    assert not proof.exists()


def test_quantised_weights_are_refused(tmp_path: Path, good: Path) -> None:
    forged = _forged(good, tmp_path, metadata={"structure": '{"_class": "os.system"}'})

    assert "structure" in _refusal(forged).problem


@pytest.mark.parametrize(
    "kwargs",
    [
        {"channels": 1_000_000},
        {"channels": -1},
        {"channels": 8.0},
        {"channels": True},
        {"channels": "8"},
        {"channels": [8]},
        {"channels": None},
        {"channels": 10**4000},
        {"depth": 10**9},
        {"t_layers": 10**9},
        {"dconv_depth": -(10**9)},
        {"growth": 1e300},
        {"segment": float("nan")},
        {"segment": float("inf")},
        {"segment": 10**9},
        {"segment": 0},
        {"segment": {"_type": "fraction", "numerator": 1, "denominator": 0}},
        {"segment": {"_type": "fraction", "numerator": 10**40, "denominator": 10**40}},
        {"segment": {"_type": "fraction", "numerator": "9" * 5000, "denominator": 1}},
        {"segment": {"_class": "os.system"}},
        {"segment": {}},
        {"samplerate": 1},
        {"audio_channels": 1},
        {"multi_freqs": [0.5] * 1000},
        {"t_cape_glob_loc_scale": [[1.0, 1.0, 1.0]]},
        {"multi_freqs": json.loads("[" * 900 + "]" * 900)},
        {"t_emb": "x" * 10_000},
        {"t_sparse_self_attn": True},
        {"t_sin_random_shift": 5},
        {"t_mask_random_seed": True},
        {"t_weight_decay": True},
        {"sources": []},
        {"sources": ["a"] * 1000},
        {"sources": ["drums", "drums", "other", "vocals"]},
        {"sources": ["drums", "bass", "other", "../../vocals"]},
        {"sources": ["drums", "bass", "other", ""]},
        {"sources": "drums"},
        {"sources": None},
        {"pretrained": True},
        {"__class__": "x"},
        {"nfft": 64},
        {"growth": 3},
        {"depth": 8},
        {"t_heads": 5},
    ],
    ids=lambda kwargs: str(kwargs)[:60],
)
def test_a_bad_argument_is_refused_at_once_and_named(
    tmp_path: Path, good: Path, kwargs: dict[str, object]
) -> None:
    refusal = _refusal(_forged(good, tmp_path, kwargs=kwargs))

    assert len(refusal.problem) < 1_000


@pytest.mark.parametrize(
    "metadata",
    [
        {"kwargs": "[" * 10_000},
        {"kwargs": "[" * 1_000_000},
        {"kwargs": '{"channels": ' + "1" * 100_000 + "}"},
        {"kwargs": '{"channels": ' + "1" * 10_000 + "}"},
        {"kwargs": '"' + "x" * 2_000_000 + '"'},
        {"kwargs": "[]"},
        {"kwargs": ""},
        {"kwargs": "{}"},
        {"args": "{}"},
        {"args": json.dumps([SOURCES])},
        {"args": json.dumps([1] * 2_000)},
        {"args": "nonsense"},
    ],
    ids=lambda metadata: str(metadata)[:40],
)
def test_hostile_metadata_is_refused_at_once(
    tmp_path: Path, good: Path, metadata: dict[str, str]
) -> None:
    refusal = _refusal(_forged(good, tmp_path, metadata=metadata))

    assert len(refusal.problem) < 1_000


def test_long_metadata_is_not_even_parsed(tmp_path: Path, good: Path) -> None:
    kwargs = _parts(good)[0]["kwargs"] + " " * 20_000

    refusal = _refusal(_forged(good, tmp_path, metadata={"kwargs": kwargs}))

    assert "is longer than 16384 characters" in refusal.problem


def test_the_refusal_names_the_key_and_the_value(tmp_path: Path, good: Path) -> None:
    refusal = _refusal(_forged(good, tmp_path, kwargs={"channels": 1_000_000}))

    assert "channels = 1000000 must be a whole number from 1 to 1024" in refusal.problem


def test_the_largest_model_the_bounds_let_through_costs_no_memory_to_refuse(
    tmp_path: Path, good: Path
) -> None:
    largest: dict[str, object] = {
        "channels": 1024,
        "growth": 4,
        "depth": 6,
        "nfft": 16_384,
        "kernel_size": 64,
        "dconv_depth": 4,
        "dconv_mode": 3,
        "bottom_channels": 4096,
        "t_layers": 16,
        "t_heads": 64,
        "t_hidden_scale": 16,
        "multi_freqs": [0.2, 0.4, 0.6, 0.8],
        "multi_freqs_depth": 3,
    }

    refusal = _refusal(_forged(good, tmp_path, kwargs=largest))

    assert "tensor this model needs" in refusal.problem


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda old: torch.full_like(old, float("nan")), "NaN or infinity"),
        (lambda old: torch.full_like(old, float("inf")), "NaN or infinity"),
        (lambda old: torch.zeros(7), r"must have the shape \[8\]"),
        (lambda old: torch.zeros(8, dtype=torch.int32), "must be one of"),
    ],
    ids=["nan", "inf", "shape", "integers"],
)
def test_a_bad_tensor_is_refused_and_named(
    tmp_path: Path, good: Path, change: Callable[[torch.Tensor], torch.Tensor], says: str
) -> None:
    name = "encoder.0.conv.bias"
    forged = _forged(good, tmp_path, tensors={name: change(_parts(good)[1][name])})

    with pytest.raises(StageBlocked, match=says) as blocked:
        load_network(forged)

    assert name in blocked.value.problem


def test_a_missing_and_a_spare_tensor_are_refused_and_named(tmp_path: Path, good: Path) -> None:
    metadata, tensors = _parts(good)
    spare = _refusal(_forged(good, tmp_path, tensors={"spare": torch.zeros(1)}))
    del tensors["encoder.0.conv.bias"]
    save_file(tensors, tmp_path / "less.safetensors", metadata=metadata)

    missing = _refusal(WeightFile(tmp_path / "less.safetensors"))

    assert "spare" in spare.problem
    assert "encoder.0.conv.bias" in missing.problem


@pytest.mark.parametrize("kept_bytes", [0, 4, 1_000, 1_000_000])
def test_a_cut_file_is_refused(tmp_path: Path, good: Path, kept_bytes: int) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(good.read_bytes()[:kept_bytes])

    _refusal(WeightFile(cut))


def test_a_file_that_promises_a_huge_header_or_is_huge_is_refused(tmp_path: Path) -> None:
    header, size = tmp_path / "header.safetensors", tmp_path / "size.safetensors"
    header.write_bytes((90_000_000).to_bytes(8, "little"))
    size.write_bytes(b"")
    os.truncate(size, 200 * 2**30)  # sparse: takes no room

    assert "header = 90000000" in _refusal(WeightFile(header)).problem
    assert f"size = {200 * 2**30}" in _refusal(WeightFile(size)).problem


def test_a_file_that_is_gone_or_a_folder_is_refused(tmp_path: Path) -> None:
    assert "No such file" in _refusal(WeightFile(tmp_path / "gone.safetensors")).problem
    assert "directory" in _refusal(WeightFile(tmp_path)).problem


def test_a_file_of_another_hash_is_refused_before_it_is_opened(tmp_path: Path, good: Path) -> None:
    pinned = hashlib.sha256(good.read_bytes()).hexdigest()
    load_network(WeightFile(good, pinned, "htdemucs"))
    changed = tmp_path / "changed.safetensors"
    changed.write_bytes(good.read_bytes()[:-1] + b"\x01")

    refusal = _refusal(WeightFile(changed, pinned, "htdemucs"))

    assert pinned in refusal.problem
    assert "pipeline models fetch htdemucs" in refusal.remedy


def test_the_model_that_ships_is_installed_again_when_it_is_another(good: Path) -> None:
    refusal = _refusal(WeightFile(good, "0" * 64, "nano"))

    assert "0" * 64 in refusal.problem
    assert "Install Nightshift again" in refusal.remedy
    assert "fetch" not in refusal.remedy


def test_models_of_one_bag_must_agree(tmp_path: Path, good: Path) -> None:
    other = write_model(tmp_path / "48k.safetensors", {"samplerate": 48_000})
    six = write_model(tmp_path / "two.safetensors", {"sources": ["vocals", "other"]})

    for file, key in ((other, "samplerate"), (six, "sources")):
        with pytest.raises(StageBlocked, match=key):
            load_model(ModelFiles((WeightFile(good), WeightFile(file))))


@pytest.mark.parametrize("weights", [((1.0, 1.0),), ((1.0, 1.0, 0.0, 1.0),)])
def test_every_stem_of_a_bag_needs_a_weight(good: Path, weights: tuple[tuple[float, ...]]) -> None:
    with pytest.raises(StageBlocked, match="weights"):
        load_model(ModelFiles((WeightFile(good),), weights))


def test_a_model_gives_its_sources_rate_and_segment(good: Path) -> None:
    model = load_model(ModelFiles((WeightFile(good),)))

    assert model.sources == model.stems == tuple(SOURCES)
    assert model.sample_rate_hz == 44_100
    assert model.segments_samples == (85_995,)
    assert SMALL["segment"] == pytest.approx(85_995 / 44_100)


def test_loading_imports_neither_torch_s_compiler_nor_sympy(good: Path) -> None:
    """They take longer than reading the weights."""
    program = (
        "import sys; from stages.demucs_loader import load_model; "
        "from stages.weights import find_model; load_model(find_model(sys.argv[1])); "
        "print(*sorted({'torch._dynamo', 'torch._inductor', 'sympy'} & set(sys.modules)))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, str(good)], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == ""
