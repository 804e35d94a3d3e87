from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.threads import budget, variables

EVERY_LIBRARY = {
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
}
needs_affinity = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity"), reason="this system has no affinity"
)


@pytest.fixture
def one_core() -> Iterator[None]:
    """Hold this thread to one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _version_2(folder: Path, text: str) -> Path:
    (folder / "cpu.max").write_text(text)
    return folder


def _version_1(folder: Path, quota_us: str, period_us: str = "100000") -> Path:
    (folder / "cpu").mkdir()
    (folder / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota_us}\n")
    (folder / "cpu" / "cpu.cfs_period_us").write_text(f"{period_us}\n")
    return folder


def test_without_a_quota_every_core_is_used(tmp_path: Path) -> None:
    assert budget(cgroup=tmp_path) == _cores()
    assert budget(cgroup=tmp_path / "missing") == _cores()


@needs_affinity
@pytest.mark.usefixtures("one_core")
def test_affinity_cuts_the_budget(tmp_path: Path) -> None:
    assert budget(cgroup=tmp_path) == 1


@needs_affinity
@pytest.mark.usefixtures("one_core")
def test_a_quota_gives_no_more_than_affinity_does(tmp_path: Path) -> None:
    assert budget(cgroup=_version_2(tmp_path, "6400000 100000\n")) == 1


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("100000 100000\n", 1),
        ("50000 100000\n", 1),  # half a core is still one thread
        ("1000 100000\n", 1),
        ("25000 25000\n", 1),
        ("max 100000\n", None),
        ("", None),
        ("100000\n", None),
        ("many 100000\n", None),
    ],
)
def test_a_quota_of_version_2_cuts_the_budget(tmp_path: Path, text: str, cores: int | None) -> None:
    assert budget(cgroup=_version_2(tmp_path, text)) == (cores or _cores())


@pytest.mark.parametrize(
    ("quota_us", "cores"), [("100000", 1), ("1000", 1), ("-1", None), ("0", None), ("x", None)]
)
def test_a_quota_of_version_1_cuts_the_budget(
    tmp_path: Path, quota_us: str, cores: int | None
) -> None:
    assert budget(cgroup=_version_1(tmp_path, quota_us)) == (cores or _cores())


@pytest.mark.skipif(_cores() < 2, reason="tells nothing on one core")
@pytest.mark.parametrize(("quota_us", "cores"), [(100_001, 2), (150_000, 2), (99_999, 1)])
def test_a_part_of_a_core_counts_as_a_whole_one(tmp_path: Path, quota_us: int, cores: int) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()

    assert budget(cgroup=_version_1(one, str(quota_us))) == cores
    assert budget(cgroup=_version_2(two, f"{quota_us} 100000\n")) == cores


def test_version_2_is_heard_before_version_1(tmp_path: Path) -> None:
    _version_1(tmp_path, "100000")

    assert budget(cgroup=_version_2(tmp_path, "max 100000\n")) == _cores()


def test_a_larger_quota_than_there_are_cores_adds_none(tmp_path: Path) -> None:
    assert budget(cgroup=_version_2(tmp_path, "102400000 100000\n")) == _cores()


def test_every_library_is_held_to_the_budget() -> None:
    found = variables(3)

    assert {name for name, value in found.items() if value == "3"} == EVERY_LIBRARY
    assert found["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"  # or TensorFlow takes a whole card
    # Or one busy program beside it makes a separation many times slower.
    assert 0 < int(found["GOMP_SPINCOUNT"]) <= 1000


def test_a_library_that_is_imported_afterwards_keeps_to_the_variables() -> None:
    pytest.importorskip("numba")
    said = "import numba; print(numba.config.NUMBA_NUM_THREADS)"

    answer = subprocess.run(
        [sys.executable, "-c", said],
        env={**os.environ, **variables(1)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert answer.stdout == "1\n"
