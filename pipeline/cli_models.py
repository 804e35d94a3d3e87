"""The commands about weights and licences. As in `cli.py`: options in, one call, print, a code."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline import __version__
from pipeline.console import put, say
from pipeline.errors import Unfit
from pipeline.options import AsJson
from stages.base import StageBlocked
from stages.published import Licence, models_folder

if TYPE_CHECKING:
    from pipeline.model_files import ModelsFolder

models = typer.Typer(
    no_args_is_help=True, help="Weights: list, fetch, import and verify published models."
)

Accept = Annotated[
    bool, typer.Option("--accept-licence", help="Accept the licences that are shown.")
]


@models.command("list")
def list_models(as_json: AsJson = False) -> int:
    """Show every model of the catalogue: there, missing or damaged, its size, its licence."""
    from pipeline import model_words
    from pipeline.models import listed

    folder = _folder()
    reports = listed(folder)
    if as_json:
        put(json.dumps([model_words.model_json(report) for report in reports]))
        return 0
    for report in reports:
        put(model_words.model(report))
    say(model_words.listed(folder.root))
    return 0


@models.command()
def fetch(
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Names of the catalogue.")],
    accept_licence: Accept = False,
    mirror: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="URL",
            envvar="NIGHTSHIFT_MODELS_URL",
            help="A mirror, laid out as the models folder is.",
        ),
    ] = None,
) -> int:
    """Fetch models, and what they need, into the models folder. Goes on where it broke off."""
    from pipeline import model_words
    from pipeline.fetch_bar import FetchBar
    from pipeline.models import fetch as bring

    folder, bar = _folder(), FetchBar(sys.stderr)
    try:
        done = bring(
            names,
            folder=folder,
            agree=_agree(accept_licence),
            watcher=bar,
            base_url=mirror or None,
        )
    except KeyboardInterrupt:
        say("stopped; what came is kept. The same command goes on.")
        raise
    finally:
        bar.close()
    say(model_words.fetched(done, folder.root))
    return 0


@models.command("import")
def import_models(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH", help="Files, or folders with them.")
    ],
    accept_licence: Accept = False,
) -> int:
    """Copy weights that were fetched elsewhere; each is known by its hash, or by its name."""
    from pipeline import model_words
    from pipeline.model_import import bring

    done = bring(paths, folder=_folder(), agree=_agree(accept_licence), say=say)
    for line in model_words.findings(done.findings):
        put(line)
    say(model_words.imported(done))
    return done.exit_code


@models.command("verify")
def verify_models(as_json: AsJson = False) -> int:
    """Hash everything that is there; name what is damaged or incomplete, and what mends it."""
    from pipeline import model_words
    from pipeline.models import verify

    found = verify(_folder())
    if as_json:
        put(json.dumps(model_words.verified_json(found)))
    else:
        for line in model_words.findings(found.findings):
            put(line)
        say(model_words.verified(found))
    return 1 if found.findings else 0


def licenses(as_json: AsJson = False) -> int:
    """Show who owns what is used: libraries, programs, weights, the music."""
    from pipeline import model_words
    from pipeline.licences import owned

    things = owned(_folder(), version=__version__)
    if as_json:
        put(json.dumps([model_words.owned_json(one) for one in things]))
        return 0
    for one in things:
        put(model_words.owned(one))
    say(model_words.NOT_ADVICE)
    return 0


def _folder() -> ModelsFolder:
    from pipeline.model_files import ModelsFolder

    try:
        return ModelsFolder(models_folder())
    except StageBlocked as error:
        raise Unfit(str(error)) from error


def _agree(accepted: bool) -> Callable[[Licence], bool]:
    """Return what shows a licence and says whether the user accepts it."""
    from pipeline import model_words

    def agree(licence: Licence) -> bool:
        say(model_words.licence(licence))
        if accepted:
            say("Accepted by --accept-licence.")
            return True
        if sys.stdin is None or not sys.stdin.isatty():
            return False
        say("Do you accept this? Type yes:")
        return sys.stdin.readline().strip().lower() == "yes"

    return agree
