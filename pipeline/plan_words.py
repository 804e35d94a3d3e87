"""What `plan` says: as text for people, as JSON with stable keys for programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pipeline.amounts import size
from pipeline.texts import counted, duration

if TYPE_CHECKING:
    from pipeline.planning import Plan

_COLUMNS = ("new", "stale", "again", "done", "failed", "blocked", "skipped")


def plan_json(made: Plan, *, dataset: str) -> dict[str, Any]:
    """Return a plan, for programs."""
    stages: dict[str, dict[str, dict[str, Any]]] = {}
    for (stage, scope), work in made.work.items():
        changed = dict(made.changed.get((stage, scope), {}))
        counts = {"to_do": work.to_do, **asdict(work)}
        stages.setdefault(stage, {})[scope] = {**counts, "why_stale": changed}
    return {
        "dataset": dataset,
        "tracks": {
            "total": made.tracks,
            "audio_s": made.audio_s,
            "duplicates": made.duplicates,
            "unreadable": made.unreadable,
            "missing": made.missing,
            "not_read_yet": made.unread,
            "not_read_yet_bytes": made.unread_bytes,
        },
        "left_out": made.left_out,
        "stages": stages,
        "blocked": made.blocked,
        "needed_bytes": round(made.needed_bytes),
        "free_bytes": made.free_bytes,
        "expected_s": made.seconds,
        "speed_unknown": [list(kind) for kind in made.unknown_speed],
    }


def plan(made: Plan, *, dataset: str, where: str) -> str:
    """Return a plan as a page."""
    costs = ["", *_costs(made)] if made.tracks else []
    go = ["", f"Nothing was touched. Go: pipeline run {where}"]
    return "\n".join([dataset, *_tracks(made, where), *_table(made), *costs, *go])


def _tracks(made: Plan, where: str) -> Iterator[str]:
    yield f"{counted(made.tracks, 'track')}, {duration(made.audio_s)} of audio"
    also = [
        f"{number} {what}"
        for number, what in (
            (made.duplicates, "more under another name, as duplicates"),
            (made.unreadable, "unreadable"),
            (made.missing, "missing"),
            *((number, f"left out ({reason})") for reason, number in made.left_out.items()),
        )
        if number
    ]
    if also:
        yield ", ".join(also)
    if made.unread:
        yield (
            f"{counted(made.unread, 'file')} not read yet ({size(made.unread_bytes)}), and in no number "
            f"below. To read them: pipeline plan {where} --probe"
        )


def _table(made: Plan) -> Iterator[str]:
    if made.tracks:
        yield ""
        yield from _jobs(made)
    for stage, why in made.blocked.items():
        yield f"{stage} is blocked: {why}"


def _jobs(made: Plan) -> Iterator[str]:
    columns = [name for name in _COLUMNS if any(getattr(w, name) for w in made.work.values())]
    heads = "".join(f"{name:>9}" for name in ("to do", *columns))
    yield f"{'stage':<16}{'scope':<8}{heads}{'time':>12}"
    for (stage, scope), work in made.work.items():
        numbers = "".join(f"{getattr(work, name):>9}" for name in ("to_do", *columns))
        time = "-" if not work.to_do else "?" if work.seconds is None else duration(work.seconds)
        yield f"{stage:<16}{scope:<8}{numbers}{time:>12}"
    for (stage, scope), reasons in made.changed.items():
        for reason, number in reasons.most_common():
            yield f"{stage} ({scope}): {number} stale: {reason}"


def _costs(made: Plan) -> Iterator[str]:
    yield f"Disk: about {size(made.needed_bytes)} to write, {size(made.free_bytes)} free."
    if made.unknown_speed:
        unknown = ", ".join(f"{stage} ({scope})" for stage, scope in made.unknown_speed)
        known = (
            f"{duration(made.seconds)}, and what these take" if made.seconds else "not known for"
        )
        yield f"Time: {known}: {unknown}. They never ran here: try --limit 10."
    else:
        yield f"Time: {duration(made.seconds)}."
