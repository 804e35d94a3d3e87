"""What the fault suite needs of the machine, and its own count of what it did."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.scene import Scene
from tests.zygote import Zygote

_MUST_RUN = "FAULTS_MUST_RUN"  # set by CI: there a skipped row is a failed one
_CLONE_NEWNS = 0x00020000
_MS_REC_PRIVATE = 0x4000 | (1 << 18)
_ROW = re.compile(r"[\[-]([A-F]\d+)[-\]]")
_TOOLS = ("strace", "mkfs.ext4", "mount", "umount", "faketime")


def _missing() -> str | None:
    if os.geteuid() != 0:
        return "needs root: it mounts file systems and traces processes"
    absent = [tool for tool in _TOOLS if shutil.which(tool) is None]
    return f"needs {', '.join(absent)}" if absent else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ours = [item for item in items if Path(__file__).parent in item.path.parents]
    nameless = [item.nodeid for item in ours if not _ROW.search(item.nodeid)]
    assert not nameless, f"without a row of the matrix: {nameless}"
    reason = _missing()
    if reason is not None:
        for item in ours:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome: Any = yield
    report = outcome.get_result()
    if report.when == "call":
        made = getattr(item, "scenes", [])
        report.user_properties.append(("faults", sum(one.faults for one in made)))
        report.user_properties.append(("manual", sum(one.manual_steps for one in made)))
    if report.skipped and os.environ.get(_MUST_RUN):
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be: {report.longrepr}"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    stats = terminalreporter.stats
    rows: set[str] = set()
    faults = 0
    manual: Counter[str] = Counter()
    for report in stats.get("passed", []):
        rows.update(_ROW.findall(report.nodeid))
        said = dict(report.user_properties)
        faults += said.get("faults", 0)
        for row in _ROW.findall(report.nodeid):
            manual[row] += said.get("manual", 0)
    if rows:
        wrong = len(stats.get("failed", [])) + len(stats.get("error", []))
        of_rows = ", ".join(f"{row} {number}" for row, number in sorted(manual.items()) if number)
        terminalreporter.write_line(
            f"{len(rows)} rows of the matrix, {faults} faults injected, "
            f"{wrong} with lost or wrong outputs, {manual.total()} manual steps"
            f"{f' ({of_rows})' if of_rows else ''}: {' '.join(sorted(rows))}"
        )


@pytest.fixture(scope="session", autouse=True)
def _own_mounts() -> None:
    """Mounts of a test that is killed must not stay: they live in a name space that dies with us."""
    if _missing() is None:
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.unshare(_CLONE_NEWNS) == 0, os.strerror(ctypes.get_errno())
        assert libc.mount(b"none", b"/", None, _MS_REC_PRIVATE, None) == 0


@pytest.fixture(autouse=True)
def row(request: pytest.FixtureRequest) -> str:
    """The row of the matrix that a test is about; in its id."""
    return str(getattr(request, "param", ""))


Stage = Callable[..., Scene]


@pytest.fixture(scope="session")
def zygote(_own_mounts: None) -> Iterator[Zygote]:
    """Forks commands; started in the name space of our mounts."""
    with Zygote() as forking:
        yield forking


@pytest.fixture
def scene(tmp_path: Path, request: pytest.FixtureRequest, zygote: Zygote) -> Iterator[Stage]:
    """Make scenes; their faults are counted."""
    made: list[Scene] = []
    request.node.scenes = made

    def make(name: str = "box", **options: Any) -> Scene:
        made.append(Scene(tmp_path / name, zygote=zygote, **options))
        return made[-1]

    yield make
    for one in made:
        for process in one.processes():
            process.kill()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What a run gives to which nothing was done."""
    return _calm(tmp_path_factory.mktemp("calm") / "one", "tests.fakes:ONE")


@pytest.fixture(scope="session")
def undisturbed_all(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The same with separation and stems."""
    return _calm(tmp_path_factory.mktemp("calm") / "all", "tests.fakes:STAGES")


def _calm(root: Path, registry: str) -> dict[str, object]:
    calm = Scene(root, registry=registry)
    assert calm.run().returncode == 0
    calm.check()
    return calm.outputs()
