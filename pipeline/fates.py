"""What a run would do with the jobs of one track: decided as the ledger decides it when a run starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline import manifest as manifests
from pipeline.artifacts import OutputFolder
from pipeline.ledger.known import KnownContent, KnownJob
from pipeline.ledger.queue import PASSING
from pipeline.ledger.schema import State
from pipeline.ledger.work import fingerprint_of
from pipeline.recipe import Recipe
from stages.base import STEMS_FROM, Scope

Kind = tuple[str, str]  # stage, scope


@dataclass(frozen=True)
class Content:
    """A content that a run would work on; `known` is what the ledger has of it."""

    duration_s: float
    known: KnownContent | None
    problem: str | None


def fates(
    track: Content, jobs: Mapping[Kind, KnownJob], wanted: Sequence[Recipe], out: OutputFolder
) -> dict[Kind, str]:
    """Return what would become of each job: `new`, `stale`, `again`; or `done`, `failed`, `blocked`, `skipped`."""
    found: dict[Kind, str] = {}
    for recipe in (one for one in wanted if one.scope is Scope.MIX):
        what = _of_mix(recipe, jobs.get((recipe.stage, "mix")), track)
        found[recipe.stage, "mix"] = _unless_there(what, out, track, recipe, None)
    separated = jobs.get((STEMS_FROM, "mix"))
    fate = found.get((STEMS_FROM, "mix"), "left out" if separated is None else separated.state)
    upstream = _upstream(track, separated, wanted)
    for recipe in (one for one in wanted if one.scope is Scope.STEMS):
        what = _of_stems(recipe, jobs.get((recipe.stage, "stems")), upstream, fate)
        found[recipe.stage, "stems"] = _unless_there(what, out, track, recipe, upstream)
    return found


def _upstream(track: Content, separated: KnownJob | None, wanted: Sequence[Recipe]) -> str | None:
    """Return the fingerprint that the stems will have: as today's settings ask, or as they are."""
    asked = next((one.hash for one in wanted if one.stage == STEMS_FROM), None)
    if asked is not None and track.known is not None:
        return fingerprint_of(track.known.sha256, asked, None)
    return separated.fingerprint if separated is not None else None


def _of_mix(recipe: Recipe, job: KnownJob | None, track: Content) -> str:
    if track.problem is not None:
        return "failed"
    if recipe.blocked is not None:
        return "done" if job is not None and job.state == State.DONE else "blocked"
    return _of_job(recipe, job)


def _of_stems(recipe: Recipe, job: KnownJob | None, upstream: str | None, fate: str) -> str:
    if fate in ("failed", "skipped"):
        return "skipped"
    if fate in ("blocked", "left out", State.PENDING, State.WAITING):
        return "done" if job is not None and job.state == State.DONE else "skipped"
    if recipe.blocked is not None:
        return "blocked"
    found = _of_job(recipe, job)
    other_stems = job is not None and job.upstream != upstream
    return "stale" if found == "done" and other_stems else found


def _of_job(recipe: Recipe, job: KnownJob | None) -> str:
    """Say what a run would do with a job, as the ledger's queue decides it."""
    changed = job is not None and job.recipe != recipe.hash
    if job is None or job.state not in (State.DONE, State.FAILED):
        return "new"
    if job.state == State.DONE:
        return "stale" if changed else "done"
    passing = job.reason in PASSING and not job.retried
    return "again" if changed or passing else "failed"


def _unless_there(
    what: str, out: OutputFolder, track: Content, recipe: Recipe, upstream: str | None
) -> str:
    """Correct a fate by what lies on disk, as a run would find it.

    An output that is there is adopted; one that was deleted or changed is made anew.
    """
    if what not in ("new", "again", "done") or track.known is None or recipe.hash is None:
        return what
    place = (track.known.folder, recipe.stage, str(recipe.scope))
    if what == "done" and out.is_untouched(*place):
        return what
    found = manifests.read(out.stage(*place))
    wanted = fingerprint_of(track.known.sha256, recipe.hash, upstream)
    if found is not None and found[0].fingerprint == wanted:
        return "done"
    return "new" if what == "done" else what
