"""The commands that measure. As in `cli.py`: options in, one call, print, a code."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.console import put, say
from pipeline.errors import BadUsage
from pipeline.options import AsJson

if TYPE_CHECKING:
    from pipeline.bench.night_ways import Part
    from pipeline.bench.subjects import Subject
    from pipeline.bench.ways import Precision, Way

Files = Annotated[
    list[Path], typer.Argument(metavar="FILES...", help="Files of audio.", show_default=False)
]
Against = Annotated[str, typer.Option(help="Which other ways, comma-separated.")]
Runs = Annotated[int, typer.Option(min=1, help="How often each way is run.")]
Threads = Annotated[
    list[int] | None,
    typer.Option(
        min=1, max=4096, help="Of every way; ours once with each number given. Default: 1."
    ),
]

MOST_SEGMENTS = 1024

bench = typer.Typer(
    no_args_is_help=True, help="Speeds on this machine, against the other ways to do it."
)


@bench.command()
def separation(
    files: Files,
    model: Annotated[
        str, typer.Option(help="Catalogue name, folder or safetensors file.")
    ] = "htdemucs",
    precision: Annotated[str, typer.Option(help="exact, balanced or fast.")] = "exact",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or rocm.")] = "cpu",
    against: Against = "cli-per-file,cli-in-one-call,apply-model",
    runs: Runs = 3,
    as_json: AsJson = False,
) -> int:
    """Separate FILES with Demucs' own ways and with `pipeline run`, in turn; compare time and stems."""
    from pipeline.bench import words
    from pipeline.bench.separation import Question, measure

    question = Question(
        files=tuple(files),
        model=model,
        precision=_precision(precision),
        device=device,
        against=_ways(against),
        runs=runs,
    )
    measured = measure(question, environment=os.environ, say=say)
    put(json.dumps(words.measured_json(measured)) if as_json else words.table(measured))
    if measured.keeps_the_promise:
        return 0
    say(words.broken_promise(measured))
    return 1


@bench.command()
def features(
    files: Files,
    against: Against = "each-by-itself,loaded-once",
    threads: Threads = None,
    runs: Runs = 3,
    as_json: AsJson = False,
) -> int:
    """Take FILES' features as a script does and with `pipeline run`, in turn; compare time and values."""
    from pipeline.bench.subjects import FEATURES

    return _against_a_script(FEATURES, files, against, threads, runs, as_json=as_json)


@bench.command()
def tagging(
    files: Files,
    families: Annotated[
        str, typer.Option(help="Which families of models, comma-separated.")
    ] = "musicnn",
    against: Against = "each-by-itself,loaded-once",
    threads: Threads = None,
    runs: Runs = 3,
    as_json: AsJson = False,
) -> int:
    """Show FILES to Essentia's models as a script does and with `pipeline run`, in turn; compare."""
    from pipeline.bench import subjects

    subject = subjects.tagging(_families(families))
    return _against_a_script(subject, files, against, threads, runs, as_json=as_json)


@bench.command()
def overlap(
    files: Files,
    speed: Annotated[
        float, typer.Option(min=0.1, help="Of the simulated device, in times real time.")
    ] = 20.0,
    runs: Runs = 3,
    as_json: AsJson = False,
) -> int:
    """Do FILES with lanes in turn, beside one another, and in pools of processes; compare the time."""
    from pipeline.bench import overlap_words as words
    from pipeline.bench.overlap import Question, measure

    question = Question(tuple(files), speed=speed, runs=runs)
    with tempfile.TemporaryDirectory(prefix="nightshift-bench-") as folder:
        measured = measure(question, Path(folder), environment=os.environ, say=say)
    put(json.dumps(words.measured_json(measured)) if as_json else words.table(measured))
    return 0


