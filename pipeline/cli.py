"""The command line: reads options, environment and streams, calls one thing, prints, picks a code."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline import __version__, cli_bench, cli_models, cli_plan, cli_threads, texts, words
from pipeline.config import RunConfig, load
from pipeline.console import put as _print
from pipeline.console import say as _say
from pipeline.errors import BadUsage, PipelineError
from pipeline.options import (
    AsJson,
    Config,
    Dataset,
    Exclude,
    Include,
    Model,
    Out,
    Precision,
    Set,
    Shifts,
    Source,
    Stage,
    Stages,
    Stems,
    TwoStems,
    asked,
)

if TYPE_CHECKING:
    from pipeline.ledger.plan import Planned
    from pipeline.ledger.reading import Reading

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Prepare a music dataset overnight: separation and features, resumable, with a ledger.",
)


@app.command()
def run(
    dataset: Source,
    names: Annotated[
        str | None,
        typer.Argument(
            metavar="-", help="`-` reads the files to do from stdin.", show_default=False
        ),
    ] = None,
    out: Out = None,
    stages: Stages = None,
    include: Include = None,
    exclude: Exclude = None,
    stems: Stems = None,
    two_stems: TwoStems = None,
    shifts: Shifts = None,
    precision: Precision = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N or rocm.")] = None,
    model: Model = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads of the libraries; tracks at once for features.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="HH:MM", help="Be over by this time of the day.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many tracks.")] = None,
    order: Annotated[
        str | None, typer.Option(help="found, path, shortest, longest, newest or random.")
    ] = None,
    overlap: Annotated[
        bool, typer.Option("--overlap", help="Separate on a GPU beside the features, not in turn.")
    ] = False,
    config: Config = None,
    set_: Set = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> int:
    """Process every track of DATASET that is not finished yet."""
    from pipeline.progress import Progress
    from pipeline.supervisor import run as run_night

    overrides: dict[str, Any] = {
        "device": device,
        "threads": threads,
        "until": until,
        "limit": limit,
        "order": order,
        "overlap": overlap or None,
        **asked(
            stages=stages,
            stems=stems,
            two_stems=two_stems,
            model=model,
            shifts=shifts,
            precision=precision,
        ),
    }
    settings = load(
        dataset,
        out=out,
        file=config,
        overrides={key: value for key, value in overrides.items() if value is not None},
        assignments=set_ or (),
        include=include or (),
        exclude=exclude or (),
        names=_names(names),
        environment=os.environ,
    )
    progress = Progress()
    try:
        report = run_night(settings, emit=progress)
    finally:
        progress.close()
    if as_json:
        _print(json.dumps(texts.report_json(report)))
    else:
        given_out = str(out) if out is not None else None
        _say(texts.report(report, shown=str(dataset), out=str(settings.out), given_out=given_out))
    return report.exit_code


app.command()(cli_plan.plan)


@app.command()
def status(
    dataset: Dataset,
    out: Out = None,
    config: Config = None,
    set_: Set = None,
    as_json: AsJson = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it again every two seconds.")
    ] = False,
) -> int:
    """Show how far DATASET is: counts by stage, scope and state, speed, time left, load."""
    from pipeline.monitoring.words import load_lines

    settings = load(dataset, out=out, file=config, assignments=set_ or (), environment=os.environ)
    while True:
        answer = _status(settings)
        _print(
            json.dumps(answer)
            if as_json
            else "\n".join([texts.status(answer), *load_lines(answer)])
        )
        if not watch:
            return 0
        _wait_and_clear(as_json)


def _status(settings: RunConfig) -> dict[str, Any]:
    from datetime import UTC, datetime

    from pipeline.ledger.counting import Today
    from pipeline.lock import running
    from pipeline.monitoring.reading import load_keys

    planned, separation = _planned(settings)
    holder = running(settings.out)
    today = Today(settings.device, settings.overlap, at_work=holder is not None)
    with _reading(settings) as reading:
        answer = texts.status_json(
            reading.status(planned, separation, today),
            dataset=str(settings.dataset),
            holder=holder,
        )
    return {**answer, **load_keys(settings.out, answer, now=datetime.now(UTC))}


@app.command()
def tracks(
    dataset: Dataset,
    state: Annotated[
        str | None,
        typer.Option(
            help="pending, waiting, running, done, failed, blocked, skipped or unreadable."
        ),
    ] = None,
    stage: Stage = None,
    out: Out = None,
    as_json: AsJson = False,
) -> int:
    """List tracks and their jobs, with the reason of those that failed."""
    settings = load(dataset, out=out, environment=os.environ)
    known = {*texts.STATES, "unreadable"}
    if state is not None and state not in known:
        raise BadUsage(
            f"--state {state}: there is no such state. States: {', '.join(sorted(known))}."
        )
    _check_stage(settings, stage)
    with _reading(settings) as reading:
        for line in reading.tracks(state=state, stage=stage):
            _print(json.dumps(texts.line_json(line)) if as_json else texts.line(line))
    return 0


@app.command()
def show(
    dataset: Dataset,
    track: Annotated[str, typer.Argument(help="Relative path, its end, or the start of its hash.")],
    out: Out = None,
    as_json: AsJson = False,
) -> int:
    """Show one track whole: paths, jobs, features, every attempt."""
    settings = load(dataset, out=out, environment=os.environ)
    with _reading(settings) as reading:
        found = reading.show(track)
    _print(json.dumps(found) if as_json else texts.track(found))
    return 0


@app.command()
def query(
    dataset: Dataset,
    sql: Annotated[str, typer.Argument(help="One SELECT.")],
    out: Out = None,
    as_json: AsJson = False,
    time_limit: Annotated[
        float, typer.Option(help="Seconds until it is stopped.", min=0.001)
    ] = 60.0,
) -> int:
    """Ask the ledger in SQL, read-only. Views: job, feature."""
    from pipeline.ledger.query import ask

    settings = load(dataset, out=out, environment=os.environ)
    for answer in ask(_ledger_file(settings), sql, limit_s=time_limit):
        if as_json:
            for row in answer.rows:
                _print(json.dumps(dict(zip(answer.columns, map(texts.plain, row), strict=True))))
        else:
            _print("\t".join(answer.columns))
            for row in answer.rows:
                _print("\t".join(texts.cell(value) for value in row))
    return 0


@app.command()
def retry(
    dataset: Dataset,
    stage: Stage = None,
    track: Annotated[str | None, typer.Option(help="Only this track.")] = None,
    out: Out = None,
) -> int:
    """Put failed jobs back in the queue; the next run does them again."""
    from pipeline.mending import retry as put_back

    settings = load(dataset, out=out, environment=os.environ)
    _check_stage(settings, stage)
    _ledger_file(settings)
    count = put_back(settings.out, stage=stage, track=track)
    _say(
        f"{texts.counted(count, 'job')} will be tried again. Go on with: pipeline run {texts.quoted(str(dataset))}"
    )
    return 0


@app.command()
def verify(
    dataset: Dataset,
    hash_: Annotated[
        bool, typer.Option("--hash", help="Read every file, not only what looks touched.")
    ] = False,
    out: Out = None,
    as_json: AsJson = False,
) -> int:
    """Hold every output against its manifest; what was changed is made anew by the next run."""
    from pipeline.verifying import verify as look

    settings = load(dataset, out=out, environment=os.environ)
    _ledger_file(settings)
    found = look(settings.out, hash_all=hash_, tell=_counting("jobs looked at"))
    if as_json:
        _print(json.dumps(words.verified_json(found)))
        return found.exit_code
    for line in words.findings(found):
        _print(line)
    _say(words.verified(found, where=_where(dataset, out)))
    return found.exit_code


@app.command()
def rebuild(dataset: Dataset, out: Out = None, as_json: AsJson = False) -> int:
    """Make the ledger anew from the manifests; the old one is kept under another name."""
    from pipeline.rebuilding import rebuild as make_anew

    made = make_anew(load(dataset, out=out, environment=os.environ))
    if as_json:
        _print(json.dumps(words.rebuilt_json(made)))
        return 0
    for line in words.left_out(made):
        _print(line)
    _say(words.rebuilt(made, where=_where(dataset, out)))
    return 0


@app.command()
def gc(
    dataset: Dataset,
    stale: Annotated[
        bool, typer.Option("--stale", help="Also outputs that today's settings do not ask for.")
    ] = False,
    missing: Annotated[
        bool,
        typer.Option("--missing", help="Also tracks whose source is gone, with their outputs."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would go; touch nothing.")
    ] = False,
    out: Out = None,
    config: Config = None,
    set_: Set = None,
    as_json: AsJson = False,
) -> int:
    """Remove what is trashed or left over; never a file that no manifest lists."""
    from pipeline.collecting import collect

    settings = load(dataset, out=out, file=config, assignments=set_ or (), environment=os.environ)
    if stale or missing:
        _ledger_file(settings)
    found = collect(settings, stale=stale, missing=missing, dry_run=dry_run)
    if as_json:
        _print(json.dumps(words.collected_json(found)))
        return 0
    for line in words.removals(found):
        _print(line)
    _say(words.collected(found, where=_where(dataset, out)))
    return 0


@app.command()
def doctor(
    dataset: Annotated[
        Path | None, typer.Argument(help="Check the place of its outputs too.")
    ] = None,
    out: Out = None,
    as_json: AsJson = False,
) -> int:
    """Say whether this machine is fit: SQLite, decoders, libraries, device, disk."""
    from pipeline.doctor import examine

    settings = load(dataset or Path.cwd(), out=out, environment=os.environ)
    findings = list(examine(settings, with_disk=dataset is not None or out is not None))
    if as_json:
        _print(json.dumps([texts.finding_json(finding) for finding in findings]))
    else:
        for finding in findings:
            _print(texts.finding(finding))
    return 4 if any(finding.level == "bad" for finding in findings) else 0


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Where to put the music.")] = Path("demo-music"),
) -> int:
    """Take five short pieces of music through every stage this machine can do, offline."""
    from pipeline.demo import demonstrate
    from pipeline.progress import Progress

    return demonstrate(folder, environment=os.environ, emit=Progress(), say=_print)


app.add_typer(cli_models.models, name="models")
app.add_typer(cli_bench.bench, name="bench")
app.command()(cli_models.licenses)
app.command()(cli_threads.threads)


@app.callback(invoke_without_command=True)
def _version(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True)
    ] = False,
) -> None:
    if version:
        _print(f"nightshift {__version__}")
        raise typer.Exit


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    if sys.platform == "win32":
        _say("error: Nightshift runs on Windows through WSL2 only: install it inside WSL2.")
        return 4
    _open_standard_streams()
    try:
        code = app(args=None if argv is None else list(argv), standalone_mode=False)
        _flush()
        return int(code or 0)
    except PipelineError as error:
        _say(f"error: {error}")
        return error.exit_code
    except typer.Exit as leaving:
        return leaving.exit_code
    except typer.Abort:
        return 130
    except BrokenPipeError:
        # `pipeline tracks … | head`: the reader has enough. Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if (code := _usage(error)) is not None:
            return code
        raise


def _usage(error: Exception) -> int | None:
    """Show a usage error of the option parser; None for any other exception."""
    show_error, code = getattr(error, "show", None), getattr(error, "exit_code", None)
    if show_error is None or code is None:
        return None
    show_error()
    return int(code)


def _names(names: str | None) -> list[bytes] | None:
    if names is None:
        return None
    if names != "-":
        raise BadUsage(f"{names}: give `-` to read a list of files from stdin, or nothing.")
    from pipeline.scan import read_names

    return list(read_names(sys.stdin.buffer))


def _where(dataset: Path, out: Path | None) -> str:
    """Return the arguments with which another command finds the same outputs."""
    given = f" --out {texts.quoted(str(out))}" if out is not None else ""
    return f"{texts.quoted(str(dataset))}{given}"


def _counting(what: str) -> Callable[[int], None]:
    """Return what says, every ten seconds, how far a long command is."""
    import time

    last = time.monotonic()

    def tell(number: int) -> None:
        nonlocal last
        if time.monotonic() - last >= 10:
            last = time.monotonic()
            _say(f"{number} {what}")

    return tell


def _check_stage(settings: RunConfig, stage: str | None) -> None:
    if stage is not None and stage not in settings.declarations:
        raise BadUsage(f"there is no stage {stage}. Stages: {', '.join(settings.declarations)}.")


def _ledger_file(settings: RunConfig) -> Path:
    from pipeline.ledger.connect import FILE_NAME

    path = settings.out / FILE_NAME
    if not path.exists():
        raise BadUsage(
            f"{settings.out} holds no ledger yet. Start with: pipeline run {texts.quoted(str(settings.dataset))}"
        )
    return path


@contextmanager
def _reading(settings: RunConfig) -> Iterator[Reading]:
    from pipeline.ledger.connect import reader
    from pipeline.ledger.migrate import check_readable
    from pipeline.ledger.reading import Reading

    path = _ledger_file(settings)
    with reader(path) as engine:
        check_readable(engine, path)
        yield Reading(engine)


def _planned(settings: RunConfig) -> tuple[list[Planned], Planned | None]:
    from pipeline.machine import Machine
    from pipeline.recipe import recipes, separation_of

    found = recipes(settings, Machine.read(settings.out))
    return [recipe.planned() for recipe in found], separation_of(found)


def _wait_and_clear(as_json: bool) -> None:
    import time

    sys.stdout.flush()
    time.sleep(2)
    if not as_json and sys.stdout.isatty():
        _print("\x1b[2J\x1b[H")


def _open_standard_streams() -> None:
    """Give the descriptors 0 to 2 to nobody else: what a library prints would land in a ledger."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest that is free


def _flush() -> None:
    if sys.stdout is not None:  # it is None where nobody gave us one
        sys.stdout.flush()
