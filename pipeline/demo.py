"""The demo: five short pieces of music, shipped with the project, through all that can be done here."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline import texts
from pipeline.config import RunConfig, load
from pipeline.events import Emit
from pipeline.machine import Machine
from pipeline.recipe import recipes
from pipeline.supervisor import run

_MUSIC = Path(__file__).parent / "music" / "bundled"


def demonstrate(
    folder: Path, *, environment: Mapping[str, str], emit: Emit, say: Callable[[str], None]
) -> int:
    """Put the music there, run the stages that can run, name the others; return the exit code."""
    say(f"Five short pieces of music, into {folder}/:")
    for name in put_music(folder):
        say(f"  {name}")
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
        f'  pipeline query {where} "SELECT path, stage, name, value FROM feature '
        "WHERE name IN ('integrated_lufs', 'tempo_bpm', 'key')\""
    )
    return report.exit_code


def put_music(folder: Path) -> list[str]:
    """Copy the bundled music into a folder that is made if need be; return the files' names.

    What is there already stays as it is, so that a second demo finds its work done.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = sorted(file.name for file in _MUSIC.iterdir())
    for name in names:
        if not (folder / name).exists():
            part = folder / f".{name}.part"  # under its own name a file is whole
            shutil.copyfile(_MUSIC / name, part)
            part.replace(folder / name)
    return names


def _cannot(config: RunConfig) -> dict[str, str]:
    found = recipes(config, Machine.read(config.out))
    return {one.stage: str(one.blocked) for one in found if one.blocked is not None}
