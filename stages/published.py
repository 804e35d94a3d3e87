"""What is known of published weights, and where those of this machine lie. The list: `catalogue.py`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from stages.base import StageBlocked

ESSENTIA = "essentia"
"""Where Essentia's models lie in the models folder: flat, each `NAME.pb` with its `NAME.json`."""

PACKAGE = Path(__file__).parent
"""What the folders of models that ship with Nightshift lie in."""


class Kind(StrEnum):
    """What a model is: a separator, an embedding of the sound, or a head on an embedding."""

    SEPARATION = "separation"
    EMBEDDING = "embedding"
    HEAD = "head"


@dataclass(frozen=True)
class Licence:
    """What the owner of weights asks, in words to be read before they are fetched.

    `url` is empty where the words are Nightshift's own.
    """

    key: str
    title: str
    words: str
    url: str


@dataclass(frozen=True)
class PublishedFile:
    """One file at its pinned address; `url` is empty for one that ships with Nightshift.

    `sha256` is None where its owner publishes none: what is met first is pinned then, and every
    later copy is held against that. `size_bytes` is None where it is not known beforehand.
    """

    name: str
    url: str
    sha256: str | None = None
    size_bytes: int | None = None


@dataclass(frozen=True)
class PublishedModel:
    """One model. `folder` is where it lies in the models folder, `needs` what it cannot do without.

    One whose files have no address ships with Nightshift: it lies in the package, and is never fetched.

    `bag` has one row per file and one column per source: how a Demucs bag weighs its models.
    """

    name: str
    kind: Kind
    what_for: str
    folder: str
    files: tuple[PublishedFile, ...]
    licence: Licence
    needs: tuple[str, ...] = ()
    bag: tuple[tuple[float, ...], ...] | None = None

    @property
    def ships(self) -> bool:
        """Whether it comes with Nightshift itself."""
        return not any(file.url for file in self.files)


def folder_of(model: PublishedModel, models: Path | None = None) -> Path:
    """Return where the files of a model belong; `models` is the models folder, if not the user's.

    Raises:
        StageBlocked: as `models_folder`; never for a model that ships.
    """
    return (PACKAGE if model.ships else models or models_folder()) / model.folder


def models_folder(home: Path | None = None) -> Path:
    """Return the folder that holds the published models that are on this machine."""
    try:
        return (home or Path.home()) / ".cache" / "nightshift" / "models"
    except RuntimeError as error:
        raise StageBlocked(
            "This user has no home folder, where models are kept",
            "Set HOME, or give weights with --model FOLDER_OR_FILE",
        ) from error


NIGHTSHIFT_MODELS = Licence(
    key="nightshift",
    title="Nightshift's own model: MIT",
    words=(
        "Trained by this project on music that it makes itself, in part with sounds of the "
        "SoundFont FluidR3 GM (Frank Wen, MIT licence), of which nothing is shipped; the file may "
        "be used like the code."
    ),
    url="",
)

DEMUCS_WEIGHTS = Licence(
    key="demucs-weights",
    title="Demucs' pretrained weights: for scientific purposes only",
    words=(
        "By their author's word these weights are not covered by Demucs' MIT licence and are "
        "provided for scientific purposes only. Any other use is yours to clear first."
    ),
    url="https://github.com/facebookresearch/demucs/issues/327",
)

ESSENTIA_MODELS = Licence(
    key="essentia-models",
    title="Essentia's models: CC BY-NC-SA 4.0",
    words=(
        "Models of the Music Technology Group, Universitat Pompeu Fabra, under Creative Commons "
        "Attribution-NonCommercial-ShareAlike 4.0: not for commercial use, and what is made with "
        "them names them. Their owner gives other licences on request. Where a third party "
        "trained a model its terms may differ: they stand in the model's .json."
    ),
    url="https://creativecommons.org/licenses/by-nc-sa/4.0/",
)
