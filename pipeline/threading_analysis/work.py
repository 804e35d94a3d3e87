"""Work that is measured: loaded once, then done as often as asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from pipeline.threading_analysis.brief import Brief


@dataclass(frozen=True)
class Work:
    """Call `do` to do it once. `is_parallel`: several threads may at the same time."""

    do: Callable[[], object]
    is_parallel: bool = False


def load_work(brief: Brief) -> Work:
    """Import and load what is to be done, its music included where it takes samples."""
    module = brief.module or "pipeline.threading_analysis.stage_work"
    made: Work = import_module(module).work(brief)
    return made
