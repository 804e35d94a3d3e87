"""The settings of a run: read once by the command line, checked, frozen, passed down.

Later ones win: defaults, `pipeline.toml` in the output folder (or `--config`), environment
(`NIGHTSHIFT_LOUDNESS__SERIES_HOP_MS=50`), options and `--set`.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import time
from importlib import import_module
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
    field_validator,
)

from pipeline.errors import BadUsage
from pipeline.machine import Machine
from stages.base import Declaration, JsonValue, StageSettings

FILE_NAME = "pipeline.toml"
OUT_NAME = "_pipeline"
REGISTRY = "stages:STAGES"
_PREFIX = "NIGHTSHIFT_"
# Where stages are registered, and what the tests tell their fake ones.
_OTHER_VARIABLES = {"registry", "test_script", "test_calls", "test_kill", "test_way"}


Order = Literal["found", "path", "shortest", "longest", "newest", "random"]
"""Which tracks come first."""


def _time_of_day(given: object) -> object:
    """Read `07:00`, or `07:00:30`, as a time of the local day; TOML has such times too."""
    if isinstance(given, str) and re.fullmatch(r"([01]\d|2[0-3])(:[0-5]\d){1,2}", given):
        return time.fromisoformat(given)
    if given is None or (isinstance(given, time) and given.tzinfo is None):
        return given
    raise ValueError("give a time of the day, HH:MM, from 00:00 to 23:59")


class DecodeSettings(BaseModel):
    """What decoding refuses."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_duration_s: float = Field(default=4 * 3600, gt=0)
    max_bytes: int = Field(default=8 << 30, gt=0)
    allow_partial: bool = False


class Limits(BaseModel):
    """When a lane is taken for hanging, stopped or recycled, when the disk for full; how often to look."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hang_base_s: float = Field(default=120, gt=0)
    hang_per_audio_s: float = Field(default=2, ge=0)
    load_s: float = Field(default=600, gt=0)
    grace_s: float = Field(default=10, ge=0)
    orphan_wait_s: float = Field(default=10, ge=0)
    lane_bytes: int | None = Field(default=None, gt=0)
    min_free_bytes: int = Field(default=1 << 30, ge=0)
    min_free_files: int = Field(default=1000, ge=0)
    sample_every_s: float = Field(default=10, ge=0)


class CommonSettings(BaseModel):
    """Settings that are no stage's own. Those of each stage stand in a table of its name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stages: tuple[str, ...] | None = None
    device: str = "auto"
    threads: int | None = Field(default=None, ge=1, le=4096)
    until: Annotated[time | None, BeforeValidator(_time_of_day)] = None
    limit: int | None = Field(default=None, ge=1)
    order: Order = "found"
    overlap: bool = False
    decode: DecodeSettings = DecodeSettings()
    limits: Limits = Limits()

    @field_validator("device")
    @classmethod
    def _known_device(cls, device: str) -> str:
        if not re.fullmatch(r"auto|cpu|rocm|cuda(:\d{1,3})?", device):
            raise ValueError("give auto, cpu, cuda, cuda:N or rocm")
        return device


@dataclass(frozen=True)
class RunConfig:
    """Everything that a run is told."""

    dataset: Path
    out: Path
    registry: str
    declarations: Mapping[str, Declaration]
    selected: tuple[str, ...]
    stage_settings: Mapping[str, StageSettings]
    device: str
    threads: int | None
    decode: DecodeSettings
    limits: Limits
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    names: tuple[bytes, ...] | None = None
    until: time | None = None
    limit: int | None = None
    order: Order = "found"
    overlap: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)


def out_folder(dataset: Path, out: Path | None) -> tuple[Path, Path]:
    """Return dataset and output folder; `dataset` may be the output folder itself.

    Raises:
        BadUsage: there is no such folder.
    """
    given = Path(dataset)
    if not given.is_dir():
        raise BadUsage(f"{given} is no folder. Give the folder that holds the audio.")
    dataset = given.resolve()
    if (dataset / "ledger.db").exists() and (dataset / "tracks").is_dir():
        return _dataset_of(dataset), dataset
    if out is None:
        return dataset, dataset / OUT_NAME
    out = out.absolute()
    if dataset.is_relative_to(out.resolve()):
        raise BadUsage(
            f"--out {out} holds the dataset itself. Name a folder beside it or below it."
        )
    return dataset, out


def _dataset_of(out: Path) -> Path:
    """Return the dataset of an output folder: the one above it, or the one it was made for."""
    known = Machine.read(out).dataset
    if out.name == OUT_NAME or known is None:
        return out.parent
    return Path(os.fsdecode(known))


def load_registry(target: str) -> dict[str, Declaration]:
    """Import a registry, `module:NAME`. Light: it names the stages without importing them.

    Raises:
        BadUsage: there is none by that name.
    """
    module, _, name = target.partition(":")
    try:
        found: dict[str, Declaration] = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise BadUsage(f"NIGHTSHIFT_REGISTRY={target}: {error}. Give module:NAME.") from error
    return found


