"""The manifest: the marker in every published folder that proves what it holds."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from stages.base import JsonValue

FILE_NAME = "manifest.json"
FORMAT = 1
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class File:
    """A published file, as it must be found."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a published stage folder holds, and everything that decided it.

    Of the same work on the same machine and numeric path, only `attempt`, `created_utc` and
    `timings` may differ. Names that are not UTF-8 are held with surrogate escapes.
    """

    stage: str
    version: int
    scope: str
    fingerprint: str
    recipe: str
    upstream: str | None
    folder: str  # relative to the output folder
    source: Mapping[str, JsonValue]
    settings: Mapping[str, JsonValue]
    weights: Mapping[str, JsonValue]
    numeric_path: Mapping[str, JsonValue]
    facts: Mapping[str, JsonValue]
    flags: tuple[str, ...]
    files: tuple[File, ...]
    attempt: str
    created_utc: str
    timings: Mapping[str, JsonValue]
    format: int = FORMAT

    def to_bytes(self) -> bytes:
        """Return the JSON text, ASCII only, so that any name survives."""
        return (json.dumps(asdict(self), indent=1, allow_nan=False) + "\n").encode("ascii")


def from_bytes(text: bytes) -> Manifest:
    """Read a manifest back.

    Raises:
        ValueError: not a manifest, or of another format.
    """
    try:
        found = json.loads(text)
        if found["format"] != FORMAT:
            raise ValueError(f"manifest of format {found['format']}")
        files = tuple(File(**file) for file in found.pop("files"))
        return Manifest(**{**found, "files": files, "flags": tuple(found["flags"])})
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a manifest: {error}") from error


def read(folder: Path) -> tuple[Manifest, str] | None:
    """Return the manifest of a whole published folder and its SHA-256, None if it is not whole.

    Whole means that every file is there with its size. Files are synced before the manifest and
    the manifest before the rename, so this proves that publishing was not cut short; `verify
    --hash` looks for what happened later.
    """
    try:
        text = (folder / FILE_NAME).read_bytes()
        manifest = from_bytes(text)
        for file in manifest.files:
            if os.stat(folder / file.name).st_size != file.size_bytes:
                return None
    except (OSError, ValueError):
        return None
    return manifest, hashlib.sha256(text).hexdigest()


def describe(path: Path) -> File:
    """Return a file's name, size and hash."""
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
            size += len(block)
    return File(path.name, size, digest.hexdigest())
