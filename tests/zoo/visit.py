"""One real night over the whole zoo, and what it made of every animal."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.scan import display
from stages import STAGES
from tests.sandbox import Sandbox
from tests.zoo.animal import Animal
from tests.zoo.table import NOT_TAKEN, Verdict

# Every stage that hears a mix through the one decode path and needs no weights.
FEATURES = tuple(name for name, one in STAGES.items() if one.lane == "features")


@dataclass(frozen=True)
class Finding:
    """What became of one animal, and what the user is told of it."""

    verdict: Verdict
    detail: str = ""


def findings(box: Sandbox, zoo: Iterable[Animal]) -> dict[str, Finding]:
    """Return what the ledger and the manifests of a dataset say of its animals, by title."""
    lines = _lines(box)
    flags = _flags(box)
    return {
        animal.title: _finding(lines.get(display(animal.path), []), flags.get(animal.path, ()))
        for animal in zoo
    }


def _finding(lines: list[Mapping[str, Any]], flags: tuple[str, ...]) -> Finding:
    if not lines:
        return Finding(Verdict(NOT_TAKEN))
    verdicts = {
        Verdict(line["state"], (line["reason"],) if line["reason"] else flags) for line in lines
    }
    details = sorted({line["detail"] or "" for line in lines})
    if len(verdicts) == 1:
        return Finding(verdicts.pop(), "; ".join(details))
    # The stages disagree: no single state, so that the table cannot hold by chance.
    said = "; ".join(f"{line['stage']}: {line['state']} {line['reason'] or ''}" for line in lines)
    return Finding(Verdict(said), "; ".join(details))


def _lines(box: Sandbox) -> dict[str, list[Mapping[str, Any]]]:
    """Return the mix jobs of this lane by path as it is shown, and what could not be read."""
    listed = box.command("tracks", str(box.dataset), "--json")
    assert listed.returncode == 0, listed.stderr
    by_path: dict[str, list[Mapping[str, Any]]] = {}
    for line in map(json.loads, listed.stdout.splitlines()):
        if line["state"] == "unreadable" or (line["stage"], line["scope"]) in _WANTED:
            by_path.setdefault(line["path"], []).append(line)
    return by_path


_WANTED = {(stage, "mix") for stage in FEATURES}


def _flags(box: Sandbox) -> dict[bytes, tuple[str, ...]]:
    """Return the flags of every published track, by the path of its source."""
    found: dict[bytes, tuple[str, ...]] = {}
    for file in (box.out / "tracks").rglob("manifest.json"):
        if file.is_file():
            manifest = json.loads(file.read_text())
            path = os.fsencode(manifest["source"]["path"])
            found[path] = tuple(sorted({*found.get(path, ()), *manifest["flags"]}))
    return found
