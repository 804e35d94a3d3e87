"""Where a Demucs model's weights are, and what brings or mends them. Loads nothing."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

from stages import catalogue
from stages.base import StageBlocked, StageSettings
from stages.published import Kind, PublishedModel, folder_of
from stages.settings import SeparationSettings

OWN_WEIGHTS = "or give your own with --model FOLDER_OR_FILE"
_TRY_OUT = "or try it out with the small model that is bundled: --model nano"

# A signature becomes a file name: nothing in it may leave the folder.
_SIGNATURE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_PICKLES = (".th", ".pt", ".pth", ".ckpt", ".bin", ".pkl")
_MAX_YAML_BYTES = 64 * 1024
_MAX_MODELS = 16  # Demucs' largest bag has 4
_MAX_SEGMENT_S = 120.0  # Demucs' longest is 44 s; memory grows with it


@dataclass(frozen=True)
class WeightFile:
    """One file of weights. `sha256` and `model`, its name in the catalogue, are empty for a user's own."""

    path: Path
    sha256: str = ""
    model: str = ""


@dataclass(frozen=True)
class ModelFiles:
    """The files of one model, in the order of its bag.

    `weights` has one row per file and one column per source, `None` for all ones; `segment_s`
    overrides the models' own segment. `recipe` is the bag's YAML file, where there is one.
    """

    files: tuple[WeightFile, ...]
    weights: tuple[tuple[float, ...], ...] | None = None
    segment_s: float | None = None
    recipe: Path | None = None


def demucs_weights(settings: StageSettings) -> tuple[Path, ...]:
    """Return every file that decides what the model of these settings computes.

    Raises:
        StageBlocked: a file is missing, or the model is unknown.
    """
    if not isinstance(settings, SeparationSettings):
        raise TypeError(f"separation takes SeparationSettings, not {type(settings).__name__}")
    model = find_model(settings.model)
    recipe = (model.recipe,) if model.recipe else ()
    return (*recipe, *(file.path for file in model.files))


def find_model(model: str) -> ModelFiles:
    """Return the files of a catalogue name, a safetensors file or a folder in Demucs' form.

    Raises:
        StageBlocked: a file is missing, or the model is unknown.
    """
    published = catalogue.CATALOGUE.get(model)
    if published is not None and published.kind is Kind.SEPARATION:
        return _from_catalogue(published)
    path = Path(os.path.expanduser(model))
    if os.path.isdir(path):  # unlike Path's own, never raises: not for a name too long either
        return _from_folder(path)
    if path.suffix in _PICKLES:
        raise StageBlocked(
            f"{path} is a pickle, and loading one runs whatever code it holds",
            "Convert it to safetensors where you trust it, as tools/export_hf.py of "
            f"github.com/adefossez/demucs does, and give that with --model. {_known()}",
        )
    if path.suffix == ".safetensors" and os.path.isfile(path):
        return ModelFiles((WeightFile(path),))
    if os.path.isfile(path):
        raise StageBlocked(f"{path} is not a .safetensors file", _known())
    raise StageBlocked(f"There is no model, file or folder named {model[:200]!r}", _known())


def fetch_command(*models: str) -> str:
    """Return the command that fetches models of the catalogue."""
    return f"pipeline models fetch {' '.join(models)}"


def mend(model: str) -> str:
    """Return, in one line, what brings back a model of the catalogue that is damaged or not there."""
    if catalogue.CATALOGUE[model].ships:
        return "Install Nightshift again; in a clone of it: git restore stages/bundled"
    return fetch_command(model)


def not_here(*models: str) -> StageBlocked:
    """Return the refusal of a stage whose published models are not on this machine."""
    return StageBlocked(
        f"The weights of {', '.join(models)} are not on this machine",
        f"Fetch them with:\n  {fetch_command(*models)}\n"
        "or, without a network, with: pipeline models import FOLDER",
    )


def _known() -> str:
    names = (name for name, model in catalogue.CATALOGUE.items() if model.kind is Kind.SEPARATION)
    return f"Known models: {', '.join(names)}; {OWN_WEIGHTS}."


def _from_catalogue(model: PublishedModel) -> ModelFiles:
    folder = folder_of(model)
    files = tuple(
        WeightFile(folder / file.name, file.sha256 or "", model.name) for file in model.files
    )
    if not all(file.path.is_file() for file in files):
        if model.ships:
            raise StageBlocked(
                f"{model.name}, which ships with Nightshift, is not in {folder}", mend(model.name)
            )
        blocked = not_here(model.name)
        raise StageBlocked(blocked.problem, f"{blocked.remedy}\n{OWN_WEIGHTS}\n{_TRY_OUT}")
    return ModelFiles(files, model.bag)


