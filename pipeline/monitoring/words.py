"""What `status` and `doctor` say of the load and of GPUs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.amounts import size

_LATE_S = 1.5  # cards that answer do so within a turn of the supervisor's loop, which is a second


def load_lines(answer: Mapping[str, Any]) -> list[str]:
    """Return the lines of `status` on the run at work, or on the last one that ended."""
    if answer["monitor"] is not None:
        return _now(answer["monitor"])
    if answer["load"] is not None:
        return _over(answer["load"])
    return []


def _now(sample: Mapping[str, Any]) -> list[str]:
    machine = [
        _with_unit(sample["machine_cpu_percent"], "% CPU"),
        _memory(sample["machine_memory_used_bytes"], sample["machine_memory_total_bytes"]),
    ]
    run = [
        _cores(sample["run_cpu_cores"], sample["cores"]),
        f"memory {size(sample['run_memory_bytes'])}",
    ]
    age = f"({sample['age_s']:.0f} s ago)"
    lines = [f"  the machine: {_joined(machine)}; the run: {_joined(run)} {age}"]
    gpus_age_s = sample["gpus_age_s"] or 0.0  # when the sample was told
    silent_s = gpus_age_s + sample["age_s"]
    late = f"  (no answer for {silent_s:.0f} s)" if gpus_age_s > _LATE_S else ""
    for gpu in sample["gpus"]:
        values = [
            _with_unit(gpu["utilisation_percent"], "%"),
            _memory(gpu["memory_used_bytes"], gpu["memory_total_bytes"]),
            _with_unit(gpu["temperature_c"], "°C"),
            _with_unit(gpu["power_w"], "W"),
        ]
        lines.append(f"  {gpu['name']}: {_joined(values) or 'does not answer'}{late}")
    return lines


def _over(load: Mapping[str, Any]) -> list[str]:
    """Return the same of a whole run: means, with the highest in brackets."""
    machine = [
        _course(load["machine_cpu_percent"], "{:.0f} %", after=" CPU"),
        _sizes("memory", load["machine_memory_used_bytes"], load["machine_memory_total_bytes"]),
    ]
    run = [
        _course(load["run_cpu_cores"], "{:.1f}", after=f" of {load['cores']} cores"),
        _sizes("memory", load["run_memory_bytes"], None),
    ]
    lines = [
        "  on average (at most): "
        f"the machine: {_joined(machine)}; the run: {_joined(run)}; {load['samples']} samples"
    ]
    for gpu in load["gpus"]:
        values = [
            _course(gpu["utilisation_percent"], "{:.0f} %"),
            _sizes("memory", gpu["memory_used_bytes"], gpu["memory_total_bytes"]),
            _course(gpu["temperature_c"], "{:.0f} °C"),
            _course(gpu["power_w"], "{:.0f} W"),
        ]
        lines.append(f"  {gpu['name']}: {_joined(values) or 'did not answer'}")
    return lines


def _joined(values: list[str | None]) -> str:
    return ", ".join(value for value in values if value)


def _with_unit(value: float | None, unit: str) -> str | None:
    return f"{value:.0f} {unit}" if value is not None else None


def _cores(busy: float | None, cores: int) -> str | None:
    return f"{busy:.1f} of {cores} cores" if busy is not None else None


def _memory(used: int | None, total: int | None) -> str | None:
    if used is None:
        return None
    return f"memory {size(used)}" + (f" of {size(total)}" if total is not None else "")


def _course(course: Mapping[str, float] | None, form: str, *, after: str = "") -> str | None:
    if course is None:
        return None
    return f"{form.format(course['mean'])} ({form.format(course['highest'])}){after}"


def _sizes(what: str, course: Mapping[str, float] | None, total: int | None) -> str | None:
    if course is None:
        return None
    of = f" of {size(total)}" if total is not None else ""
    return f"{what} {size(course['mean'])} ({size(course['highest'])}){of}"


def cards_seen(found: Mapping[str, Any]) -> str:
    """Return what `doctor` says where there are cards."""
    cards = ", ".join(
        card["name"]
        + (f" ({size(card['memory_total_bytes'])})" if card["memory_total_bytes"] else "")
        for card in found["cards"]
    )
    return f"{cards}, seen by {found['by']}"
