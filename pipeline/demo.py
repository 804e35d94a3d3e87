"""The demo: three pieces of music made on the spot, through everything this machine can do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline import texts
from pipeline.config import RunConfig, load
from pipeline.events import Emit
from pipeline.machine import Machine
from pipeline.recipe import recipes
from pipeline.supervisor import run


def demonstrate(
    folder: Path, *, environment: Mapping[str, str], emit: Emit, say: Callable[[str], None]
) -> int:
    """Make the music, run the stages that can run, name the others; return the exit code."""
    from pipeline.demo_music import write_demo_music

    folder.mkdir(parents=True, exist_ok=True)
    say(f"Synthesising three short pieces into {folder}/ …")
    for path in write_demo_music(folder):
        say(f"  {path.name}")
    config = load(folder, environment=environment)
    cannot = _cannot(config)
    can = [name for name in config.declarations if name not in cannot]
    say(f"Stages this machine can do now: {', '.join(can)}.")
    for name, why in cannot.items():
        say(f"Not possible yet: {name}. {why}")
    where = texts.quoted(str(folder))
    say(f"\n$ pipeline run {where} --stages {','.join(can)}")
    report = run(load(folder, overrides={"stages": list(can)}, environment=environment), emit=emit)
    say(texts.report(report, shown=str(folder), out=str(config.out)))
    say(
        "\nLook next:\n"
        f"  pipeline status {where}\n"
        f"  pipeline show {where} 'Night Bus.flac'\n"
        f"  pipeline query {where} \"SELECT path, value FROM feature WHERE name = 'integrated_lufs'\""
    )
    return report.exit_code


def _cannot(config: RunConfig) -> dict[str, str]:
    found = recipes(config, Machine.read(config.out))
    return {one.stage: str(one.blocked) for one in found if one.blocked is not None}
