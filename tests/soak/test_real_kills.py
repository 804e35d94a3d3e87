"""Loudness and separation on real sound, killed at random moments: the next run goes on by itself.

make soak
"""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.models import write_model
from tests.real import PIECES, cut_music, fill, real_sandbox
from tests.sandbox import Sandbox

KILLS = 20
JOBS = 3 * PIECES
IN_HAND = 6  # a track at work and the one decoded ahead, in each of three lanes at most


def _box(root: Path, model: Path, music: Path) -> Sandbox:
    root.mkdir()
    box = real_sandbox(root, model)
    fill(box, music)
    return box


@dataclass
class Kills:
    """Whom to kill next, and who was: the supervisor in one round, a lane in the next."""

    chance: random.Random
    rounds: int = 0
    of: Counter[str] = field(default_factory=Counter)

    def night(self, box: Sandbox) -> None:
        """Run again and again, each run killed at some moment, until one ends by itself."""
        while not self._ended(box, box.start_run()):
            box.wait_until_gone()

    def _ended(self, box: Sandbox, run: subprocess.Popen[str]) -> bool:
        self.rounds += 1
        self._pause(0.3, 4.0)
        if self.rounds % 2 == 0 and self._lane(box, run):
            if self.chance.random() < 0.5:
                _, stderr = run.communicate(timeout=120)
                assert run.returncode == 0, f"the same run did not go on: {stderr}"
                return True
            self._pause(0.5, 3.0)
        killed = run.poll() is None
        run.kill()
        _, stderr = run.communicate()
        if killed and run.returncode == -signal.SIGKILL:
            self.of["supervisor"] += 1
            return False
        assert run.returncode == 0, stderr
        return True

    def _lane(self, box: Sandbox, run: subprocess.Popen[str]) -> bool:
        """Kill a lane, but none with a track in hand that was bad luck's before: that one fails."""
        lanes = box.wait_for(lambda: box.lanes() or run.poll() is not None)
        if run.poll() is not None or box.sql(
            "SELECT id FROM jobs WHERE deaths > 0 AND state <> 'done'"
        ):
            return False
        try:
            psutil.Process(self.chance.choice(lanes)).kill()
        except psutil.NoSuchProcess:
            return False
        self.of["lane"] += 1
        return True

    def _pause(self, least_s: float, most_s: float) -> None:
        time.sleep(self.chance.uniform(least_s, most_s))


@pytest.mark.timeout(400)
def test_real_runs_killed_twenty_times_end_as_an_undisturbed_one(tmp_path: Path) -> None:
    model = write_model(tmp_path / "small.safetensors")
    (tmp_path / "music").mkdir()
    music = cut_music(tmp_path / "music")
    finished = _box(tmp_path / "calm", model, music)
    assert finished.run().returncode == 0
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    kills = Kills(random.Random(seed))
    nights, again = 0, 0

    while kills.of.total() < KILLS:
        nights += 1
        before = kills.of.total()
        box = _box(tmp_path / f"night{nights}", model, music)
        kills.night(box)

        box.check()
        assert box.outputs() == finished.outputs()
        ends = Counter(row["outcome"] for row in box.sql("SELECT outcome FROM attempts"))
        assert ends["done"] + ends["adopted"] == JOBS, "a job was done twice, or never"
        lost = ends.total() - JOBS
        assert lost <= (kills.of.total() - before) * IN_HAND, ends
        again += lost

    print(
        f"{nights} nights of {PIECES} tracks, {kills.of['supervisor']} supervisors and "
        f"{kills.of['lane']} lanes killed: {nights * JOBS} jobs, {again} begun again"
    )
    assert min(kills.of["supervisor"], kills.of["lane"]) >= KILLS // 5
