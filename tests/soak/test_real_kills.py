"""Loudness and separation on real sound, killed at random moments: the next run goes on by itself.

make soak
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import psutil
import pytest

from tests.models import write_model
from tests.real import PIECES, cut_music, fill, real_sandbox
from tests.sandbox import Sandbox


def _box(root: Path, model: Path, music: Path) -> Sandbox:
    root.mkdir()
    box = real_sandbox(root, model)
    fill(box, music)
    return box


@pytest.mark.timeout(400)
def test_a_real_run_killed_twenty_times_ends_as_an_undisturbed_one(
    tmp_path: Path,
) -> None:
    model = write_model(tmp_path / "small.safetensors")
    (tmp_path / "music").mkdir()
    music = cut_music(tmp_path / "music")
    real, finished = (_box(tmp_path / name, model, music) for name in ("killed", "calm"))
    assert finished.run().returncode == 0
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)

    for number in range(20):
        run = real.start_run()
        time.sleep(chance.uniform(0.3, 4.0))
        if number % 2:
            for lane in real.lanes():
                psutil.Process(lane).kill()
            time.sleep(chance.uniform(0.0, 0.5))
        run.kill()
        run.communicate()
        real.wait_until_gone()
    done = real.run()

    assert done.returncode == 0, done.stderr
    real.check()
    assert real.outputs() == finished.outputs()
    (row,) = real.sql("SELECT count(*) AS n FROM attempts WHERE outcome IN ('done', 'adopted')")
    assert row["n"] == 3 * PIECES
