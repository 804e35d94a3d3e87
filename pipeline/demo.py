"""The demo: five short pieces and a small model, shipped with the project, through all that can be done here."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import texts
from pipeline.config import RunConfig, load
from pipeline.events import Emit
from pipeline.machine import Machine
from pipeline.music.score import STEMS
from pipeline.recipe import recipes
from pipeline.supervisor import run
from stages.base import STEMS_FROM, JsonValue

if TYPE_CHECKING:
    from pipeline.music.compare import Nearness

_MUSIC = Path(__file__).parent / "music" / "bundled"
_MODEL = "nano"  # ships with Nightshift: nothing to fetch, no licence to accept


def demonstrate(
    folder: Path, *, environment: Mapping[str, str], emit: Emit, say: Callable[[str], None]
) -> int:
    """Put the music there, run the stages that can run, name the others; return the exit code."""
    say(f"Five short pieces of music, into {folder}/:")
    names = put_music(folder)
    for name in names:
        say(f"  {name}")
    config = load(folder, environment=environment)
    model: dict[str, JsonValue] = {}
    if STEMS_FROM in config.declarations:
        model = {STEMS_FROM: {"model": _MODEL}}
        config = load(folder, overrides=model, environment=environment)
    cannot = _cannot(config)
    can = [name for name in config.declarations if name not in cannot]
    say(f"Stages this machine can do now: {', '.join(can)}.")
    for name, why in cannot.items():
        say(f"Not possible yet: {name}. {why}")
    where = texts.quoted(str(folder))
    option = f" --model {_MODEL}" if model else ""
    say(f"\n$ pipeline run {where}{option} --stages {','.join(can)}")
    asked: dict[str, JsonValue] = {**model, "stages": [*can]}
    # By name: whatever else lies there keeps the stems that it has.
    pieces = [name.encode() for name in names]
    report = run(load(folder, overrides=asked, names=pieces, environment=environment), emit=emit)
    say(texts.report(report, shown=str(folder), out=str(config.out)))
    if STEMS_FROM in can and (words := _of_the_stems(config.out, where)):
        say(words)
    say(
        "\nLook next:\n"
        f"  pipeline status {where}\n"
        f"  pipeline show {where} 'Night Bus.flac'\n"
        f'  pipeline query {where} "SELECT path, stage, name, value FROM feature '
        "WHERE source = 'mix' AND name IN ('integrated_lufs', 'tempo_bpm', 'key')\""
    )
    return report.exit_code


def _of_the_stems(out: Path, where: str) -> str:
    """Say where stems lie and how near they are to the true ones; nothing where there are none."""
    from pipeline.music.compare import compare  # reads sound; the run, which must not, is over

    found = compare(out)
    if not found:
        return ""
    first = next(iter(found))
    rows = [["", *STEMS]]
    for piece, stems in found.items():
        rows.append([piece, *(_shown(stems.get(stem)) for stem in STEMS)])
    return "\n".join(
        [
            f"\nStems to listen to, of each piece:\n  {out}/tracks/{first}/separation/",
            f"They come from {_MODEL}, the small model that ships with Nightshift. It is for trying "
            "out, not for productions; for those fetch Demucs' own and run again:",
            f"  pipeline models fetch htdemucs\n  pipeline run {where}",
            "\nHow near they are to the true stems, which are known: SDR in dB, more is nearer;",
            "in brackets what the mix itself would get.",
            *(f"  {line}" for line in texts.aligned(rows)),
        ]
    )


def _shown(found: Nearness | None) -> str:
    if found is None:
        return "-"
    if found.sdr_db is None or found.mix_sdr_db is None:
        return "silent"
    return f"{found.sdr_db:.1f} ({found.mix_sdr_db:.1f})"


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