def load(
    dataset: Path,
    *,
    out: Path | None = None,
    file: Path | None = None,
    overrides: Mapping[str, JsonValue] | None = None,
    assignments: Sequence[str] = (),
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    names: Sequence[bytes] | None = None,
    environment: Mapping[str, str],
) -> RunConfig:
    """Read and check the settings of a run.

    Args:
        overrides: from options, as nested tables; None values are left out by the caller.
        assignments: of `--set`, each `stage.key=value`, the value as TOML or plain text.

    Raises:
        BadUsage: a setting is unknown or has an impossible value; the message names it.
    """
    dataset, out = out_folder(dataset, out)
    registry = environment.get("NIGHTSHIFT_REGISTRY", REGISTRY)
    declarations = load_registry(registry)
    toml = file if file is not None else out / FILE_NAME
    tables = _read_toml(toml, must_exist=file is not None)
    variables = _from_environment(environment, {*CommonSettings.model_fields, *declarations})
    for above in (variables, overrides or {}, _assigned(assignments)):
        tables = merged(tables, above)
    settings = _checked(declarations, tables, toml)
    selected = settings.stages if settings.stages is not None else tuple(declarations)
    unknown = [name for name in selected if name not in declarations]
    if unknown or not selected:
        raise BadUsage(
            f"there is no stage {', '.join(unknown) or 'selected'}. Stages: {', '.join(declarations)}."
        )
    return RunConfig(
        dataset=dataset,
        out=out,
        registry=registry,
        declarations=declarations,
        selected=tuple(name for name in declarations if name in selected),
        stage_settings={name: getattr(settings, name) for name in declarations},
        device=settings.device,
        threads=settings.threads,
        decode=settings.decode,
        limits=settings.limits,
        include=tuple(include),
        exclude=tuple(exclude),
        names=tuple(names) if names is not None else None,
        until=settings.until,
        limit=settings.limit,
        order=settings.order,
        overlap=settings.overlap,
        environment=environment,
    )


def _from_environment(environment: Mapping[str, str], known: set[str]) -> dict[str, JsonValue]:
    """Return the tables that variables set: `NIGHTSHIFT_STAGE__KEY=value`, values as for `--set`.

    Raises:
        BadUsage: one sets nothing.
    """
    tables: dict[str, JsonValue] = {}
    for name in sorted(environment):
        parts = name.removeprefix(_PREFIX).lower().split("__")
        if not name.startswith(_PREFIX) or parts[0] in _OTHER_VARIABLES or not environment[name]:
            continue
        if parts[0] not in known:
            raise BadUsage(
                f"{name} sets nothing: {parts[0]} is no setting. Settings: {', '.join(sorted(known))}."
            )
        tables = merged(tables, _nested(parts, environment[name]))
    return tables


def _nested(parts: Sequence[str], text: str) -> dict[str, JsonValue]:
    value = _value(text)
    for part in reversed(parts[1:]):
        value = {part: value}
    return {parts[0]: value}


def _checked(
    declarations: Mapping[str, Declaration], tables: Mapping[str, JsonValue], file: Path
) -> CommonSettings:
    fields = {name: (one.settings, one.settings()) for name, one in declarations.items()}
    model = create_model("Settings", __base__=CommonSettings, **fields)  # type: ignore[call-overload]
    try:
        checked: CommonSettings = model.model_validate(tables)
    except ValidationError as error:
        raise BadUsage(_explained(error, file)) from error
    return checked


def _explained(error: ValidationError, file: Path) -> str:
    lines = []
    for one in error.errors():
        name = ".".join(str(part) for part in one["loc"])
        lines.append(f"setting {name}: {one['msg']} (given: {one['input']!r})")
    return "; ".join(lines) + f". Look at {file}, --set and NIGHTSHIFT_… variables."


def _read_toml(file: Path, *, must_exist: bool) -> dict[str, JsonValue]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if must_exist:
            raise BadUsage(f"there is no settings file {file}.") from None
        return {}
    except (OSError, ValueError) as error:
        raise BadUsage(f"{file} cannot be read: {error}.") from error


def _assigned(assignments: Sequence[str]) -> dict[str, JsonValue]:
    tables: dict[str, JsonValue] = {}
    for assignment in assignments:
        key, sign, text = assignment.partition("=")
        parts = key.strip().split(".")
        if not sign or not all(parts):
            raise BadUsage(
                f"--set {assignment}: give stage.key=value, for example loudness.series_hop_ms=50."
            )
        tables = merged(tables, _nested(parts, text.strip()))
    return tables


def _value(text: str) -> JsonValue:
    """Read a value as TOML; plain words, and what only looks like a number, stay as written."""
    try:
        value: JsonValue = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    # Demucs names its files like 955717e8; where a float is wanted, its text will do.
    return text if isinstance(value, float) else value


def merged(below: dict[str, JsonValue], above: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Lay one set of tables over another."""
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            result[key] = merged(old, value)
        else:
            result[key] = value
    return result
