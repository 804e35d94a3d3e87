"""What `models` and `licenses` say: as lines for people, as JSON with stable keys for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.amounts import size
from pipeline.texts import counted

if TYPE_CHECKING:
    from pipeline.licences import Owned
    from pipeline.model_files import FileReport
    from pipeline.model_import import Imported
    from pipeline.models import Fetched, Finding, ModelReport, Verified
    from stages.published import Licence

NOT_ADVICE = "This is information, not legal advice."


def model(report: ModelReport) -> str:
    """Return one line of `models list`."""
    shown = size(report.size_bytes) if report.size_bytes is not None else "?"
    mark = "*" if any(file.file.sha256 is None for file in report.files) else " "
    return (
        f"{report.state:<8}  {report.model.name + mark:<46}{shown:>9}  {report.model.kind:<11} "
        f"{report.model.licence.key:<16} {report.model.what_for}"
    )


def model_json(report: ModelReport) -> dict[str, Any]:
    """Return one model of `models list --json`."""
    return {
        "name": report.model.name,
        "kind": report.model.kind,
        "what_for": report.model.what_for,
        "state": report.state,
        "bytes": report.size_bytes,
        "licence": report.model.licence.key,
        "licence_accepted_utc": report.accepted_utc,
        "needs": list(report.model.needs),
        "ships": report.model.ships,
        "files": [_file_json(file) for file in report.files],
    }


def _file_json(report: FileReport) -> dict[str, Any]:
    return {
        "path": str(report.path),
        "url": report.file.url or None,
        "state": report.state,
        "bytes": report.size_bytes if report.size_bytes is not None else report.file.size_bytes,
        "sha256": report.expected,
        "pinned": report.pinned,
    }


def listed(root: Path) -> str:
    """Return what `models list` says below its lines."""
    return (
        "* Of a file at least no SHA-256 is published: the first that comes is pinned, later ones "
        f"are held against it.\nIn {root}. Fetch with: pipeline models fetch NAME"
    )


def fetched(done: Fetched, root: Path) -> str:
    """Return what a fetch brought."""
    come = sum(file.size_bytes or 0 for file in done.brought)
    lines = [f"{one.name} ships with Nightshift and needs no fetching." for one in done.shipped]
    if done.here:
        lines.append(f"{counted(len(done.here), 'file')} here already, and right.")
    if done.brought:
        lines.append(f"{counted(len(done.brought), 'file')} fetched, {size(come)}, into {root}")
    first = [file.file.name for file in done.brought if file.file.sha256 is None]
    if first:
        lines.append(f"No hash is published of {', '.join(first)}: pinned as it came.")
    return "\n".join(lines)


def imported(done: Imported) -> str:
    """Return what an import took."""
    lines = [f"{path}: taken" for path in done.taken]
    lines.extend(f"{path}: here already, and right" for path in done.here)
    if not (done.taken or done.here):
        lines.append("Nothing of it was taken: no file of the catalogue is among it.")
    return "\n".join(lines)


def findings(found: Sequence[Finding]) -> Iterator[str]:
    """Give the lines of each file that is not what it should be."""
    for one in found:
        yield f"{one.what:<10}  {one.file}"
        if one.expected is not None:
            yield f"            expected  {one.expected}"
        if one.found is not None:
            yield f"            found     {one.found}"
        yield f"            mend      {one.mend}"


def verified(found: Verified) -> str:
    """Return what `models verify` found, in all."""
    lines = [f"{counted(found.hashed, 'file')} hashed, {len(found.findings)} wrong or missing."]
    if found.unpinned:
        names = ", ".join(f"{one.file.name}" for one in found.unpinned)
        models = " ".join(dict.fromkeys(one.model.name for one in found.unpinned))
        lines.append(
            f"Nothing speaks for {names} yet. Take it as it is with: pipeline models fetch {models}"
        )
    return "\n".join(lines)


def verified_json(found: Verified) -> dict[str, Any]:
    """Return what `models verify` found, for programs."""
    return {
        "well": not found.findings,
        "hashed": found.hashed,
        "findings": [asdict(one) for one in found.findings],
        "unpinned": [str(one.path) for one in found.unpinned],
    }


def licence(one: Licence) -> str:
    """Return a licence as it is shown before it is accepted."""
    return f"{one.title}\n  {one.words}\n  {one.url}"


def owned(one: Owned) -> str:
    """Return the lines of `licenses` about one thing."""
    version = f" {one.version}" if one.version else ""
    accepted = f"accepted here {one.accepted_utc}" if one.accepted_utc else None
    lines = [f"{one.what:<12}{one.name + version:<40}{one.licence}"]
    more = (one.words, f"covers {', '.join(one.covers)}" if one.covers else None, one.url, accepted)
    return "\n".join([*lines, *(f"{'':<12}  {line}" for line in more if line)])


def owned_json(one: Owned) -> dict[str, Any]:
    """Return one entry of `licenses --json`."""
    return asdict(one)
