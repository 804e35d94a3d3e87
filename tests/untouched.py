"""The stages of `big_ledger`, for a process that shall take every output for untouched: there are none."""

from __future__ import annotations

from pipeline.artifacts import OutputFolder
from tests.big_ledger import STAGES

__all__ = ["STAGES"]


def _yes(self: OutputFolder, folder: bytes, stage: str, scope: str) -> bool:
    return True


OutputFolder.is_untouched = _yes  # type: ignore[method-assign]
