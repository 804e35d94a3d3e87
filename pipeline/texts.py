"""How answers look: as text for people, as JSON with stable keys for programs."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from stages.base import STEMS_FROM

if TYPE_CHECKING:
    from pipeline.doctor import Finding
    from pipeline.ledger.counting import Status
    from pipeline.ledger.reading import JobLine
    from pipeline.lock import Holder
    from pipeline.report import Report

_LINE_MAX = 400
STATES = ("pending", "waiting", "running", "done", "failed", "blocked", "skipped")


def report_json(report: Report) -> dict[str, Any]:
    """Return what a run did, for programs."""
    return {**asdict(report), "exit_code": report.exit_code}


def report(report: Report, *, shown: str, out: str, given_out: str | None = None) -> str:
    """Return what a run did, and what to do next; `given_out` is what `--out` was, if given."""
    where = quoted(shown) + (f" --out {quoted(given_out)}" if given_out is not None else "")
    lines = []
    if report.stopped_by is not None:
        lines.append(f"stopped; {report.done} jobs done. Resume with: pipeline run {where}")
    elif report.stopped_for is not None:
        lines.append(_stopped(report, where))
    elif report.tracks == 0 and not report.unreadable:
        lines.append(f"no audio was found in {shown}. Is it the right folder? Filters count too.")
    elif report.done == 0 and not (report.failed or report.blocked or report.unreadable):
        lines.append(
            f"nothing to do: {counted(report.tracks, 'track')}, all done. No lane was started."
        )
    else:
        lines.append(
            f"{counted(report.tracks, 'track')}: {counted(report.done, 'job')} done by this run, "
            f"{report.already_done} before."
        )
    if report.failed or report.unreadable:
        lines.append(
            f"{counted(report.failed, 'job')} failed, {counted(report.unreadable, 'file')} could not be read. "
            f"See why: pipeline tracks {where} --state failed"
        )
    lines.extend(
        f"{stage} is blocked; pipeline status {where} says why." for stage in report.blocked
    )
    lines.append(f"Outputs: {out}")
    return "\n".join(lines)


def _stopped(report: Report, where: str) -> str:
    """Return what a run did that stopped as it was asked to, or for want of space."""
    left = counted(report.left, "track") + " left"
    if report.unprobed:
        left += f", {counted(report.unprobed, 'file')} not looked at yet"
    done = f"{counted(report.done, 'job')} done by this run; {left}."
    if report.stopped_for == "disk":
        return f"stopped for want of space: {report.why} {done}"
    return f"stopped as asked, {report.why}: {done} Go on with: pipeline run {where}"


def status_json(status: Status, *, dataset: str, holder: Holder | None) -> dict[str, Any]:
    """Return the status with the stable keys of `status --json`."""
    stages: dict[str, dict[str, dict[str, Any]]] = {}
    speeds: dict[str, dict[str, float | None]] = {}
    for counts in status.jobs:
        states = {state: counts.by_state.get(state, 0) for state in STATES}
        stages.setdefault(counts.stage, {})[counts.scope] = {**states, "stale": counts.stale}
        speed = counts.wall_s_per_audio_s
        speeds.setdefault(counts.stage, {})[counts.scope] = 1 / speed if speed else None
    running = None
    if holder is not None and status.last_run is not None and status.last_run["ended_utc"] is None:
        running = {**status.last_run, "pid": holder.pid, "host": holder.host}
    return {
        "dataset": dataset,
        "tracks": {
            "total": status.tracks,
            "missing": status.missing,
            "unreadable": status.unreadable,
            "not_probed_yet": status.unprobed,
        },
        "stages": stages,
        "blocked": status.blocked,
        "times_real_time": speeds,
        "run": running,
        "last_run": status.last_run,
        "remaining_s": status.remaining_s,
    }


def status(answer: Mapping[str, Any]) -> str:
    """Return the status as a table."""
    tracks = answer["tracks"]
    extras = [
        f"{tracks[key]} {words}"
        for key, words in (
            ("missing", "missing"),
            ("unreadable", "unreadable"),
            ("not_probed_yet", "not looked at yet"),
        )
        if tracks[key]
    ]
    lines = [answer["dataset"], ", ".join([counted(tracks["total"], "track"), *extras]), ""]
    columns = [state for state in (*STATES, "stale") if _any(answer["stages"], state)] or ["done"]
    lines.append(
        f"{'stage':<16}{'scope':<8}" + "".join(f"{name:>9}" for name in columns) + "  × real time"
    )
    for stage, scopes in answer["stages"].items():
        for scope, counts in scopes.items():
            speed = answer["times_real_time"][stage][scope]
            numbers = "".join(f"{counts[name]:>9}" for name in columns)
            lines.append(f"{stage:<16}{scope:<8}{numbers}  {f'{speed:.1f}' if speed else '-':>11}")
    lines.append("")
    lines.extend(f"{stage} is blocked: {why}" for stage, why in answer["blocked"].items())
    lines.append(_run_line(answer))
    return "\n".join(lines)


def _run_line(answer: Mapping[str, Any]) -> str:
    left = answer["remaining_s"]
    if answer["run"] is not None:
        run = answer["run"]
        end = f", about {duration(left)} left" if left else ""
        how = ", separation beside the features" if _overlaps(run) else ""
        budget = f", {counted(run['threads'], 'thread')}" if run["threads"] else ""
        return f"run {run['id']} is working (pid {run['pid']} on {run['host']}{budget}{how}){end}"
    last = answer["last_run"]
    if last is None:
        return "no run yet"
    if last["ended_utc"] is None:
        return f"run {last['id']} was cut short; the next one goes on by itself"
    return f"no run at work; run {last['id']} ended with exit code {last['exit_code']}"


def _overlaps(run: Mapping[str, Any]) -> bool:
    separates = STEMS_FROM in run["stages"]
    return bool(run["overlap"]) and separates and len(run["stages"]) > 1


def _any(stages: Mapping[str, Mapping[str, Mapping[str, int]]], state: str) -> bool:
    return any(counts[state] for scopes in stages.values() for counts in scopes.values())


def duration(seconds: float) -> str:
    """Return a length of time in words."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def line(job: JobLine) -> str:
    """Return one job of `tracks`."""
    what = f"{job.stage} ({job.scope})" if job.stage else "-"
    why = f"  [{job.reason}: {_one_line(job.detail or '')}]" if job.reason else ""
    missing = "  (missing)" if job.missing else ""
    return f"{job.state:<10}  {what:<22}  {job.path}{missing}{why}"


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_LINE_MAX]