def _from_folder(folder: Path) -> ModelFiles:
    recipe = _recipe_in(folder)
    if recipe:
        return _from_recipe(recipe)
    files = sorted(folder.glob("*.safetensors"))
    if len(files) != 1:
        names = ", ".join(file.name for file in files) or "none"
        raise StageBlocked(
            f"{folder} has no .yaml, and must then hold exactly one .safetensors file, not {names}",
            "Name the file itself with --model, or add Demucs' NAME.yaml with the line "
            f"models: ['SIGNATURE', ...]. {_known()}",
        )
    return ModelFiles((WeightFile(files[0]),))


def _recipe_in(folder: Path) -> Path | None:
    recipes = sorted(folder.glob("*.yaml"))
    named = [recipe for recipe in recipes if recipe.stem == folder.resolve().name]
    if len(recipes) > 1 and not named:
        names = ", ".join(recipe.name for recipe in recipes)
        raise StageBlocked(
            f"{folder} holds several models: {names}",
            f"Keep one .yaml in it, or rename one to {folder.resolve().name}.yaml.",
        )
    return next(iter(named or recipes), None)


def _from_recipe(recipe: Path) -> ModelFiles:
    content = _read_yaml(recipe)
    unknown = sorted(str(key) for key in content.keys() - {"models", "weights", "segment"})
    if unknown:
        raise _wrong(recipe, ", ".join(unknown), "is none of models, weights, segment")
    files = tuple(
        WeightFile(recipe.parent / f"{signature}.safetensors")
        for signature in _signatures(recipe, content.get("models"))
    )
    for file in files:
        if not file.path.is_file():
            raise StageBlocked(
                f"{recipe} names {file.path.name}, which is not beside it",
                f"Put {file.path.name} into {recipe.parent}, {OWN_WEIGHTS}.",
            )
    weights = _weights(recipe, content.get("weights"), models=len(files))
    return ModelFiles(files, weights, _segment_s(recipe, content.get("segment")), recipe)


def _read_yaml(recipe: Path) -> dict[object, object]:
    try:
        import yaml  # lazy: `pipeline status` must work without the extra
    except ImportError:
        raise StageBlocked(
            f"PyYAML, which reads {recipe}, is not installed",
            'Install it with: pip install "nightshift[separation]"',
        ) from None
    try:
        with recipe.open("rb") as file:
            text = file.read(_MAX_YAML_BYTES + 1)
    except OSError as error:
        raise _wrong(recipe, "the file", f"cannot be read: {error.strerror}") from error
    if len(text) > _MAX_YAML_BYTES:
        raise _wrong(
            recipe, f"more than {_MAX_YAML_BYTES} bytes", "is too long for a list of models"
        )
    try:
        content: object = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise _wrong(recipe, type(error).__name__, "was met reading it as YAML") from error
    if not isinstance(content, dict):
        raise _wrong(recipe, type(content).__name__, "is not a mapping with the key models")
    return content


def _signatures(recipe: Path, value: object) -> list[str]:
    if not isinstance(value, list) or not 1 <= len(value) <= _MAX_MODELS:
        raise _wrong(recipe, "models", f"must be a list of 1 to {_MAX_MODELS} signatures")
    for signature in value:
        if not isinstance(signature, str) or not _SIGNATURE.fullmatch(signature):
            shown = repr(signature)[:40]
            raise _wrong(
                recipe, f"models: {shown}", "must be a quoted file name without its suffix"
            )
    return value


def _weights(recipe: Path, value: object, *, models: int) -> tuple[tuple[float, ...], ...] | None:
    if value is None:
        return None
    rows = value if isinstance(value, list) else []
    if len(rows) != models or not all(_is_row(row) and len(row) == len(rows[0]) for row in rows):
        raise _wrong(
            recipe, "weights", f"must be {models} lists, each of one number from 0 per source"
        )
    return tuple(tuple(float(number) for number in row) for row in rows)


def _is_row(row: object) -> bool:
    return (
        isinstance(row, list)
        and 1 <= len(row) <= _MAX_MODELS
        and all(_is_number(number) and 0 <= number <= 1e6 for number in row)
    )


def _segment_s(recipe: Path, value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, int | float) and _is_number(value) and 0.1 <= value <= _MAX_SEGMENT_S:
        return value
    raise _wrong(recipe, f"segment: {repr(value)[:40]}", f"must be 0.1 to {_MAX_SEGMENT_S} seconds")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _wrong(recipe: Path, what: str, why: str) -> StageBlocked:
    return StageBlocked(f"{recipe}: {what} {why}", f"Mend the file, {OWN_WEIGHTS}.")
