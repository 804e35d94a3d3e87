"""What verify, rebuild and gc say: as lines for people, as JSON with stable keys for programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pipeline.amounts import size
from pipeline.texts import counted

if TYPE_CHECKING:
    from pipeline.collecting import Collected
    from pipeline.rebuilding import Rebuilt
    from pipeline.verifying import Verified


def verified_json(found: Verified) -> dict[str, Any]:
    """Return what verify found, for programs."""
    return {
        "recovered": found.recovered,
        "jobs": found.jobs,
        "hashed": found.hashed,
        "well": not found.wrong,
        "opened": found.opened,
        "findings": [asdict(finding) for finding in found.findings],
    }


def findings(found: Verified) -> Iterator[str]:
    """Give one line for each thing that verify found."""
    for finding in found.findings:
        yield f"{finding.what:<20}{finding.folder}/{finding.file}: {finding.detail}"


def verified(found: Verified, *, where: str) -> str:
    """Return what verify did, and what to do next."""
    how = "every file hashed" if found.hashed else "by names, sizes and times; --hash reads all"
    lines = [*_recovered(found), f"{counted(found.jobs, 'job')} looked at, {how}."]
    wrong = len(found.wrong)
    if wrong:
        lines.append(
            f"{counted(wrong, 'thing')} wrong. What was odd proves nothing any more, stays where it "
            f"is, and goes to .trash when it is made anew. Mend it with: pipeline run {where}"
        )
    else:
        lines.append("All that is done is as it was published.")
    unknown = len(found.findings) - wrong
    if unknown:
        lines.append(
            f"{counted(unknown, 'output')} the ledger does not count as done: the next run adopts "
            "those that today's settings ask for."
        )
    return "\n".join(lines)


def rebuilt_json(made: Rebuilt) -> dict[str, Any]:
    """Return what the new ledger holds, for programs."""
    return asdict(made)


def rebuilt(made: Rebuilt, *, where: str) -> str:
    """Return what the new ledger holds, what it cannot know, and what to do next."""
    lines = [
        *_recovered(made),
        f"a new ledger: {counted(made.tracks, 'track')}, {counted(made.jobs, 'job')} done.",
    ]
    if made.set_aside is not None:
        lines.append(f"The old one is kept as {made.set_aside}")
    if made.left:
        lines.append(f"{counted(len(made.left), 'folder')} not taken, named above.")
    lines.append(
        "What no manifest tells is not known any more: runs, attempts, deaths, failures, files "
        "that could not be read, further paths of a content. The next run reads each source "
        f"again, once. Go on with: pipeline run {where}"
    )
    return "\n".join(lines)


def left_out(made: Rebuilt) -> Iterator[str]:
    """Give one line for each folder that the new ledger does not count."""
    for left in made.left:
        yield f"{left.folder}: {left.why}"


def collected_json(found: Collected) -> dict[str, Any]:
    """Return what gc removed, for programs."""
    return {**asdict(found), "bytes": found.bytes}


def removals(found: Collected) -> Iterator[str]:
    """Give one line for each folder that went, or would go, and each file of the user."""
    for one in found.removed:
        yield f"{one.kind:<10}{size(one.bytes):>10}  {one.path}"
    for path in found.kept:
        yield f"{'yours':<10}{'':>10}  {path}"


def collected(found: Collected, *, where: str) -> str:
    """Return what gc did."""
    number = counted(sum(one.files for one in found.removed), "file")
    if found.dry_run:
        lines = [f"{number}, {size(found.bytes)}, would go. Nothing was touched."]
    else:
        lines = [*_recovered(found), f"{number} removed, {size(found.bytes)}."]
    if found.kept:
        lines.append(
            f"{counted(len(found.kept), 'file')} that no manifest lists stay, named above: "
            "they are not Nightshift's to delete."
        )
    if not found.dry_run and any(one.kind == "stale" for one in found.removed):
        lines.append(f"What was stale is made anew by: pipeline run {where}")
    return "\n".join(lines)


def _recovered(done: Verified | Rebuilt | Collected) -> list[str]:
    return [f"recovered: {what}" for what in done.recovered]
