"""Weights from files that somebody brought: recognised by hash, or by name where none is known."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import BadUsage, Unfit
from pipeline.model_files import ModelsFolder, State, hash_of, oddity, read_pin
from pipeline.models import Agree, Finding, agreed
from stages import catalogue
from stages.published import PublishedFile, PublishedModel


@dataclass(frozen=True)
class Recognised:
    """A file that is one of the catalogue's."""

    source: Path
    model: PublishedModel
    file: PublishedFile
    sha256: str


@dataclass(frozen=True)
class Imported:
    """What an import took, what was here before, and what was not what its name says."""

    taken: list[Path] = field(default_factory=list)
    here: list[Path] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """1 when something was wrong, or nothing was of the catalogue."""
        return 1 if self.findings or not (self.taken or self.here) else 0


def bring(
    paths: Sequence[Path], *, folder: ModelsFolder, agree: Agree, say: Callable[[str], None]
) -> Imported:
    """Copy what is of the catalogue into the models folder; the sources stay as they are.

    Raises:
        BadUsage: a path that is not there, or a licence not accepted.
        Unfit: the models folder cannot be written, or a file cannot be read.
    """
    done = Imported()
    known = _Known(folder)
    recognised: dict[Path, Recognised] = {}
    for path, named in _files(paths, known):
        found = known.look(path, named=named)
        if isinstance(found, Finding):
            done.findings.append(found)
        elif found is not None and found.model.ships:
            done.here.append(path)
        elif found is not None:
            recognised.setdefault(folder.place(found.model, found.file), found)
    new = agreed([one.model for one in recognised.values()], folder, agree=agree)
    if not recognised:
        return done
    with folder.held(say=say):
        folder.accept(*new)
        for place, one in recognised.items():
            report = folder.look(one.model, one.file)
            if report.state is State.THERE and report.expected is not None:
                done.here.append(place)
            else:
                _copy(one, folder)
                done.taken.append(place)
    return done


class _Known:
    """The catalogue, by hash and by name."""

    def __init__(self, folder: ModelsFolder) -> None:
        self._folder = folder
        models = catalogue.CATALOGUE.values()
        every = [(model, file) for model in models for file in model.files]
        files = [(model, file) for model, file in every if not model.ships]
        self._by_hash = {file.sha256: (model, file) for model, file in every if file.sha256}
        self._by_name = {file.name: (model, file) for model, file in files}
        self._suffixes = {Path(file.name).suffix for _, file in files if file.sha256}

    def may_be(self, path: Path) -> bool:
        """Say whether a file of a folder is worth hashing: a renamed one keeps its suffix."""
        return path.name in self._by_name or path.suffix in self._suffixes

    def look(self, path: Path, *, named: bool) -> Recognised | Finding | None:
        """Say what a file is; None for one of no concern, unless the user named it."""
        try:
            sha256, _ = hash_of(path)
        except OSError as error:
            return Finding("unreadable", "", str(path), None, error.strerror, "Mend its rights.")
        if sha256 in self._by_hash:
            return Recognised(path, *self._by_hash[sha256], sha256)
        if path.name in self._by_name:
            return self._by_its_name(path, sha256)
        if named:
            return Finding("unknown", "", str(path), None, sha256, "pipeline models list")
        return None

    def _by_its_name(self, path: Path, sha256: str) -> Recognised | Finding:
        model, file = self._by_name[path.name]
        expected = self._folder.expected(model, file) or read_pin(path)
        odd = oddity(path, file.name) if expected is None else None
        if expected in {None, sha256} and odd is None:
            return Recognised(path, model, file, sha256)
        found = f"what {odd}" if odd else sha256
        return Finding("changed", model.name, str(path), expected, found, f"Bring {file.url}")


def _files(paths: Sequence[Path], known: _Known) -> Iterator[tuple[Path, bool]]:
    """Give the files to look at, and whether the user named each."""
    for path in paths:
        if path.is_dir():
            for parent, folders, names in os.walk(path):
                folders.sort()
                found = (Path(parent, name) for name in sorted(names))
                yield from ((one, False) for one in found if known.may_be(one) and one.is_file())
        elif path.is_file():
            yield path, True
        else:
            raise BadUsage(f"{path} is no file and no folder.")


def _copy(one: Recognised, folder: ModelsFolder) -> None:
    part = folder.part(one.model, one.file)
    try:
        source = one.source.open("rb")
    except OSError as error:
        raise Unfit(f"{one.source} cannot be read ({error.strerror}).") from error
    with source, part.open("wb") as stream:
        shutil.copyfileobj(source, stream)
    if hash_of(part)[0] != one.sha256:
        part.unlink()
        raise Unfit(f"{one.source} changed while it was copied. Give the same command again.")
    folder.finish(one.model, one.file, sha256=one.sha256)
