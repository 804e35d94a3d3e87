"""Why a published output is not what today's settings ask for, from its own manifest."""

from __future__ import annotations

from pipeline import manifest as manifests
from pipeline.artifacts import OutputFolder
from pipeline.recipe import Recipe


def changes(out: OutputFolder, folder: bytes, recipe: Recipe) -> list[str]:
    """Return what differs between an output and what is asked for, in words; empty if it is gone."""
    found = manifests.read(out.stage(folder, recipe.stage, str(recipe.scope)))
    if found is None:
        return ["its output is gone or was changed"]
    old = found[0]
    differences = []
    if old.version != recipe.version:
        differences.append(f"version {old.version} -> {recipe.version}")
    for name in sorted({*old.settings, *recipe.settings}):
        before, now = old.settings.get(name), recipe.settings.get(name)
        if before != now:
            differences.append(f"{recipe.stage}.{name}: {_shown(before)} -> {_shown(now)}")
    if list(old.weights.values()) != list(recipe.weights.values()):
        differences.append("other weights")
    return differences or ["other stems"]


def _shown(value: object) -> str:
    return "not set" if value is None else str(value)