@bench.command()
def night(
    files: Files,
    parts: Annotated[
        str, typer.Option("--stages", help="Which of them, comma-separated.")
    ] = "separation,tagging,features",
    model: Annotated[
        str, typer.Option(help="Catalogue name, folder or safetensors file.")
    ] = "nano",
    families: Annotated[
        str, typer.Option(help="Which families of models, comma-separated.")
    ] = "musicnn",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or rocm.")] = "cpu",
    sample: Annotated[
        int, typer.Option(min=2, help="From how many files it is foretold; at most half of them.")
    ] = 10,
    length_s: Annotated[
        float | None,
        typer.Option(min=1, help="Tell hours for files of this length. Default: the mean one."),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Do FILES as scripts do and with `pipeline run`; tell hours for up to 100,000 files."""
    from pipeline.bench import night_figures, night_words
    from pipeline.bench.night import Question, measure

    question = Question(
        files=tuple(files),
        parts=_parts(parts),
        model=model,
        families=_families(families),
        device=device,
        sample=sample,
        length_s=length_s,
    )
    measured = measure(question, environment=os.environ, say=say)
    put(
        json.dumps(night_figures.measured_json(measured))
        if as_json
        else night_words.table(measured)
    )
    return 0


@bench.command()
def gpu(
    files: Files,
    model: Annotated[
        str, typer.Option(help="Catalogue name, folder or safetensors file.")
    ] = "htdemucs",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or rocm.")] = "auto",
    sections: Annotated[
        str, typer.Option(help="Which of them, comma-separated.")
    ] = "card,batches,forwards,tracks,memory,lane,features,kill,songs,clips",
    formats: Annotated[
        str, typer.Option(help="Numbers to compute with, comma-separated.")
    ] = "exact,balanced,fast,tf32,float16",
    batches: Annotated[str, typer.Option(help="Segments at once.")] = "1,4,8,16,32",
    hows: Annotated[
        str, typer.Option(help="How forwards are started: eager, graph, compiled.")
    ] = "eager,graph",
    clips: Annotated[int, typer.Option(min=1, help="Pieces cut out of FILES.")] = 200,
    clip_s: Annotated[float, typer.Option(min=1, help="Their length.")] = 30.0,
    runs: Annotated[int, typer.Option(min=1, help="How often a forward is timed at least.")] = 3,
    rounds: Annotated[int, typer.Option(min=1, help="How often whole processes are run.")] = 3,
    results: Annotated[
        Path | None, typer.Option(help="JSON of all findings so far, after each of them.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Measure what a card gives a separation: forwards, equality, short memory, whole processes."""
    from pipeline.bench.gpu import words
    from pipeline.bench.gpu.brief import Brief
    from pipeline.bench.gpu.measuring import SECTIONS, Question, measure
    from pipeline.bench.gpu.names import FORMATS, HOWS

    brief = Brief(
        model=model,
        device=device,
        formats=_chosen(formats, FORMATS, option="--formats"),
        batches=_numbers(batches),
        hows=_chosen(hows, HOWS, option="--hows"),
        files=tuple(files),
        runs=runs,
    )
    question = Question(
        brief=brief,
        sections=_chosen(sections, SECTIONS, option="--sections"),
        clips=clips,
        clip_s=clip_s,
        rounds=rounds,
        results=results,
    )
    measured = measure(question, environment=os.environ, say=say)
    put(json.dumps(measured) if as_json else words.table(measured))
    return 0


def _chosen(given: str, known: Sequence[str], *, option: str) -> tuple[str, ...]:
    """Return the names that are given, each once, in their own order."""
    named = _named(given, known, option=option)
    return tuple(name for name in known if name in named)


def _numbers(given: str) -> tuple[int, ...]:
    try:
        found = sorted({int(number) for number in given.split(",")})
    except ValueError:
        found = []
    if not found or not 1 <= found[0] <= found[-1] <= MOST_SEGMENTS:
        raise BadUsage(
            f"--batches {given}: give whole numbers from 1 to {MOST_SEGMENTS}, comma-separated."
        )
    return tuple(found)


def _against_a_script(
    subject: Subject,
    files: Sequence[Path],
    against: str,
    threads: Sequence[int] | None,
    runs: int,
    *,
    as_json: bool,
) -> int:
    from pipeline.bench import feature_words as words
    from pipeline.bench.feature_ways import RIVALS
    from pipeline.bench.features import Question, measure

    question = Question(
        files=tuple(files),
        against=tuple(way for way in RIVALS if way in _named(against, RIVALS)),
        runs=runs,
        threads=numbers_of_threads(threads),
        subject=subject,
    )
    measured = measure(question, environment=os.environ, say=say)
    put(json.dumps(words.measured_json(measured)) if as_json else words.table(measured))
    return 0


def _families(given: str) -> tuple[str, ...]:
    from stages.families import FAMILIES

    names = tuple(name.strip() for name in given.split(","))
    unknown = [name for name in names if name not in FAMILIES]
    if unknown:
        raise BadUsage(f"--families {unknown[0]}: give some of {', '.join(FAMILIES)}.")
    return names


def _parts(given: str) -> tuple[Part, ...]:
    from pipeline.bench.night_ways import PARTS

    named = _named(given, PARTS, option="--stages")
    return tuple(part for part in PARTS if part in named)


def numbers_of_threads(given: Sequence[int] | None) -> tuple[int, ...]:
    """Return the numbers that are given, each once, in the order in which they are run."""
    return tuple(sorted(set(given or (1,))))


def _precision(given: str) -> Precision:
    from pipeline.bench.ways import Precision

    try:
        return Precision(given)
    except ValueError:
        raise BadUsage(f"--precision {given}: give one of {', '.join(Precision)}.") from None


def _ways(given: str) -> tuple[Way, ...]:
    """Return the ways that are named, each once, in the order in which they are run."""
    from pipeline.bench.ways import RIVALS

    named = _named(given, RIVALS)
    return tuple(way for way in RIVALS if way in named)


def _named(given: str, known: Sequence[str], *, option: str = "--against") -> set[str]:
    named = {name.strip() for name in given.split(",")}
    unknown = sorted(named - set(known))
    if unknown:
        raise BadUsage(f"{option} {unknown[0]}: give some of {', '.join(known)}.")
    return named
