"""Where a Demucs model's weights are, and the command that fetches them. Loads nothing."""

from __future__ import annotations

import math
import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from stages.base import StageBlocked, StageSettings
from stages.settings import SeparationSettings

OWN_WEIGHTS = "or give your own with --model FOLDER_OR_FILE"

# A signature becomes a file name: nothing in it may leave the folder.
_SIGNATURE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_PICKLES = (".th", ".pt", ".pth", ".ckpt", ".bin", ".pkl")
_MAX_YAML_BYTES = 64 * 1024
_MAX_MODELS = 16  # Demucs' largest bag has 4
_MAX_SEGMENT_S = 120.0  # Demucs' longest is 44 s; memory grows with it


@dataclass(frozen=True)
class WeightFile:
    """One file of weights. `sha256` and `url` are empty for a user's own."""

    path: Path
    sha256: str = ""
    url: str = ""

    @property
    def fetch_command(self) -> str:
        """The command that fetches this file to its place."""
        return f"curl --create-dirs -fLo {shlex.quote(str(self.path))} {self.url}"


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


@dataclass(frozen=True)
class CatalogueModel:
    """A published model: where it is, pinned to a revision, and the SHA-256 of every file."""

    name: str
    repository: str
    revision: str
    files: tuple[tuple[str, str], ...]
    weights: tuple[tuple[float, ...], ...] | None = None

    def in_folder(self, folder: Path) -> ModelFiles:
        """Return its files as they lie in `folder`, there or not."""
        base = f"https://huggingface.co/{self.repository}/resolve/{self.revision}"
        files = tuple(
            WeightFile(folder / file, sha256, f"{base}/{file}") for file, sha256 in self.files
        )
        return ModelFiles(files, self.weights)


CATALOGUE: dict[str, CatalogueModel] = {
    model.name: model
    for model in (
        CatalogueModel(
            name="htdemucs",
            repository="adefossez/HTDemucs",
            revision="bf35a81b663819a8255c8fefee17f9d812b786b5",
            files=(
                (
                    "955717e8.safetensors",
                    "d9fa14133cfcc034a6758923bb3a8ca9f8dfd0b582134643bbf83f72c17576dd",
                ),
            ),
        ),
        CatalogueModel(
            name="htdemucs_ft",
            repository="adefossez/HTDemucs-ft",
            revision="478be8a68f85418addd6f7baefd4be76522a4034",
            files=(
                (
                    "f7e0c4bc.safetensors",
                    "2c85ab3c62dd6edd8e0b965e38b16fd1cdde357cc25de6b6bc9ce7c83f60925f",
                ),
                (
                    "d12395a8.safetensors",
                    "5b01a97567ae9a3178a6236fb520251045c03eb8834bc8c24a4eec11d6c8fb56",
                ),
                (
                    "92cfc3b6.safetensors",
                    "a241863551f30d01c42bd7b97da40839922ead3acb0f1fcab25682f55b4eeb59",
                ),
                (
                    "04573f0d.safetensors",
                    "68854b0d7c2b3274723b5761f6fd9f5aec5f1bcd3f0de7c1669546fdb7871b7c",
                ),
            ),
            # Each is a whole model of which only the stem it was tuned for counts.
            weights=(
                (1.0, 0.0, 0.0, 0.0),  # drums
                (0.0, 1.0, 0.0, 0.0),  # bass
                (0.0, 0.0, 1.0, 0.0),  # other
                (0.0, 0.0, 0.0, 1.0),  # vocals
            ),
        ),
        CatalogueModel(
            name="htdemucs_6s",
            repository="adefossez/HTDemucs-6s",
            revision="3c5ee475be622df764938de97e4281a7b07ffa58",
            files=(
                (
                    "5c90dfd2.safetensors",
                    "d2a1745f0744721f6b8ca5bf469b67c651ea5ed1b52998cab033b2158609d411",
                ),
            ),
        ),
    )
}


def models_folder(home: Path | None = None) -> Path:
    """Return the folder that holds one folder per catalogue model."""
    try:
        return (home or Path.home()) / ".cache" / "nightshift" / "models"
    except RuntimeError as error:
        raise StageBlocked(
            "This user has no home folder, where models are kept",
            "Set HOME, or give weights with --model FOLDER_OR_FILE",
        ) from error


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
    if model in CATALOGUE:
        return _from_catalogue(CATALOGUE[model])
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


def _known() -> str:
    return f"Known models: {', '.join(CATALOGUE)}; {OWN_WEIGHTS}."


def _from_catalogue(model: CatalogueModel) -> ModelFiles:
    found = model.in_folder(models_folder() / model.name)
    missing = [file for file in found.files if not file.path.is_file()]
    if missing:
        commands = "\n  ".join(file.fetch_command for file in missing)
        raise StageBlocked(
            f"The weights of {model.name} are not on this machine",
            f"Fetch them with:\n  {commands}\n{OWN_WEIGHTS}.",
        )
    return found


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
