"""One real night over the whole zoo, and what it made of every animal."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from pipeline.scan import display
from stages import STAGES
from stages.base import Declaration
from tests.sandbox import Sandbox
from tests.zoo.animal import Animal
from tests.zoo.table import NOT_TAKEN, Verdict


def _is_installed(stage: Declaration) -> bool:
    try:
        return all(map(metadata.version, stage.libraries))
    except metadata.PackageNotFoundError:
        return False


# Every stage of the lane that can run here: Essentia has no wheel for some machines.
FEATURES = tuple(
    name for name, one in STAGES.items() if one.lane == "features" and _is_installed(one)
)


@dataclass(frozen=True)
class Finding:
    """What became of one animal, and what the user is told of it."""

    verdict: Verdict
    detail: str = ""


def findings(
    box: Sandbox,
    zoo: Iterable[Animal],
    *,
    stages: Sequence[str] = FEATURES,
    out: Path | None = None,
) -> dict[str, Finding]:
    """Return what ledger and manifests say that these stages made of animals, by title."""
    out = out or box.out
    lines = _lines(box, stages, out)
    flags = _flags(out)
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


def _lines(box: Sandbox, stages: Sequence[str], out: Path) -> dict[str, list[Mapping[str, Any]]]:
    """Return the mix jobs of stages by path as it is shown, and what could not be read."""
    listed = box.command("tracks", str(box.dataset), "--json", "--out", str(out))
    assert listed.returncode == 0, listed.stderr
    by_path: dict[str, list[Mapping[str, Any]]] = {}
    for line in map(json.loads, listed.stdout.splitlines()):
        wanted = line["stage"] in stages and line["scope"] == "mix"
        if wanted or line["state"] == "unreadable":
            by_path.setdefault(line["path"], []).append(line)
    return by_path


def _flags(out: Path) -> dict[bytes, tuple[str, ...]]:
    """Return the flags of every published track, by the path of its source."""
    found: dict[bytes, tuple[str, ...]] = {}
    for file in (out / "tracks").rglob("manifest.json"):
        if file.is_file():
            manifest = json.loads(file.read_text())
            path = os.fsencode(manifest["source"]["path"])
            found[path] = tuple(sorted({*found.get(path, ()), *manifest["flags"]}))
    return found
