"""Demucs models from safetensors, without trusting the file.

Demucs' own loader imports and calls whatever the file's metadata names. Here the file chooses among
three classes, every argument is bounded before anything is built, and the model is built without
memory, so that names and shapes are compared before one weight is read.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import re
import reprlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import torch
from demucs.apply import BagOfModels
from demucs.demucs import Demucs
from demucs.hdemucs import HDemucs
from demucs.htdemucs import HTDemucs
from safetensors import SafetensorError, safe_open
from torch.overrides import TorchFunctionMode

from stages.base import StageBlocked
from stages.weights import OWN_WEIGHTS, ModelFiles, WeightFile, mend

_CLASSES: dict[str, type[Demucs] | type[HDemucs] | type[HTDemucs]] = {
    "demucs.htdemucs.HTDemucs": HTDemucs,
    "demucs.hdemucs.HDemucs": HDemucs,
    "demucs.demucs.Demucs": Demucs,
}

# Roomy against what exists: htdemucs is 84 MB, has 533 tensors and some 2 kB of arguments.
_MAX_FILE_BYTES = 2 * 1024**3
_MAX_HEADER_BYTES = 4 * 1024**2
_MAX_JSON_CHARS = 16 * 1024
_MAX_NESTING = 3
_FLOATS = {"F16", "BF16", "F32", "F64"}

Argument: TypeAlias = "str | int | float | bool | Fraction | list[Argument] | None"
Network: TypeAlias = Demucs | HDemucs | HTDemucs


@dataclass(frozen=True)
class DemucsModel:
    """A loaded model. `stems`: those of `sources` that it gives; all, unless cut by `only`."""

    bag: BagOfModels
    networks: tuple[Network, ...]
    sources: tuple[str, ...]
    stems: tuple[str, ...]
    sample_rate_hz: int

    @property
    def segments_samples(self) -> tuple[int, ...]:
        """Length of what each network of the bag takes at once."""
        return tuple(int(network.samplerate * network.segment) for network in self.networks)

    def only(self, stems: Collection[str]) -> DemucsModel:
        """Return the same model without the networks that add nothing to `stems`.

        Of htdemucs_ft one stem then costs a quarter.
        """
        wanted = [source in stems for source in self.sources]
        kept = [
            (network, [weight if want else 1.0 for weight, want in zip(row, wanted, strict=True)])
            for network, row in zip(self.networks, self.bag.weights, strict=True)
            if any(weight and want for weight, want in zip(row, wanted, strict=True))
        ]
        networks = tuple(network for network, _ in kept)
        bag = BagOfModels(list(networks), [row for _, row in kept])
        given = tuple(source for source in self.sources if source in stems)
        return DemucsModel(bag, networks, self.sources, given, self.sample_rate_hz)


@dataclass(frozen=True)
class _Bound:
    """What an argument must be: in words, and as a test."""

    says: str
    holds: Callable[[Argument], bool]


def _whole(low: int, high: int) -> _Bound:
    def holds(value: Argument) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

    return _Bound(f"a whole number from {low} to {high}", holds)


def _number(low: float, high: float) -> _Bound:
    def holds(value: Argument) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float | Fraction):
            return False
        return low <= value <= high

    return _Bound(f"a number from {low:g} to {high:g}", holds)


def _list(item: _Bound, low: int, high: int) -> _Bound:
    def holds(value: Argument) -> bool:
        return isinstance(value, list) and low <= len(value) <= high and all(map(item.holds, value))

    return _Bound(f"a list of {low} to {high}, each {item.says}", holds)


def _word(pattern: str) -> _Bound:
    def holds(value: Argument) -> bool:
        return isinstance(value, str) and re.fullmatch(pattern, value) is not None

    return _Bound(f"a text like {pattern}", holds)


def _or(*bounds: _Bound) -> _Bound:
    says = " or ".join(bound.says for bound in bounds)
    return _Bound(says, lambda value: any(bound.holds(value) for bound in bounds))


_FLAG = _Bound("true or false", lambda value: isinstance(value, bool))
_OFF = _Bound("false", lambda value: value is False)
_NULL = _Bound("null", lambda value: value is None)
_GROUPS = _or(_FLAG, _whole(0, 64))
_CHANNELS = _whole(1, 1024)  # Demucs' widest has 64
_ANY_LAYER = _whole(0, 10_000)  # "from this layer on": a large one switches it off

# Every argument of the three classes; one that is not here is refused. What these let through
# costs no memory to build and, once the shapes match the file, no more than the file to load.
_BOUNDS: dict[str, _Bound] = {
    # A source becomes a file name, too.
    "sources": _list(_word(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}"), 1, 16),
    "audio_channels": _whole(2, 2),  # everything after this is stereo
    "channels": _CHANNELS,
    "channels_time": _or(_NULL, _CHANNELS),
    "growth": _number(0.5, 4),
    "nfft": _whole(64, 16_384),
    "wiener_iters": _whole(-1, 10),
    "end_iters": _whole(-1, 10),
    "wiener_residual": _FLAG,
    "cac": _FLAG,
    "depth": _whole(1, 8),
    "rewrite": _FLAG,
    "hybrid": _FLAG,
    "hybrid_old": _FLAG,
    "multi_freqs": _or(_NULL, _list(_number(0, 1), 0, 4)),
    "multi_freqs_depth": _whole(0, 8),
    "freq_emb": _or(_FLAG, _number(0, 100)),
    "emb_scale": _number(0.001, 1000),
    "emb_smooth": _FLAG,
    "lstm_layers": _whole(0, 8),
    "kernel_size": _whole(1, 64),
    "time_stride": _whole(1, 16),
    "stride": _whole(1, 16),
    "context": _whole(0, 16),
    "context_enc": _whole(0, 16),
    "gelu": _FLAG,
    "glu": _FLAG,
    "norm_starts": _ANY_LAYER,
    "norm_groups": _whole(1, 64),
    "dconv_mode": _whole(0, 3),
    "dconv_depth": _whole(-4, 4),  # below 0: without dilation
    "dconv_comp": _number(1, 64),
    "dconv_attn": _ANY_LAYER,
    "dconv_lstm": _ANY_LAYER,
    "dconv_init": _number(0, 10),
    "normalize": _FLAG,
    "resample": _FLAG,
    "bottom_channels": _whole(0, 4096),
    "t_layers": _whole(0, 16),
    "t_emb": _word("sin|cape|scaled"),
    "t_hidden_scale": _number(0.1, 16),
    "t_heads": _whole(1, 64),
    "t_dropout": _number(0, 0.99),
    "t_max_positions": _whole(1, 1_000_000),
    "t_norm_in": _FLAG,
    "t_norm_in_group": _GROUPS,
    "t_group_norm": _GROUPS,
    "t_norm_first": _FLAG,
    "t_norm_out": _GROUPS,
    "t_max_period": _number(1, 1e9),
    "t_weight_decay": _number(0, 1e6),
    "t_lr": _or(_NULL, _number(0, 1e6)),
    "t_layer_scale": _FLAG,
    "t_gelu": _FLAG,
    "t_weight_pos_embed": _number(-1e3, 1e3),
    "t_sin_random_shift": _whole(0, 0),  # anything else is random at every call
    "t_cape_mean_normalize": _FLAG,
    "t_cape_augment": _FLAG,
    "t_cape_glob_loc_scale": _list(_number(0, 1e6), 3, 3),
    "t_sparse_self_attn": _OFF,  # needs xformers
    "t_sparse_cross_attn": _OFF,
    "t_mask_type": _word("[a-z_]{1,64}"),
    "t_mask_random_seed": _whole(0, 2**32 - 1),
    "t_sparse_attn_window": _whole(0, 100_000),
    "t_global_window": _whole(0, 100_000),
    "t_sparsity": _number(0, 1),
    "t_auto_sparsity": _OFF,
    "t_cross_first": _FLAG,
    "rescale": _or(_FLAG, _number(0, 10)),
    "samplerate": _whole(8_000, 192_000),
    "segment": _number(0.1, 120),
    "use_train_segment": _FLAG,
}

# Arguments that decide nothing but the first values of weights, which the file replaces.
_FIRST_VALUES = {"rescale": False, "emb_smooth": False}


def load_model(files: ModelFiles) -> DemucsModel:
    """Load the models of a bag, on the CPU, float32, ready to infer.

    Raises:
        StageBlocked: a file is not what it should be; names the file, the key and the value.
    """
    networks = tuple(load_network(file) for file in files.files)
    first = networks[0]
    for network, file in zip(networks, files.files, strict=True):
        for key in ("sources", "samplerate"):
            if getattr(network, key) != getattr(first, key):
                _refuse(file.path, key, getattr(network, key), f"must be {getattr(first, key)!r}")
    sources = tuple(map(str, first.sources))
    rows = files.weights or tuple((1.0,) * len(sources) for _ in networks)
    if any(len(row) != len(sources) for row in rows) or not all(map(sum, zip(*rows, strict=True))):
        where = files.recipe or files.files[0].path
        _refuse(where, "weights", rows, f"must give each of {', '.join(sources)} a weight")
    bag = BagOfModels(list(networks), [list(row) for row in rows], files.segment_s)
    return DemucsModel(bag, networks, sources, sources, int(first.samplerate))


def load_network(file: WeightFile) -> Network:
    """Load one network of a bag.

    Raises:
        StageBlocked: the file is not what it should be; names the file, the key and the value.
    """
    _check_bytes(file)
    try:
        with safe_open(str(file.path), framework="pt") as opened:
            network = _build(file.path, opened.metadata() or {})
            shapes = {name: list(empty.shape) for name, empty in network.state_dict().items()}
            _compare(file.path, shapes, opened)
            weights = {name: _weight(file.path, name, opened) for name in shapes}
    except SafetensorError as error:
        _refuse(file.path, "header", str(error), "is not that of a whole safetensors file")
    # Not the class's own method: Demucs overrides it, and cannot assign.
    torch.nn.Module.load_state_dict(network, weights, strict=True, assign=True)
    _check_no_meta(file.path, network)
    network.eval().requires_grad_(False)
    return network


def _check_bytes(file: WeightFile) -> None:
    try:
        with file.path.open("rb") as opened:
            size = opened.seek(0, 2)
            opened.seek(0)
            header_bytes = int.from_bytes(opened.read(8), "little")
            opened.seek(0)
            if size > _MAX_FILE_BYTES:
                _refuse(file.path, "size", size, f"must be at most {_MAX_FILE_BYTES} bytes")
            if header_bytes > _MAX_HEADER_BYTES:
                _refuse(file.path, "header", header_bytes, f"must be at most {_MAX_HEADER_BYTES}")
            found = hashlib.file_digest(opened, "sha256").hexdigest() if file.sha256 else ""
    except OSError as error:
        raise StageBlocked(f"{file.path} cannot be read: {error.strerror}", _mend(file)) from error
    if found != file.sha256:
        raise StageBlocked(
            f"{file.path} has the SHA-256 {found}, not {file.sha256}: broken, or changed since",
            _mend(file),
        )


_IN_PLACE = re.compile(r"[a-z][a-z_]*[a-z]_")  # torch's convention: div_, fill_


class _ShapesOnly(TorchFunctionMode):
    """Leaves out what gives weights their first values.

    On the meta device torch does that in Python, and imports its compiler and sympy for it: more
    than a second of a lane's start. What is done in place is done to values.
    """

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        is_first = getattr(function, "__module__", "") == "torch.nn.init"
        if is_first or _IN_PLACE.fullmatch(getattr(function, "__name__", "")):
            return args[0] if args else kwargs["tensor"]
        return function(*args, **(kwargs or {}))


def _build(path: Path, metadata: dict[str, str]) -> Network:
    """Build the network the metadata asks for on the meta device: shapes, no memory."""
    if "structure" in metadata:
        _refuse(path, "structure", "...", "marks quantised weights, which may import any class")
    name = metadata.get("klass", "")
    if name not in _CLASSES:
        _refuse(path, "klass", name, f"must be one of {', '.join(_CLASSES)}")
    known = list(inspect.signature(_CLASSES[name]).parameters)
    arguments = _arguments(path, metadata, known)
    for key, value in arguments.items():
        if not _BOUNDS[key].holds(value):
            _refuse(path, key, value, f"must be {_BOUNDS[key].says}")
    sources = arguments.get("sources")
    if not isinstance(sources, list) or len(set(map(str, sources))) != len(sources):
        _refuse(path, "sources", sources, "must be given, each once")
    arguments |= {key: value for key, value in _FIRST_VALUES.items() if key in known}
    try:
        with torch.device("meta"), _ShapesOnly():
            network: Network = _CLASSES[name](**arguments)
            return network
    except (AssertionError, ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as e:
        _refuse(path, "kwargs", f"{type(e).__name__}: {e}", f"is what {name} says to its arguments")


def _arguments(path: Path, metadata: dict[str, str], allowed: list[str]) -> dict[str, Argument]:
    args, kwargs = _decoded(path, "args", metadata), _decoded(path, "kwargs", metadata)
    if not isinstance(args, list) or len(args) > len(allowed):
        _refuse(path, "args", args, f"must be a list of at most {len(allowed)}")
    if not isinstance(kwargs, dict):
        _refuse(path, "kwargs", kwargs, "must be a mapping")
    for key, value in kwargs.items():
        if key not in allowed[len(args) :] or key not in _BOUNDS:
            _refuse(path, key, value, "is not an argument of this class, or is given twice")
    given: dict[str, object] = {**dict(zip(allowed, args, strict=False)), **kwargs}
    return {key: _argument(path, key, value, nesting=1) for key, value in given.items()}


def _decoded(path: Path, key: str, metadata: dict[str, str]) -> object:
    text = metadata.get(key, "")
    if len(text) > _MAX_JSON_CHARS:
        _refuse(path, key, text, f"is longer than {_MAX_JSON_CHARS} characters")
    try:
        decoded: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        _refuse(path, key, text, f"is not JSON ({type(error).__name__})")
    return decoded


def _argument(path: Path, key: str, value: object, *, nesting: int) -> Argument:
    """Decode one JSON value as Demucs does: a mapping is a fraction."""
    if isinstance(value, list) and nesting < _MAX_NESTING:
        return [_argument(path, key, item, nesting=nesting + 1) for item in value]
    if isinstance(value, dict):
        return _fraction(path, key, value)
    if value is None or isinstance(value, str | int | float):
        return value
    _refuse(path, key, value, f"is nested deeper than {_MAX_NESTING} levels")


def _fraction(path: Path, key: str, value: dict[str, object]) -> Fraction:
    upper, lower = value.get("numerator"), value.get("denominator")
    if (
        value.keys() == {"_type", "numerator", "denominator"}
        and value["_type"] == "fraction"
        and isinstance(upper, int)
        and isinstance(lower, int)
        and abs(upper) <= 10**9
        and 1 <= lower <= 10**9
    ):
        return Fraction(upper, lower)
    _refuse(path, key, value, "must be a fraction of whole numbers up to 1e9")


def _compare(path: Path, shapes: dict[str, list[int]], opened: Any) -> None:
    """Compare names, shapes and types of all tensors without reading one."""
    found = set(opened.keys())
    for name in sorted(shapes.keys() - found):
        _refuse(path, name, "missing", "is a tensor this model needs")
    for name in sorted(found - shapes.keys()):
        _refuse(path, name, "present", "is no tensor of this model")
    for name, shape in shapes.items():
        tensor = opened.get_slice(name)
        if tensor.get_shape() != shape:
            _refuse(path, name, tensor.get_shape(), f"must have the shape {shape}")
        if tensor.get_dtype() not in _FLOATS:
            _refuse(path, name, tensor.get_dtype(), f"must be one of {', '.join(sorted(_FLOATS))}")


def _weight(path: Path, name: str, opened: Any) -> torch.Tensor:
    # A copy: the tensor read is a view of the mapped file, which somebody may replace or cut.
    tensor: torch.Tensor = opened.get_tensor(name).to(torch.float32, copy=True)
    if not torch.isfinite(tensor).all():
        _refuse(path, name, "NaN or infinity", "stands among the weights")
    return tensor


def _check_no_meta(path: Path, network: Network) -> None:
    """Refuse a network that would compute with a tensor its file did not fill."""
    for name, part in network.named_modules():
        for key, value in chain(part.named_parameters(), part.named_buffers(), vars(part).items()):
            if isinstance(value, torch.Tensor) and value.is_meta:
                _refuse(path, f"{name}.{key}", "empty", "was not filled by the weights")


def _refuse(path: Path, key: str, value: object, why: str) -> NoReturn:
    shown = reprlib.repr(value) if not isinstance(value, str) else value[:120]
    raise StageBlocked(f"{path}: {key} = {shown} {why}", _remedy())


def _mend(file: WeightFile) -> str:
    return f"What mends it:\n  {mend(file.model)}" if file.model else _remedy()


def _remedy() -> str:
    return f"Fetch the weights again, {OWN_WEIGHTS}."
