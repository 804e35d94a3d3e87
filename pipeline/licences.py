"""Who owns what Nightshift uses. Information, not legal advice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from pipeline.installed import version_of
from pipeline.model_files import ModelsFolder
from stages import catalogue


class What(StrEnum):
    """What kind of thing somebody owns."""

    SELF = "nightshift"
    LIBRARY = "library"
    PROGRAM = "program"
    WEIGHTS = "weights"
    MUSIC = "music"


@dataclass(frozen=True)
class Owned:
    """One thing with its licence. `version` is None where it is not installed, or has none."""

    what: What
    name: str
    licence: str
    words: str = ""
    version: str | None = None
    url: str | None = None
    covers: tuple[str, ...] = ()
    accepted_utc: str | None = None


# Distribution -> licence, what to know. By the metadata of the versions in constraints.txt.
LIBRARIES: dict[str, tuple[str, str]] = {
    "alembic": ("MIT", ""),
    "filelock": ("MIT", ""),
    "imageio-ffmpeg": ("BSD-2-Clause", "its wheel brings a build of ffmpeg, see there"),
    "numpy": ("BSD-3-Clause", "its wheel brings parts under other free licences"),
    "psutil": ("BSD-3-Clause", ""),
    "pydantic": ("MIT", ""),
    "rich": ("MIT", ""),
    "soundfile": ("BSD-3-Clause", "its wheel brings libsndfile, LGPL-2.1"),
    "soxr": ("LGPL-2.1-or-later", ""),
    "sqlalchemy": ("MIT", ""),
    "threadpoolctl": ("BSD-3-Clause", ""),
    "tqdm": ("MPL-2.0 AND MIT", ""),
    "typer": ("MIT", ""),
    "scipy": ("BSD-3-Clause", "its wheel brings parts under other free licences"),
    "numba": ("BSD-2-Clause", ""),
    "onnxruntime": ("MIT", ""),
    "onnx": ("Apache-2.0", ""),
    "torch": ("BSD-3-Clause", "its builds for GPUs bring NVIDIA's or AMD's libraries, with terms"),
    "demucs": ("MIT", "the code; the weights are another matter, see there"),
    "lameenc": ("LGPL-3.0-or-later", "comes with Demucs; used for MP3 stems"),
    "safetensors": ("Apache-2.0", ""),
    "pyyaml": ("MIT", ""),
    "nvidia-ml-py": ("BSD-3-Clause", ""),
    "amdsmi": ("MIT", "comes with ROCm; used where it is installed"),
    "essentia-tensorflow": (
        "AGPL-3.0-only",
        "optional; who hands on a program that uses it, or lets others use it over a network, "
        "owes them the source. Its owner gives other licences on request",
    ),
}


def owned(folder: ModelsFolder, *, version: str) -> Iterator[Owned]:
    """Give everything that is used, with the versions that are installed."""
    yield Owned(What.SELF, "Nightshift", "MIT", version=version)
    for name, (licence, words) in LIBRARIES.items():
        yield Owned(What.LIBRARY, name, licence, words, version_of(name))
    yield Owned(
        What.PROGRAM,
        "ffmpeg",
        "LGPL or GPL, by how it was built",
        "started as a program: the system's, else the one that imageio-ffmpeg brings",
    )
    yield from _weights(folder)
    yield Owned(
        What.MUSIC,
        "the music",
        "yours to have the rights for",
        "stems and features of protected music may be protected too",
    )


def _weights(folder: ModelsFolder) -> Iterator[Owned]:
    accepted = folder.accepted()
    models = catalogue.CATALOGUE.values()
    for licence in {model.licence.key: model.licence for model in models}.values():
        yield Owned(
            What.WEIGHTS,
            licence.title.partition(":")[0],
            licence.title.partition(":")[2].strip() or licence.title,
            licence.words,
            url=licence.url or None,
            covers=tuple(model.name for model in models if model.licence.key == licence.key),
            accepted_utc=accepted.get(licence.key),
        )
