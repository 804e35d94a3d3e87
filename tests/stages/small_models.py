"""Small models of the tests' own, under the names of the catalogue, for the stage `tagging`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from stages import catalogue, tagging_models
from tests.stages.frozen_graphs import write_backbone, write_head, write_vggish


@contextmanager
def models_in(folder: Path) -> Iterator[Path]:
    """Let models lie in a folder; give the one for Essentia's, which is empty.

    The catalogue has no hashes meanwhile: what has its names is not what it means.
    """
    unhashed = {
        name: replace(model, files=tuple(replace(file, sha256=None) for file in model.files))
        for name, model in catalogue.CATALOGUE.items()
    }
    place = folder / "essentia"
    place.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tagging_models, "models_folder", lambda: folder)
        patch.setattr(catalogue, "CATALOGUE", unhashed)
        yield place


def give_vggish(home: Path, environment: dict[str, str]) -> None:
    """Let the processes of an environment find a small VGGish, and ask for it.

    The catalogue has no hash that would tell it from the real one.
    """
    folder = home / ".cache" / "nightshift" / "models" / "essentia"
    folder.mkdir(parents=True)
    write_vggish(folder)
    write_head(folder, "danceability", ["yes", "no"], of="audioset-vggish-3", width=128)
    environment |= {"HOME": str(home), "NIGHTSHIFT_TAGGING__FAMILIES": "['vggish']"}


@contextmanager
def small_models(folder: Path) -> Iterator[None]:
    """Let a MusiCNN of two tags, and a head on it, be on this machine."""
    with models_in(folder) as place:
        write_backbone(place, ("rock", "pop"))
        write_head(place, "mood_happy", ("happy", "non_happy"))
        yield