def line_json(job: JobLine) -> dict[str, Any]:
    """Return one job of `tracks --json`."""
    return asdict(job)


def track(found: Mapping[str, Any]) -> str:
    """Return one track whole."""
    length = f"{found['duration_s']:.2f} s" if found["duration_s"] is not None else "length unknown"
    lines = [
        *(f"{one['path']}{'  (missing)' if one['missing'] else ''}" for one in found["paths"]),
        f"  {length}, {found['sample_rate_hz']} Hz, {found['channels']} channels, {found['codec']}",
        f"  sha256 {found['sha256']}",
        f"  outputs in tracks/{found['folder']}",
    ]
    if found["problem"]:
        lines.append(f"  {found['problem']}: {found['problem_detail']}")
    for job in found["jobs"]:
        lines.append("")
        took = f" in {job['wall_s']:.2f} s" if job["wall_s"] is not None else ""
        lines.append(f"{job['stage']} ({job['scope']}): {job['state']}{took}")
        if job["reason"]:
            lines.append(f"  {job['reason']}: {job['detail'] or ''}")
        lines.extend(_features(job["features"] or {}))
        lines.extend(
            f"  attempt in run {one['run_id']}: {one['outcome'] or 'open'}"
            + (f" ({one['signal']} during {one['phase']})" if one["signal"] else "")
            for one in job["attempts"]
        )
    return "\n".join(lines)


def _features(features: Mapping[str, Any]) -> list[str]:
    reasons = features.get("null_reasons", {})
    return [
        f"  {source:<8} {name:<24} {value:.3f}"
        if isinstance(value, float)
        else f"  {source:<8} {name:<24} {value if value is not None else reasons.get(source, {}).get(name)}"
        for source, values in features.items()
        if source != "null_reasons"
        for name, value in values.items()
    ]


def finding(found: Finding) -> str:
    """Return one line of `doctor`."""
    mark = {"good": "ok  ", "note": "note", "bad": "BAD "}[found.level]
    return f"{mark}  {found.what}: {found.value}" + (
        f"\n      {found.remedy}" if found.remedy else ""
    )


def finding_json(found: Finding) -> dict[str, Any]:
    """Return one finding of `doctor --json`."""
    return asdict(found)


def cell(value: object) -> str:
    """Return a value of a query as text."""
    if value is None:
        return ""
    return str(plain(value)).replace("\t", " ").replace("\n", " ")


def plain(value: object) -> Any:
    """Return a value of a query as JSON has it; bytes as text with escapes."""
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else value


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a line for each row, its cells as wide as the widest of their column."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def quoted(path: str) -> str:
    """Return a path as a shell takes it."""
    return shlex.quote(path)


def counted(number: int, noun: str) -> str:
    """Return a number of things in words."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
