"""What decides an output besides its source: stage, version, settings, weights, as one hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from pipeline.config import RunConfig
from pipeline.installed import missing_of
from pipeline.ledger.plan import Planned
from pipeline.machine import Machine
from stages.base import STEMS_FROM, Declaration, JsonValue, Scope, StageBlocked


@dataclass(frozen=True)
class Recipe:
    """One kind of job, and what today's settings ask of it. `blocked` says why it cannot start."""

    stage: str
    scope: Scope
    lane: str
    version: int
    settings: Mapping[str, JsonValue]  # those that decide the output
    asked: Mapping[str, JsonValue]  # all of them
    weights: Mapping[str, JsonValue]  # file name -> SHA-256
    blocked: StageBlocked | None

    @cached_property
    def hash(self) -> str | None:
        """The hash, None while the stage cannot start. Asked for each job of each track."""
        if self.blocked is not None:
            return None
        decides = [
            self.stage,
            self.version,
            self.scope,
            self.settings,
            # In the order in which the stage names them: it decides what belongs to what.
            [str(sha256) for sha256 in self.weights.values()],
        ]
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()

    def planned(self) -> Planned:
        """Return what the ledger needs to know of it."""
        blocked = str(self.blocked) if self.blocked is not None else None
        model = self.asked.get("model")
        return Planned(
            self.stage,
            self.scope,
            self.lane,
            self.hash,
            blocked,
            str(model) if model is not None else None,
        )


def recipes(config: RunConfig, machine: Machine) -> list[Recipe]:
    """Return the recipes of all stages that are declared, selected or not, in run order."""
    found = []
    for name, declaration in config.declarations.items():
        settings = config.stage_settings[name]
        weights: dict[str, JsonValue] = {}
        blocked = _lacking(declaration)
        if declaration.weights is not None and blocked is None:
            try:
                files = declaration.weights(settings)
                weights = {file.name: machine.sha256_of(file) for file in files}
            except StageBlocked as error:
                blocked = error
            except OSError as error:
                blocked = StageBlocked(
                    f"{name}: weights cannot be read: {error}", "Make the file readable."
                )
        for scope in declaration.scopes:
            found.append(
                Recipe(
                    stage=name,
                    scope=scope,
                    lane=declaration.lane,
                    version=declaration.version,
                    settings=settings.deciding(),
                    asked=settings.model_dump(mode="json"),
                    weights=weights,
                    blocked=blocked,
                )
            )
    return found


def _lacking(declaration: Declaration) -> StageBlocked | None:
    """Say which libraries of a stage are not installed, and the line that installs them."""
    missing = missing_of(declaration.libraries)
    if not missing:
        return None
    return StageBlocked(
        f"not installed: {', '.join(missing)}",
        f'Install with: pip install -c constraints.txt -e ".[{declaration.extra}]"',
    )


def separation_of(found: list[Recipe]) -> Planned | None:
    """Return the recipe of the stage that gives stems."""
    for recipe in found:
        if recipe.stage == STEMS_FROM:
            return recipe.planned()
    return None
