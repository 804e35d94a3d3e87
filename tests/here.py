"""A run in the test's own process, with real lanes: for what a test moves by hand, a clock or a disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pipeline.config import load
from pipeline.events import Event
from pipeline.report import Report
from pipeline.supervisor import run
from stages.base import JsonValue
from tests.sandbox import Sandbox


def run_here(
    sandbox: Sandbox, hear: Callable[[Event], None], overrides: Mapping[str, JsonValue]
) -> Report:
    """Run the stage `note` over the mixes; tell `hear` what happens, as it happens."""
    config = load(
        sandbox.dataset,
        overrides={"stages": ["note"], **overrides},
        environment=sandbox.environment,
    )
    return run(config, emit=hear)


def begins(event: Event) -> bool:
    """Say whether a track is being computed now."""
    return event.kind == "progress" and event.facts["phase"] == "note"


def states(sandbox: Sandbox) -> list[tuple[str, str]]:
    """Return path and state of the mix features."""
    mix = {path: job["state"] for (path, stage, scope), job in sandbox.jobs().items()
           if (stage, scope) == ("note", "mix")}  # fmt: skip
    return sorted(mix.items())
