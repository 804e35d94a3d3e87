"""What lies published in an output folder, by the folders alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline import manifest as manifests
from pipeline.artifacts import TRACKS, OutputFolder
from stages.base import Scope

_STEMS = "stems"


@dataclass(frozen=True)
class Place:
    """A folder with a manifest, and what is published there if it lies where it should."""

    folder: bytes  # of the track, below `tracks/`
    stage: str
    scope: str
    path: Path


def published(out: OutputFolder) -> Iterator[list[Place]]:
    """Give the places of each track that has any, in byte order of their folders.

    What lies deeper than a place, or beside the places of a track, is the user's.
    """
    root = os.fspath(out.root / TRACKS)
    linked: set[str] = set()
    open_ends = [""]
    while open_ends:
        below = open_ends.pop()
        if os.path.islink(here := os.path.join(root, below)):
            if (real := os.path.realpath(here)) in linked:
                continue  # a link that closes a loop, or leads to what was walked already
            linked.add(real)
        places = places_of(out, os.fsencode(below)) if below else []
        if places:
            yield places
        else:
            names = sorted(_folders(here), key=os.fsencode, reverse=True)
            open_ends.extend(os.path.join(below, name) for name in names)


def places_of(
    out: OutputFolder, folder: bytes, *, marks: tuple[str, ...] = (manifests.FILE_NAME,)
) -> list[Place]:
    """Return the places of one track: folders in which one of `marks` lies."""
    track = out.track(folder)
    mix = [
        Place(folder, name, Scope.MIX, track / name)
        for name in sorted(_folders(track))
        if _is_marked(track / name, marks)
    ]
    stems = [
        Place(folder, name, Scope.STEMS, track / _STEMS / name)
        for name in sorted(_folders(track / _STEMS))
        if _is_marked(track / _STEMS / name, marks)
    ]
    if stems and not mix and not any(_says_stems(place) for place in stems):
        return []  # the folder of a track that is called `stems`, and not the stems of one above it
    return mix + stems


def _folders(path: str | Path) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [entry.name for entry in entries if entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_marked(folder: Path, marks: tuple[str, ...]) -> bool:
    return any(os.path.exists(folder / mark) for mark in marks)


def _says_stems(place: Place) -> bool:
    return any(found.scope == Scope.STEMS for found in manifests.remembered(place.path))
