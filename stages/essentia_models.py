"""Which of Essentia's models are on this machine, and what their descriptions say. Loads nothing.

A model is a frozen graph, NAME.pb, and its makers' description beside it, NAME.json: names of its
nodes, and its classes in their order, which differs between heads and is never guessed.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.base import StageBlocked, StageSettings
from stages.published import ESSENTIA, models_folder
from stages.settings import EssentiaSettings
from stages.weights import fetch_command

BACKBONE = "msd-musicnn-1"

_MAX_JSON_BYTES = 1 << 20
_NOT_SLUG = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True)
class GraphFile:
    """A frozen graph with what its description says of it."""

    path: Path
    input: str
    predictions: str
    embeddings: str | None
    classes: tuple[str, ...]

    @property
    def files(self) -> tuple[Path, Path]:
        """The graph and its description."""
        return self.path, self.path.with_suffix(".json")


@dataclass(frozen=True)
class ImportedModels:
    """A backbone and the heads that look at its embeddings, by their names."""

    backbone: GraphFile
    heads: dict[str, GraphFile]


def slug(class_name: str) -> str:
    """Return a class name in lower case, each run of other characters than a-z0-9 as one `_`."""
    return _NOT_SLUG.sub("_", class_name.lower())


def imported_models(
    settings: EssentiaSettings, folder: Path | None = None
) -> ImportedModels | None:
    """Return MusiCNN and its heads as far as they are on this machine, None without MusiCNN.

    Args:
        folder: where they lie; by default where `pipeline models` puts them.

    Raises:
        StageBlocked: they are asked for and not there, or a description is missing or wrong.
    """
    if settings.models == "none":
        return None
    folder = folder or models_folder() / ESSENTIA
    graph = folder / f"{BACKBONE}.pb"
    missing = [one for one in (graph, graph.with_suffix(".json")) if not one.is_file()]
    if missing:
        if settings.models == "imported":
            return None
        raise StageBlocked(
            f"{missing[0]} is not there",
            f"Get it with: {fetch_command(BACKBONE)}, or leave essentia.models at imported",
        )
    backbone = _graph_file(graph)
    if backbone.embeddings is None:
        raise _wrong(graph.with_suffix(".json"), "names no output of embeddings")
    return ImportedModels(backbone, dict(_heads(folder)))


def essentia_weights(settings: StageSettings) -> tuple[Path, ...]:
    """Return every file that decides what the models of these settings give.

    Raises:
        StageBlocked: as `imported_models`.
    """
    if not isinstance(settings, EssentiaSettings):
        raise TypeError(f"essentia takes EssentiaSettings, not {type(settings).__name__}")
    models = imported_models(settings)
    if models is None:
        return ()
    return tuple(
        file for graph in (models.backbone, *models.heads.values()) for file in graph.files
    )


def _heads(folder: Path) -> list[tuple[str, GraphFile]]:
    found = []
    for path in sorted(folder.glob("*.pb")):
        description = path.with_suffix(".json")
        # `danceability-msd-musicnn-1`: the head, then the backbone without its version.
        head, dash, _ = path.stem.partition(f"-{BACKBONE.rpartition('-')[0]}-")
        if not dash or not description.is_file():
            continue  # half there is not there, as `pipeline models list` says
        if _backbone_of(description) == BACKBONE:
            found.append((head, _graph_file(path)))
    return found


def _backbone_of(description: Path) -> str | None:
    found: object = _description(description)
    for key in ("inference", "embedding_model", "model_name"):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, str) else None


def _graph_file(path: Path) -> GraphFile:
    description = path.with_suffix(".json")
    content = _description(description)
    try:
        schema = content["schema"]
        outputs = {one["output_purpose"]: str(one["name"]) for one in schema["outputs"]}
        return GraphFile(
            path,
            input=str(schema["inputs"][0]["name"]),
            predictions=outputs["predictions"],
            embeddings=outputs.get("embeddings"),
            classes=_classes(content["classes"]),
        )
    except KeyError as error:
        raise _wrong(description, f"does not say its {error.args[0]}") from error
    except (IndexError, TypeError, AttributeError, ValueError) as error:
        raise _wrong(description, f"is not what is expected of one: {error}") from error


def _classes(named: object) -> tuple[str, ...]:
    if not isinstance(named, list) or not all(isinstance(one, str) for one in named):
        raise TypeError("its classes are no list of names")
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
    return StageBlocked(
        f"{path}, which describes {path.stem}.pb, {why}",
        f"Get both again with: {fetch_command(path.stem)}, or take both away",
    )
