"""The manifest: the marker in every published folder that proves what it holds."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from stages.base import JsonValue

FILE_NAME = "manifest.json"
ODD_NAME = "manifest.odd.json"
"""Its name once the folder is not what was published: it proves nothing any more, and still tells
which files are ours."""
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
        foreign = [file.name for file in files if not _is_plain(file.name)]
        if foreign:
            raise ValueError(f"it lists what cannot lie beside it: {foreign[0]!r}")
        return Manifest(**{**found, "files": files, "flags": tuple(found["flags"])})
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a manifest: {error}") from error


def _is_plain(name: str) -> bool:
    return name not in {"", ".", "..", FILE_NAME, ODD_NAME} and not {"/", "\0"} & set(name)


def read(folder: Path) -> tuple[Manifest, str] | None:
    """Return the manifest of a whole published folder and its SHA-256, None if it is not whole.

    Whole means that every file is there with its size and none was changed since: files are synced
    before the manifest and the manifest before the rename, so this proves that publishing was not
    cut short, and what changed later shows by its time.
    """
    examined = examine(folder)
    if examined.manifest is None or examined.sha256 is None or examined.troubles:
        return None
    return examined.manifest, examined.sha256


class Wrong(StrEnum):
    """What can be wrong with a published folder, or with the ledger's word on it."""

    MANIFEST_MISSING = "manifest_missing"
    MANIFEST_UNREADABLE = "manifest_unreadable"
    MANIFEST_CHANGED = "manifest_changed"
    OTHER_VERSION = "other_version"
    FILE_MISSING = "file_missing"
    FILE_UNREADABLE = "file_unreadable"
    FILE_SIZE = "file_size"
    FILE_CHANGED = "file_changed"
    MADE_FROM_CHANGED = "made_from_changed"
    NOT_IN_LEDGER = "not_in_ledger"


@dataclass(frozen=True)
class Trouble:
    """One thing in a published folder that is not as it should be."""

    what: Wrong
    file: str
    detail: str


@dataclass(frozen=True)
class Examined:
    """A published folder as it was found."""

    manifest: Manifest | None
    sha256: str | None
    troubles: tuple[Trouble, ...]
    stamp_ns: int = 0  # the manifest's time
    newest_ns: int = 0  # the newest of all that is beside it


def examine(folder: Path, *, hash_all: bool = False) -> Examined:
    """Hold a published folder against its manifest.

    A file is hashed that is newer than the manifest, which was written last. When names in the
    folder changed after that, also one whose inode did: a file put in another's place may bring
    its old time. When the manifest itself was touched, and with `hash_all`: every file.
    """
    try:
        text = (folder / FILE_NAME).read_bytes()
        with os.scandir(folder) as entries:
            found = {entry.name: entry.stat(follow_symlinks=False) for entry in entries}
        names_ns = os.stat(folder).st_mtime_ns
        stamp_ns = found.pop(FILE_NAME).st_mtime_ns
        manifest = from_bytes(text)
    except (FileNotFoundError, NotADirectoryError, KeyError):
        return _no_manifest(Wrong.MANIFEST_MISSING, "it is not there")
    except (OSError, ValueError, RecursionError) as error:
        return _no_manifest(Wrong.MANIFEST_UNREADABLE, str(error))
    newest_ns = max([names_ns, *(entry.st_mtime_ns for entry in found.values())])

    def is_suspect(entry: os.stat_result) -> bool:
        if hash_all or stamp_ns > newest_ns or entry.st_mtime_ns > stamp_ns:
            return True
        return names_ns > stamp_ns and entry.st_ctime_ns > stamp_ns

    troubles = []
    for file in manifest.files:
        entry = found.get(file.name)
        if entry is None:
            troubles.append(Trouble(Wrong.FILE_MISSING, file.name, "it is not there"))
        elif (trouble := _trouble(folder, file, entry, with_hash=is_suspect(entry))) is not None:
            troubles.append(trouble)
    sha256 = hashlib.sha256(text).hexdigest()
    return Examined(manifest, sha256, tuple(troubles), stamp_ns, newest_ns)


def _no_manifest(what: Wrong, detail: str) -> Examined:
    return Examined(None, None, (Trouble(what, FILE_NAME, detail),))


def _trouble(folder: Path, file: File, entry: os.stat_result, *, with_hash: bool) -> Trouble | None:
    path = folder / file.name
    try:
        if stat.S_ISLNK(entry.st_mode):
            entry = os.stat(path)
        if not stat.S_ISREG(entry.st_mode):
            return Trouble(Wrong.FILE_MISSING, file.name, "what is there is no file")
        if entry.st_size != file.size_bytes:
            detail = f"{entry.st_size} bytes, the manifest says {file.size_bytes}"
            return Trouble(Wrong.FILE_SIZE, file.name, detail)
        if with_hash and (found := describe(path)) != file:
            detail = f"SHA-256 {found.sha256}, the manifest says {file.sha256}"
            return Trouble(Wrong.FILE_CHANGED, file.name, detail)
    except FileNotFoundError:
        return Trouble(Wrong.FILE_MISSING, file.name, "it leads nowhere")
    except OSError as error:
        return Trouble(Wrong.FILE_UNREADABLE, file.name, f"{error.strerror}")
    return None


def remembered(folder: Path) -> list[Manifest]:
    """Return what can be read of a folder's manifests, whole or not, set aside or not."""
    found = []
    for name in (FILE_NAME, ODD_NAME):
        try:
            found.append(from_bytes((folder / name).read_bytes()))
        except (OSError, ValueError, RecursionError):
            continue
    return found


def ours(folder: Path) -> set[str]:
    """Return the names in a folder that are not the user's; none without a manifest to tell."""
    known = remembered(folder)
    listed = {file.name for manifest in known for file in manifest.files}
    return listed | {FILE_NAME, ODD_NAME} if known else set()


def features(folder: Path) -> str | None:
    """Return the features as they were published, None where there are none that can be read."""
    try:
        text = (folder / "features.json").read_text(encoding="utf-8")
        json.loads(text)
    except (OSError, ValueError):
        return None
    return text


def describe(path: Path) -> File:
    """Return a file's name, size and hash."""
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
            size += len(block)
    return File(path.name, size, digest.hexdigest())
