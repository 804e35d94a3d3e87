"""SIGKILL of the supervisor and of a lane at every step that changes the disk.

SIGKILL shows the order of operations, not a power cut: the page cache survives it.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.sandbox import Sandbox
from tests.zygote import QuickSandbox, Zygote

# Three: one done, one in hand, one decoded ahead. Six: a quick lane's answers share commits, so that
# fewer tracks would give the supervisor fewer steps to be killed at.
TRACKS = {"supervisor": 6, "lane": 3}
FEW = 2  # one in hand, one decoded ahead; two can swap their names
PARTS = 4  # the sweep is cut in parts that can run beside each other
MANY_STEPS = 40  # a sweep over fewer would have missed most of them


Make = Callable[..., QuickSandbox]


@pytest.fixture(scope="module")
def make(zygote: Zygote) -> Make:
    """Make a dataset whose commands are forked: a sweep would import for each of hundreds."""

    def made(root: Path, *, tracks: int, registry: str = "tests.fakes:ONE") -> QuickSandbox:
        box = QuickSandbox(root, zygote, registry=registry)
        box.add_many(tracks)
        return box

    return made


@dataclass(frozen=True)
class Calm:
    """A run that nobody disturbed: how many steps its process took, and what came of it."""

    steps: int
    outputs: dict[str, object]


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, make: Make) -> dict[str, Calm]:
    """An undisturbed run for each role whose steps are counted."""
    counted = {}
    for role, tracks in TRACKS.items():
        box = make(tmp_path_factory.mktemp("calm") / role, tracks=tracks)
        assert box.run(kill=f"{role}:0").returncode == 0
        box.check()
        counted[role] = Calm(box.steps(), box.outputs())
    return counted


@pytest.mark.parametrize("part", range(PARTS))
def test_a_supervisor_killed_at_any_step_costs_at_most_the_track_in_hand(
    part: int, tmp_path: Path, calm: dict[str, Calm], make: Make
) -> None:
    undisturbed, tracks = calm["supervisor"], TRACKS["supervisor"]
    sweep = range(1 + part, undisturbed.steps + 1, PARTS)
    killed = 0
    for step in sweep:
        box = make(tmp_path / str(step), tracks=tracks)
        first = box.run(kill=f"supervisor:{step}")
        # Timing decides how much fits into one transaction, and with it how many steps a run has.
        assert first.returncode in (0, -signal.SIGKILL), f"step {step}: {first.stderr}"
        killed += first.returncode != 0
        box.wait_until_gone()

        again = box.run()

        assert again.returncode == 0, f"step {step}: {again.stderr}"
        box.check()
        assert box.outputs() == undisturbed.outputs, f"step {step}"
        assert box.calls().total() <= tracks + 1, f"step {step}"
    # Under load a few commits join others, so that a run has fewer steps than the one counted.
    assert killed * PARTS > MANY_STEPS
    assert killed >= len(sweep) * 3 / 4


@pytest.mark.parametrize("part", range(PARTS))
def test_a_lane_killed_at_any_step_is_started_again_by_the_same_run(
    part: int, tmp_path: Path, calm: dict[str, Calm], make: Make
) -> None:
    undisturbed, tracks = calm["lane"], TRACKS["lane"]
    assert undisturbed.steps > 20

    for step in range(1 + part, undisturbed.steps + 1, PARTS):
        box = make(tmp_path / str(step), tracks=tracks)

        done = box.run(kill=f"lane:{step}")

        assert done.returncode == 0, f"step {step}: {done.stderr}"
        assert len(box.events("lane_died")) == 1, f"step {step}"
        box.check()
        assert box.outputs() == undisturbed.outputs, f"step {step}"
        assert box.calls().total() <= tracks + 1, f"step {step}"


# ---- what is there already: replaced versions and moved sources

EVERY = 6  # of the steps; all six parts are the whole sweep, half of it has to do in `make test`


def _peaks(box: Sandbox) -> dict[str, object]:
    """What each folder holds, whatever the manifests say of where they were made."""
    return {name: content for name, content in box.outputs().items() if "manifest" not in name}


def _change(box: Sandbox) -> list[str]:
    (box.out / "tracks/t00.wav/note/mine.txt").write_text("keep")
    return ["--set", "note.flavour=1"]


def _swap(box: Sandbox) -> list[str]:
    one, two = box.dataset / "t00.wav", box.dataset / "t01.wav"
    one.rename(box.dataset / "x")
    two.rename(one)
    (box.dataset / "x").rename(two)
    return []


def _calm(box: Sandbox, arguments: list[str], role: str) -> Calm:
    """Bring a scene in order without being disturbed."""
    box.forget_calls()
    assert box.run(*arguments, kill=f"{role}:0").returncode == 0
    return Calm(box.steps(), _peaks(box))


@pytest.mark.parametrize("part", range(0, EVERY, 2))
@pytest.mark.parametrize(
    ("scene", "role", "computed"),
    [(_change, "supervisor", FEW), (_change, "lane", FEW), (_swap, "supervisor", 0)],
    ids=["a changed setting", "a changed setting, the lane", "swapped sources"],
)
def test_a_kill_while_outputs_are_replaced_or_moved_loses_and_mixes_up_nothing(
    scene: Callable[[Sandbox], list[str]],
    role: str,
    computed: int,
    part: int,
    tmp_path: Path,
    make: Make,
) -> None:
    box = make(tmp_path, tracks=FEW)
    assert box.run().returncode == 0
    arguments = scene(box)
    box.keep()
    undisturbed = _calm(box, arguments, role)
    assert undisturbed.outputs.keys() >= {"t00.wav/note/mine.txt"} or scene is _swap
    sweep = range(1 + part, undisturbed.steps + 1, EVERY)
    killed = 0

    for step in sweep:
        box.come_back()
        first = box.run(*arguments, kill=f"{role}:{step}")
        box.wait_until_gone()
        assert first.returncode in (0, -signal.SIGKILL), f"step {step}: {first.stderr}"
        killed += box.killed()

        again = box.run(*arguments)

        assert again.returncode == 0, f"step {step}: {again.stderr}"
        box.check()
        assert _peaks(box) == undisturbed.outputs, f"step {step}"
        assert box.calls().total() <= (computed + 1 if computed else 0), f"step {step}"
    # A lane takes the same steps in every run; a supervisor's commits may join others.
    assert killed >= len(sweep) * (1 if role == "lane" else 3 / 4)
