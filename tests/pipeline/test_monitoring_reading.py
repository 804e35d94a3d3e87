"""What a run took, as `status` finds it at the end of a log and shows it."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.monitoring.gpu import GpuSample
from pipeline.monitoring.host import HostSample
from pipeline.monitoring.load import Load
from pipeline.monitoring.reading import load_keys
from pipeline.monitoring.words import cards_seen, load_lines
from tests.sandbox import Sandbox

GB = 10**9
CARD = GpuSample("RTX", 87.0, 12 * GB, 24 * GB, 61.0, 411.5)
STARTED = datetime(2026, 11, 22, 22, 0, tzinfo=UTC)


def line(event: str, after_s: float, **facts: object) -> str:
    utc = (STARTED + timedelta(seconds=after_s)).isoformat(timespec="milliseconds")
    return json.dumps({"utc": utc, "event": event, **facts}) + "\n"


def write(out: Path, *lines: str, number: int = 1, mtime_s: float | None = None) -> None:
    log = out / "logs" / f"run-{number:04}.jsonl"
    log.parent.mkdir(exist_ok=True)
    log.write_text("".join(lines))
    if mtime_s is not None:
        os.utime(log, (mtime_s, mtime_s))


def read(out: Path, *, ended: bool = False, after_s: float = 100.0) -> dict[str, Any]:
    run = {"started_utc": STARTED.isoformat(), "ended_utc": STARTED.isoformat() if ended else None}
    answer = {"run": None if ended else run, "last_run": run}
    return load_keys(out, answer, now=STARTED + timedelta(seconds=after_s))


def test_the_last_sample_of_the_run_at_work_is_found_with_its_age(tmp_path: Path) -> None:
    jobs = [line("job_done", 95 + number / 100, path="a.wav") for number in range(200)]
    write(tmp_path, line("sample", 80, cores=1), line("sample", 94.5, cores=2), *jobs)

    assert read(tmp_path) == {
        "monitor": {"utc": "2026-11-22T22:01:34.500+00:00", "cores": 2, "age_s": 5.5},
        "load": None,
    }


def test_a_line_that_is_being_written_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path, line("sample", 80, cores=1), line("sample", 90, cores=2)[:-20])

    assert read(tmp_path)["monitor"]["cores"] == 1


def test_a_large_log_is_read_from_its_end_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, line("sample", 99, cores=2))
    log = tmp_path / "logs" / "run-0001.jsonl"
    with log.open("r+b") as stream:
        content = stream.read()
        stream.seek(1 << 40)  # a hole of a terabyte: to read it whole would take all memory
        stream.write(b"\n" + content)

    assert read(tmp_path)["monitor"]["cores"] == 2


def test_a_sample_behind_too_many_lines_is_not_looked_for(tmp_path: Path) -> None:
    write(tmp_path, line("sample", 1), *[line("job_done", 2, path="x" * 1000)] * 300)

    assert read(tmp_path)["monitor"] is None


def test_the_log_that_was_written_last_is_read_whatever_its_number(tmp_path: Path) -> None:
    write(tmp_path, line("sample", 10, cores=1), number=9, mtime_s=1000)
    write(tmp_path, line("sample", 20, cores=2), number=4, mtime_s=2000)

    assert read(tmp_path)["monitor"]["cores"] == 2


def test_what_an_earlier_run_told_is_not_the_run_s_at_work(tmp_path: Path) -> None:
    write(tmp_path, line("sample", -1, cores=1))

    assert read(tmp_path)["monitor"] is None


@pytest.mark.parametrize("content", ["", "\n\n", "[1]\n", "\x00\x01\n", '{"event": "sample"}\n'])
def test_a_log_that_says_nothing_is_no_error(tmp_path: Path, content: str) -> None:
    write(tmp_path, content)

    assert read(tmp_path) == read(tmp_path, ended=True) == {"monitor": None, "load": None}


def test_where_there_is_no_log_nothing_is_known(tmp_path: Path) -> None:
    assert read(tmp_path) == {"monitor": None, "load": None}


def test_a_clock_that_was_set_back_makes_no_age_below_nothing(tmp_path: Path) -> None:
    write(tmp_path, line("sample", 99))

    assert read(tmp_path, after_s=50)["monitor"]["age_s"] == 0.0


def test_of_a_run_that_ended_its_summary_is_given(tmp_path: Path) -> None:
    write(tmp_path, line("sample", 10), line("run_ended", 20, exit_code=0, load={"samples": 1}))

    assert read(tmp_path, ended=True) == {"monitor": None, "load": {"samples": 1}}


def test_a_run_that_was_killed_or_switched_it_off_has_no_summary(tmp_path: Path) -> None:
    write(tmp_path, line("sample", 10))
    assert read(tmp_path, ended=True)["load"] is None

    write(tmp_path, line("run_ended", 20, exit_code=0, load=None))
    assert read(tmp_path, ended=True)["load"] is None


# ---- words


def host(cpu: float | None = 50.0, used: int = 4 * GB) -> HostSample:
    return HostSample(10.0, cpu, used, 8 * GB, 1.5, 2, GB)


def sample(**facts: object) -> dict[str, Any]:
    base = vars(host(97.0, 5 * GB)) | {"gpus": [], "gpus_age_s": None, "age_s": 4.2}
    return {"monitor": base | facts, "load": None}


def test_a_sample_is_a_line_for_the_machine_and_one_for_each_card() -> None:
    lines = load_lines(sample(gpus=[vars(CARD), vars(GpuSample("Lost"))], gpus_age_s=0.0))

    assert lines == [
        "  the machine: 97 % CPU, memory 5.0 GB of 8.0 GB; the run: 1.5 of 2 cores, memory 1.0 GB (4 s ago)",
        "  RTX: 87 %, memory 12.0 GB of 24.0 GB, 61 °C, 412 W",
        "  Lost: does not answer",
    ]


def test_values_that_are_old_are_shown_as_old() -> None:
    assert load_lines(sample(gpus=[vars(CARD)], gpus_age_s=40.0))[1] == (
        "  RTX: 87 %, memory 12.0 GB of 24.0 GB, 61 °C, 412 W  (no answer for 44 s)"
    )


def test_what_is_not_known_is_left_out() -> None:
    lines = load_lines(sample(machine_cpu_percent=None, run_cpu_cores=None))

    assert lines == [
        "  the machine: memory 5.0 GB of 8.0 GB; the run: memory 1.0 GB (4 s ago)",
    ]


def test_a_summary_is_means_with_the_highest_in_brackets() -> None:
    load = Load()
    load.add(host(20.0, 4 * GB))
    load.add(host(90.0, 6 * GB))
    load.add_cards((CARD, GpuSample("Lost")))

    assert load_lines({"monitor": None, "load": load.told()}) == [
        "  on average (at most): the machine: 55 % (90 %) CPU, memory 5.0 GB (6.0 GB) of 8.0 GB; "
        "the run: 1.5 (1.5) of 2 cores, memory 1.0 GB (1.0 GB); 2 samples",
        "  RTX: 87 % (87 %), memory 12.0 GB (12.0 GB) of 24.0 GB, 61 °C (61 °C), 412 W (412 W)",
        "  Lost: did not answer",
    ]


def test_where_nothing_is_known_of_the_load_nothing_is_said() -> None:
    assert load_lines({"monitor": None, "load": None}) == []


def test_doctor_names_the_cards_and_who_sees_them() -> None:
    found = {"by": "nvidia-ml-py", "cards": [vars(CARD), vars(GpuSample("Lost"))]}

    assert cards_seen(found) == "RTX (24.0 GB), Lost, seen by nvidia-ml-py"


# ---- whole runs


@pytest.fixture
def box(tmp_path: Path) -> Sandbox:
    return Sandbox(tmp_path)


AT_ONCE = ("--set", "limits.sample_every_s=0.2", "--set", "limits.grace_s=0")


def test_status_shows_what_a_run_at_work_takes_and_the_last_one_took(box: Sandbox) -> None:
    box.script({box.add("long.wav"): "sleep:60"})
    run = box.start_run("--stages", "note", *AT_ONCE)

    monitor = box.wait_for(lambda: _running(box) and box.status()["monitor"])

    assert monitor["cores"] >= 1
    assert monitor["run_memory_bytes"] > psutil.Process(run.pid).memory_info().rss
    assert monitor["age_s"] < 60
    shown = box.command("status", str(box.dataset)).stdout
    assert "the run: " in shown
    assert shown.splitlines()[-1].endswith("s ago)")
    assert box.status()["load"] is None

    run.terminate()
    assert run.wait(60) == 143
    assert "sample" not in run.communicate()[1]

    after = box.status()
    assert after["monitor"] is None
    assert after["load"]["samples"] >= 1
    assert "on average (at most): " in box.command("status", str(box.dataset)).stdout
    box.wait_until_gone()


def _running(box: Sandbox) -> bool:
    return (box.out / "ledger.db").exists() and box.status()["run"] is not None


def test_a_run_shorter_than_the_interval_has_no_sample_and_starts_no_process(box: Sandbox) -> None:
    box.add_many(2)

    done = box.run("--stages", "note", "--set", "limits.sample_every_s=3600")

    assert done.returncode == 0
    assert box.events("sample") == box.events("gpus_unseen") == []
    assert box.events("run_ended")[0]["load"] is None
    assert box.status()["load"] is None


def test_doctor_says_which_gpus_are_seen_or_why_none(box: Sandbox) -> None:
    found = json.loads(box.command("doctor", "--json").stdout)

    (gpus,) = [one for one in found if one["what"] == "GPU monitor"]
    assert gpus["level"] in ("good", "note")
    assert "seen" in gpus["value"]
