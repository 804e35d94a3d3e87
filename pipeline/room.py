"""Space for outputs: what is free, what must stay free, and what the open work will need."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from pipeline.amounts import size
from pipeline.ledger.outlook import Open
from stages.base import Declaration, StageSettings

_GO_ON = "or lower the setting, then run the same command again: finished work is kept."
_FREE_SOME = f"Free some space there (pipeline gc removes old versions), {_GO_ON}"

_SOURCES = {"mix": 1, "stems": 4}  # of most models; what a stage writes is said for one source


class Room:
    """The file system of the output folder."""

    def __init__(
        self,
        out: Path,
        *,
        min_free_bytes: int,
        min_free_files: int,
        statvfs: Callable[[Path], os.statvfs_result] = os.statvfs,
    ) -> None:
        self._out = out
        self._min_free_bytes = min_free_bytes
        self._min_free_files = min_free_files
        self._statvfs = statvfs

    def spare_bytes(self) -> int:
        """Return what may be written before the minimum is reached."""
        return self.free_bytes() - self._min_free_bytes

    def free_bytes(self) -> int:
        """Return what this user may write."""
        found = self._statvfs(self._out)
        return found.f_bavail * found.f_frsize

    def shortage(self) -> str | None:
        """Say what is short and what to do, None while there is enough."""
        found = self._statvfs(self._out)
        free_bytes = found.f_bavail * found.f_frsize
        if free_bytes < self._min_free_bytes:
            return (
                f"{size(free_bytes)} are free where {self._out} is, and limits.min_free_bytes asks "
                f"for {size(self._min_free_bytes)}. {_FREE_SOME}"
            )
        # Where inodes are made as they are needed (btrfs) none are counted.
        if found.f_files and found.f_favail < self._min_free_files:
            return (
                f"{found.f_favail} files can still be made where {self._out} is (free inodes), and "
                f"limits.min_free_files asks for {self._min_free_files}. Delete some files there, "
                f"{_GO_ON}"
            )
        return None

    def too_little(self) -> str:
        """Say that each track that is left needs more than there is."""
        return (
            f"{size(self.free_bytes())} are free where {self._out} is. Each track that is left "
            f"would take of the {size(self._min_free_bytes)} that limits.min_free_bytes keeps "
            f"free. {_FREE_SOME}"
        )


class Sizes:
    """What stages write for each second of audio, as far as they declare it."""

    def __init__(
        self, declarations: Mapping[str, Declaration], settings: Mapping[str, StageSettings]
    ) -> None:
        self._bytes = {
            name: float(declaration.bytes_per_audio_s(settings[name]))
            for name, declaration in declarations.items()
            if declaration.bytes_per_audio_s is not None
        }

    def per_audio_s(self, stages: Iterable[str], scope: str) -> float:
        """Return the bytes that all these stages write for one second of a track."""
        return _SOURCES[scope] * sum(self._bytes.get(stage, 0.0) for stage in stages)

    def needed_bytes(self, work: Iterable[Open], *, limit: int | None = None) -> float:
        """Return what open jobs will write; of each kind those of `limit` tracks of average length."""
        return sum(
            self.per_audio_s([one.stage], one.scope)
            * one.audio_s
            * (1.0 if limit is None or not one.jobs else min(1.0, limit / one.jobs))
            for one in work
        )
