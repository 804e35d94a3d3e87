"""Sections that want torch, each in a process of its own: one may end with the card's state."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pipeline.bench.gpu.brief import Brief, Row
from pipeline.bench.processes import python, seconds
from pipeline.errors import NotMeasured, Unfit
from pipeline.threads import budget, variables

SECTIONS = ("card", "batches", "forwards", "tracks", "memory", "lane", "features")


def rows_of(
    section: str, brief: Brief, folder: Path, *, environment: Mapping[str, str]
) -> list[Row]:
    """Return what a section found; the last row says why where its process died.

    Args:
        folder: for its brief and its answer.

    Raises:
        Unfit: the model cannot be loaded, or the device not be used.
    """
    asked, answer = folder / f"{section}.json", folder / f"{section}.jsonl"
    asked.write_text(brief.to_json(), encoding="utf-8")
    answer.write_text("", encoding="utf-8")  # what an earlier process found is not this one's
    command = python("pipeline.bench.gpu.worker", section, asked, answer)
    problem = ""
    try:
        surroundings = {**environment, **variables(budget())}
        seconds([command], environment=surroundings, what=f"the section {section}")
    except NotMeasured as error:
        problem = str(error)
    found = answer.read_text(encoding="utf-8").splitlines()
    rows: list[Row] = [json.loads(line) for line in found if line.endswith("}")]
    for row in rows:
        if row["kind"] == "unfit":
            raise Unfit(row["problem"])
    return [*rows, {"kind": "died", "problem": problem}] if problem else rows
