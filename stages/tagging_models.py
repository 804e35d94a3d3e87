"""Which of Essentia's models the stage `tagging` will load, and what their descriptions say.

A model is a frozen graph, NAME.pb, and its makers' description beside it, NAME.json: names of its
nodes, and its classes in their order, which differs between heads and is never guessed. Loads nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages import catalogue
from stages.base import StageBlocked, StageSettings
from stages.families import FAMILIES, Family
from stages.graphs.backends import is_installed
from stages.graphs.graph_file import GraphFile
from stages.published import ESSENTIA, models_folder
from stages.settings import TaggingSettings
from stages.weights import fetch_command, not_here

_MAX_JSON_BYTES = 1 << 20
_BACKBONES = {family.backbone for family in FAMILIES.values()}
_NOT_SLUG = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True)
class FamilyFiles:
    """A backbone and the heads that look at its embeddings, by their names."""

    family: Family
    backbone: GraphFile
    heads: Mapping[str, GraphFile]

    @property
    def graphs(self) -> tuple[GraphFile, ...]:
        """All of them, the backbone first."""
        return (self.backbone, *self.heads.values())


def slug(class_name: str) -> str:
    """Return a class name in lower case, each run of other characters than a-z0-9 as one `_`."""
    return _NOT_SLUG.sub("_", class_name.lower()).strip("_")


def prefix_of(family: str, number: int) -> str:
    """Return what stands before the names of a family: nothing of the first that is asked for."""
    return "" if number == 0 else f"{family}_"


def class_names(files: FamilyFiles) -> list[list[str]]:
    """Return what the values are called of the backbone, if it has classes, and of each head."""
    own = [(files.family.predictions, files.backbone)] if files.backbone.predictions else []
    heads = [(slug(name), head) for name, head in files.heads.items()]
    return [[f"{name}_{slug(one)}" for one in graph.classes] for name, graph in (*own, *heads)]


def tagging_weights(settings: StageSettings) -> tuple[Path, ...]:
    """Return every file that decides what the models of these settings give.

    Raises:
        StageBlocked: as `chosen_models`; or nothing is installed that could run them.
    """
    if not isinstance(settings, TaggingSettings):
        raise TypeError(f"tagging takes TaggingSettings, not {type(settings).__name__}")
    _check_backend(settings)
    return tuple(
        file
        for family in chosen_models(settings)
        for graph in family.graphs
        for file in graph.files
    )


def _check_backend(settings: TaggingSettings) -> None:
    if not is_installed(settings.backend):
        extra = "essentia" if settings.backend == "essentia" else "tagging"
        raise StageBlocked(
            f"What runs the models is not installed (tagging.backend is {settings.backend})",
            f'Install it: pip install -c constraints.txt -e ".[{extra}]"',
        )


def chosen_models(settings: TaggingSettings, folder: Path | None = None) -> tuple[FamilyFiles, ...]:
    """Return the families that are asked for, each with its heads that are on this machine.

    Args:
        folder: where they lie; by default where `pipeline models` puts them.

    Raises:
        StageBlocked: a backbone, or a head that is asked for, is not there; a description is missing
            or wrong.
    """
    folder = folder or models_folder() / ESSENTIA
    families = [family for name, family in FAMILIES.items() if name in settings.families]
    missing = [family.backbone for family in families if not _is_there(folder, family.backbone)]
    if missing:
        raise not_here(*missing)
    found = tuple(_family(folder, family, settings.heads) for family in families)
    _check_heads(found, settings.heads)
    return found


def _is_there(folder: Path, name: str) -> bool:
    # Half there is not there, as `pipeline models list` says.
    return all((folder / f"{name}{suffix}").is_file() for suffix in (".pb", ".json"))


def _family(folder: Path, family: Family, wanted: tuple[str, ...] | None) -> FamilyFiles:
    backbone = _graph_file(folder / f"{family.backbone}.pb")
    if backbone.embeddings is None:
        raise _wrong(backbone.files[1], "names no output of embeddings")
    heads = _heads(folder, family, wanted)
    graphs = {name: _graph_file(path) for name, path in heads.items()}
    for graph in graphs.values():
        if graph.predictions is None:
            raise _wrong(graph.files[1], "names no output of predictions")
    return FamilyFiles(family, backbone, graphs)


def _check_heads(found: tuple[FamilyFiles, ...], wanted: tuple[str, ...] | None) -> None:
    for name in wanted or ():
        if any(name in family.heads for family in found):
            continue
        models = [
            model.name
            for model in catalogue.CATALOGUE.values()
            if any(model.needs == (family.family.backbone,) for family in found)
            and model.name.startswith(f"{name}-")
        ]
        if models:
            raise not_here(*models)
        families = ", ".join(family.family.name for family in found)
        raise StageBlocked(
            f"There is no head {name!r} for {families}",
            "pipeline models list shows the heads; tagging.heads takes their names up to the "
            "backbone's, as danceability",
        )


def _heads(folder: Path, family: Family, wanted: tuple[str, ...] | None) -> dict[str, Path]:
    """Return the heads on a family's embeddings, of each the highest version.

    Of `danceability-msd-musicnn-1` the name is what stands before the first dash.
    """
    found = {}
    for path in sorted(folder.glob("*.pb"), key=_version):
        head = path.stem.partition("-")[0]
        if path.stem in _BACKBONES or not (wanted is None or head in wanted):
            continue
        if _is_there(folder, path.stem) and family.backbone in _backbones_of(
            path.with_suffix(".json")
        ):
            found[head] = path
    return dict(sorted(found.items()))


def _version(path: Path) -> tuple[int, str]:
    number = path.stem.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0, path.stem


def _backbones_of(description: Path) -> set[str]:
    """Return whose embeddings a head looks at, by the name and by the address in its description."""
    found: object = _description(description)
    for key in ("inference", "embedding_model"):
        found = found.get(key) if isinstance(found, dict) else None
    said = found if isinstance(found, dict) else {}
    return {Path(str(said.get(key))).stem for key in ("model_name", "link")}


def check_bytes(graph: GraphFile) -> None:
    """Hold the files of a graph against the hashes of the catalogue, or of the first fetch.

    Raises:
        StageBlocked: one has other bytes.
    """
    published = catalogue.CATALOGUE.get(graph.path.stem)
    known = {file.name: file.sha256 for file in published.files} if published else {}
    for path in graph.files:
        expected = known.get(path.name) or _first_hash(path)
        if expected is None:
            continue
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != expected:
            raise StageBlocked(
                f"{path} has the SHA-256 {found}, not {expected}: a broken or changed download",
                f"Get it again with: {fetch_command(graph.path.stem)}",
            )


def _first_hash(path: Path) -> str | None:
    """Return the hash that a file had when it was first fetched, where `pipeline models` kept it."""
    try:
        said = path.with_name(f"{path.name}.sha256").read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return None
    return said[0] if said and len(said[0]) == 64 else None


def _graph_file(path: Path) -> GraphFile:
    description = path.with_suffix(".json")
    content = _description(description)
    try:
        schema = content["schema"]
        outputs = {one.get("output_purpose"): str(one["name"]) for one in schema["outputs"]}
        return GraphFile(
            path,
            input=str(schema["inputs"][0]["name"]),
            predictions=outputs.get("predictions"),
            embeddings=outputs.get("embeddings"),
            classes=_classes(content.get("classes", [])),
        )
    except KeyError as error:
        raise _wrong(description, f"does not say its {error.args[0]}") from error
    except (IndexError, TypeError, AttributeError, ValueError) as error:
        raise _wrong(description, f"is not what is expected of one: {error}") from error


def _classes(named: object) -> tuple[str, ...]:
    if not isinstance(named, list) or not all(isinstance(one, str) for one in named):
        raise TypeError("its classes are no list of names")
    if not all(map(slug, named)):
        raise ValueError("one of its classes has no letter and no digit")
    if len({slug(one) for one in named}) < len(named):
        raise ValueError("two of its classes have one name")
    return tuple(named)


def _description(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_JSON_BYTES + 1)
    except FileNotFoundError:
        raise _wrong(path, "is not there") from None
    except OSError as error:
        raise _wrong(path, f"cannot be read: {error.strerror}") from error
    try:
        content: object = json.loads(text) if len(text) <= _MAX_JSON_BYTES else None
    except (ValueError, RecursionError) as error:
        raise _wrong(path, f"is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise _wrong(path, "is no description of a model")
    return content


def _wrong(path: Path, why: str) -> StageBlocked:
    again = f"Get both again with: {fetch_command(path.stem)}, or take both away"
    return StageBlocked(
        f"{path}, which describes {path.stem}.pb, {why}",
        again if path.stem in catalogue.CATALOGUE else "Mend it, or take both away",
    )
