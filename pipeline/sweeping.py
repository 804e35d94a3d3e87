"""What is ours in a folder, and how it is removed: only what a manifest there lists.

The listed files go first, then the manifest that lists them, then the folder if it is empty: killed
in between, what is left still tells whose it is, and the next sweep ends the work.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pipeline import manifest as manifests


@dataclass
class Sweep:
    """What is to go, in this order, and what stays because it is the user's.

    `prune` says whether empty folders of the user go too: in the trash, not among the outputs.
    """

    prune: bool = False
    files: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)  # if they are empty then; deepest first
    foreign: list[Path] = field(default_factory=list)
    bytes: int = 0

    def add(self, path: Path) -> None:
        """Note a file that is to go, and the room that it takes."""
        self.files.append(path)
        info = os.lstat(path)
        if stat.S_ISREG(info.st_mode) and info.st_nlink == 1:
            self.bytes += info.st_size

    def carry_out(self) -> None:
        """Remove it."""
        for path in self.files:
            with suppress(FileNotFoundError):
                os.unlink(path)
        for folder in self.folders:
            with suppress(OSError):  # something of the user is in it
                os.rmdir(folder)


def sweep_file(path: Path) -> Sweep:
    """Return the sweep of one file that is ours by its name."""
    sweep = Sweep()
    sweep.add(path)
    return sweep


def sweep_outputs(folder: Path) -> Sweep:
    """Return what is ours in a folder of outputs, in its place."""
    sweep = Sweep()
    _sweep_outputs(folder, None, sweep)
    return sweep


def sweep_trashed_outputs(folder: Path, *, twin: Path | None) -> Sweep:
    """Return what is ours in a folder of outputs, in the trash.

    Args:
        twin: where the next version lies. A file of the user that was carried over there is one
            file under two names, and the one here can go.
    """
    sweep = Sweep(prune=True)
    _sweep_outputs(folder, twin, sweep)
    return sweep


def sweep_trashed_track(folder: Path) -> Sweep:
    """Return what is ours in the folder of a track, in the trash: the outputs of its stages."""
    sweep = Sweep(prune=True)
    for entry in _entries(folder):
        if _holds_outputs(entry):
            _sweep_outputs(entry, None, sweep)
        elif entry.name == "stems" and is_folder(entry):
            for below in _entries(entry):
                if _holds_outputs(below):
                    _sweep_outputs(below, None, sweep)
                else:
                    _sweep_foreign(below, None, sweep)
            sweep.folders.append(entry)
        else:
            _sweep_foreign(entry, None, sweep)
    sweep.folders.append(folder)
    return sweep


def _sweep_outputs(folder: Path, twin: Path | None, sweep: Sweep) -> None:
    ours = manifests.ours(folder)
    proofs = []
    for entry in _entries(folder):
        if entry.name not in ours or is_folder(entry):
            _sweep_foreign(entry, twin / entry.name if twin is not None else None, sweep)
        elif entry.name in (manifests.FILE_NAME, manifests.ODD_NAME):
            proofs.append(entry)
        else:
            sweep.add(entry)
    for proof in proofs:
        sweep.add(proof)
    sweep.folders.append(folder)


def _holds_outputs(folder: Path) -> bool:
    """Say whether a folder holds what its name says: a copy under another name is the user's."""
    return any(found.stage == folder.name for found in manifests.remembered(folder))


def _sweep_foreign(path: Path, twin: Path | None, sweep: Sweep) -> None:
    if is_folder(path):
        for entry in _entries(path):
            _sweep_foreign(entry, twin / entry.name if twin is not None else None, sweep)
        if sweep.prune:
            sweep.folders.append(path)
    elif twin is not None and _is_same(path, twin):
        sweep.files.append(path)
    else:
        sweep.foreign.append(path)


def _is_same(path: Path, twin: Path) -> bool:
    try:
        one, other = os.lstat(path), os.lstat(twin)
    except OSError:
        return False
    return os.path.samestat(one, other) and one.st_nlink > 1


def remove_empty(folder: Path, *, up_to: Path) -> None:
    """Remove a folder, and those above it, as far as they are empty."""
    while folder != up_to:
        try:
            os.rmdir(folder)
        except FileNotFoundError:
            pass  # by a sweep that was killed then
        except OSError:
            return
        folder = folder.parent


def is_folder(path: Path) -> bool:
    """Say whether a path is a folder itself, and no link to one."""
    return path.is_dir() and not path.is_symlink()


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())
