"""A hundred `kill -9` at random moments of one long night: in the end all is as if there were none.

make soak
SOAK_SEED=123 make soak     # the same choices again; what they hit is left to the machine's timing
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.sandbox import Sandbox

TRACKS = 200
AT_FIRST = 120  # the others come later, some with every tenth kill, so that there is a probe to hit
KILLS = int(os.environ.get("SOAK_KILLS", "100"))
JOBS = 3 * TRACKS  # note of the mix, separation, note of the stems
IN_HAND = 2  # tracks that a kill may cost: one is computed, one published
WORK_S = 0.01  # of a job, so that kills hit the stages too and not only what surrounds them
START_S = 1.5  # what a start takes at most, on an idle machine: kills hit it too
WAIT_S = 60.0


class Killer:
    """Chooses moments and victims, and counts the kills that were really delivered."""

    def __init__(self, box: Sandbox, music: Path, seed: int) -> None:
        self.delivered: Counter[str] = Counter()
        self.ends: Counter[int] = Counter()
        self._box = box
        self._music = sorted(music.rglob("*.wav"))
        self._chance = random.Random(seed)
        self._run: subprocess.Popen[str] | None = None

    @property
    def left(self) -> int:
        """How many kills are still to be delivered."""
        return KILLS - self.delivered.total()

    def strike(self) -> None:
        """Let a run work for a while, then kill of it what chance says."""
        run, fresh = self._run, False
        if run is None or run.poll() is not None:
            self._bring_tracks()
            run, fresh = self._box.start_run(), True
            self._run = run
        self._wait(run, fresh=fresh)
        victim = self._chance.choice(("supervisor", "lane", "lane", "both"))
        if _child(run, "probe") is not None and self._chance.random() < 0.4:
            victim = "probe"
        if run.poll() is None and not self._kill_child(run, victim):
            self._kill_all(run, "both" if victim == "both" else "supervisor")
        if run.poll() is not None:
            self._over(run)

    def _bring_tracks(self) -> None:
        """Copy tracks into the dataset: a share of them at first, all by nine tenths of the kills."""
        share = min(self.delivered.total() * 10 // KILLS / 9, 1.0)
        here = AT_FIRST + round(share * (TRACKS - AT_FIRST))
        for source in self._music[:here]:
            target = self._box.dataset / source.parent.name / source.name
            if not target.exists():
                target.parent.mkdir(exist_ok=True)
                shutil.copy(source, target)

    def _wait(self, run: subprocess.Popen[str], *, fresh: bool) -> None:
        """Wait into a start, or for some calls more: so many that the work lasts for all kills."""
        open_jobs = self.open_jobs()
        scarce = open_jobs < 2 * self.left
        if fresh and self._chance.random() < (0.8 if scarce else 0.3):
            time.sleep(self._chance.uniform(0.0, START_S))
            return
        share = open_jobs / max(self.left, 1)
        wanted = self._box.calls().total() + self._chance.randint(1, max(1, round(1.6 * share)))
        _until(lambda: run.poll() is not None or self._box.calls().total() >= wanted)
        time.sleep(self._chance.uniform(0.0, 0.05))

    def open_jobs(self) -> int:
        """Count what is not done yet."""
        if not (self._box.out / "ledger.db").exists():
            return JOBS
        try:
            (counted,) = self._box.sql("SELECT count(*) AS done FROM jobs WHERE state = 'done'")
        except sqlite3.Error:  # killed before its tables were there
            return JOBS
        return JOBS - int(counted["done"])

    def _kill_child(self, run: subprocess.Popen[str], victim: str) -> bool:
        """Kill the lane or the probe alone; False when there is none, or it must not be alone."""
        if victim not in ("lane", "probe"):
            return False
        child = _child(run, victim)
        if child is None or not _stopped(child):
            return False
        if victim == "lane" and self._would_be_its_second_death():
            child.send_signal(signal.SIGCONT)
            return False
        child.kill()
        self.delivered[victim] += 1
        return True

    def _would_be_its_second_death(self) -> bool:
        """Say whether a track in the lane's hands has died before: two deaths are a failure, rightly.

        The lane stands still, and what it was given is `running` in the ledger: nothing comes
        between this look and the kill.
        """
        rows = self._box.sql("SELECT 1 FROM jobs WHERE state = 'running' AND deaths > 0")
        return bool(rows)

    def _kill_all(self, run: subprocess.Popen[str], victim: str) -> None:
        """Kill the supervisor, after the lane when it is to be both; its children die with it."""
        lane = _child(run, "lane") if victim == "both" else None
        if lane is not None and not self._would_be_its_second_death():
            lane.kill()
        run.kill()
        if run.wait() == -signal.SIGKILL:
            self.delivered[victim] += 1

    def _over(self, run: subprocess.Popen[str]) -> None:
        _, stderr = run.communicate()
        self.ends[run.returncode] += 1
        # 1 and 4: a lane that was killed twice while it loaded has blocked its stage for that run.
        assert run.returncode in (0, 1, 4, -signal.SIGKILL), stderr
        self._box.wait_until_gone()

    def rest(self) -> None:
        """Leave nothing running."""
        if self._run is not None and self._run.poll() is None:
            self._run.kill()
            self._over(self._run)


def _child(run: subprocess.Popen[str], name: str) -> psutil.Process | None:
    try:
        for child in psutil.Process(run.pid).children():
            if f"pipeline.{name}" in child.cmdline():
                return child
    except psutil.Error:
        return None
    return None


def _stopped(process: psutil.Process) -> bool:
    """Stop a process; say whether it really stands still, and so lives until it is killed."""
    try:
        process.suspend()
        _until(lambda: process.status() != psutil.STATUS_RUNNING)
        return bool(process.status() == psutil.STATUS_STOPPED)
    except psutil.Error:
        return False


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "no progress"
        time.sleep(0.01)


def _boxes(root: Path) -> tuple[Sandbox, Sandbox]:
    """Return a sandbox with all the music, and one without any."""
    calm_root, root = root / "calm", root / "box"
    calm_root.mkdir()
    root.mkdir()
    calm, box = Sandbox(calm_root), Sandbox(root)
    hashes = [calm.add(f"{number // 20}/{number:03}.wav", seed=number) for number in range(TRACKS)]
    slow = f"sleep:{WORK_S}"
    for one in (calm, box):
        one.script({f"{stage}:{name}": slow for name in hashes for stage in ("note", "separation")})
    return calm, box


@pytest.mark.timeout(280)
def test_a_hundred_kills_at_random_moments_lose_nothing(tmp_path: Path) -> None:
    seed = int(os.environ.get("SOAK_SEED") or random.SystemRandom().randrange(2**32))
    print(f"\nSOAK_SEED={seed}", flush=True)
    calm, box = _boxes(tmp_path)
    music = Path(shutil.copytree(calm.dataset, tmp_path / "music"))
    assert calm.run().returncode == 0
    started = time.monotonic()
    killer = Killer(box, music, seed)

    try:
        while killer.left > 0:
            killer.strike()
    finally:
        killer.rest()
    took_s, left = time.monotonic() - started, killer.open_jobs()
    last = box.run()

    assert last.returncode == 0, last.stderr
    box.check()
    assert box.outputs() == calm.outputs()
    again = box.calls().total() - JOBS
    assert 0 <= again <= IN_HAND * KILLS
    deaths = box.sql("SELECT count(*) AS jobs, max(deaths) AS most FROM jobs WHERE deaths > 0")
    box.forget_calls()
    assert "nothing to do" in box.run().stderr
    assert box.calls().total() == 0
    print(
        f"{KILLS} kills in {took_s:.0f} s {dict(killer.delivered)}, ends of runs "
        f"{dict(killer.ends)}, {left} of {JOBS} jobs left after the last kill; {again} jobs done "
        f"again, deaths {deaths[0]}",
        flush=True,
    )
