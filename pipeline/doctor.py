"""Is this machine fit? Each finding says what was looked at, what was found, what to do."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline import surroundings
from pipeline.child import ending
from pipeline.config import RunConfig
from pipeline.errors import Unfit
from pipeline.installed import missing_of, version_of
from pipeline.ledger.connect import SQLITE_VERSION
from pipeline.machine import Machine
from pipeline.monitoring.words import cards_seen
from pipeline.threads import budget, cores, variables
from stages.base import StageBlocked

_WAL_RESET_FIXED = (3, 51, 3)
_DEVICE_TIMEOUT_S = 120
# In a process of its own: a broken driver may hang or crash it, and torch never loads here.
_DEVICE_CHECK = """
import sys, torch
from stages.device import torch_device
device = torch_device(sys.argv[1])
torch.nn.functional.conv1d(torch.ones(1, 1, 64, device=device), torch.ones(1, 1, 3, device=device)).sum().item()
name = torch.cuda.get_device_name(device) if device.startswith("cuda") else "CPU"
print(f"torch {torch.__version__}: {device} ({name}), one convolution done")
"""

_GPUS_TIMEOUT_S = 30  # to load a library and ask a few cards takes well under a second
# In a process of its own for the same reason.
_GPUS_CHECK = """
import json
from dataclasses import asdict
from pipeline.monitoring.find import find
gpus = find()
print(json.dumps({"by": gpus.by, "why": gpus.why, "cards": [asdict(one) for one in gpus.sample()]}))
"""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    level: Literal["good", "note", "bad"]
    what: str
    value: str
    remedy: str = ""


def examine(config: RunConfig, *, with_disk: bool) -> Iterator[Finding]:
    """Give the findings as they are made, quick ones first."""
    yield Finding("good", "Python", f"{platform.python_version()} ({sys.executable})")
    yield _sqlite()
    yield _decoder("libsndfile", _libsndfile)
    yield _decoder("ffmpeg", _ffmpeg)
    yield Finding("good", "threads", _threads(config, with_disk=with_disk))
    if with_disk:
        yield _disk(config.out)
    for name, declaration in config.declarations.items():
        yield _libraries(name, declaration.libraries, declaration.extra)
        if declaration.weights is not None:
            yield _weights(config, name)
    yield _device(config)
    yield _gpus(config)


def _threads(config: RunConfig, *, with_disk: bool) -> str:
    found = cores()
    quota = f", a quota of {found.quota:g} cores" if found.quota is not None else ""
    said = f"{found.budget} at once: {found.allowed} of {found.online} processors{quota}"
    kept = Machine.read(config.out).threads_kept() if with_disk else None
    asked = config.threads or kept
    return f"{said}; runs of this dataset use {asked}" if asked else said


def _sqlite() -> Finding:
    shown = ".".join(map(str, SQLITE_VERSION))
    if SQLITE_VERSION < _WAL_RESET_FIXED:
        return Finding(
            "note",
            "SQLite",
            f"{shown}, which has the WAL-reset bug (fixed in 3.51.3)",
            "Safe with Nightshift, where one process writes. Do not write to ledger.db with other tools.",
        )
    return Finding("good", "SQLite", shown)


def _decoder(what: str, version: object) -> Finding:
    try:
        return Finding("good", what, str(version()))  # type: ignore[operator]
    except (ImportError, OSError, StageBlocked, RuntimeError) as error:
        return Finding("bad", what, f"cannot be used: {error}", "Install Nightshift again.")


def _libsndfile() -> str:
    import soundfile

    return str(soundfile.__libsndfile_version__)


def _ffmpeg() -> str:
    from stages.ffmpeg import find_ffmpeg

    found = find_ffmpeg()
    if found is None:
        raise OSError("no ffmpeg on PATH and none in the imageio-ffmpeg wheel")
    return f"{found.version} ({found.path})"


def _disk(out: Path) -> Finding:
    try:
        surroundings.check(out)
    except Unfit as error:
        return Finding("bad", "output folder", str(out), str(error))
    there = surroundings.existing(out)
    free = os.statvfs(there)
    kind = surroundings.file_system(there) or "unknown file system"
    return Finding(
        "good",
        "output folder",
        f"{out} on {kind}, {free.f_bavail * free.f_frsize / 1e9:.0f} GB free",
    )


def _libraries(stage: str, libraries: tuple[str, ...], extra: str) -> Finding:
    missing = missing_of(libraries)
    if missing:
        return Finding(
            "note",
            f"stage {stage}",
            f"blocked: {', '.join(missing)} not installed",
            f'pip install -c constraints.txt -e ".[{extra}]"',
        )
    versions = ", ".join(f"{name} {version_of(name)}" for name in libraries)
    return Finding("good", f"stage {stage}", versions)


def _weights(config: RunConfig, stage: str) -> Finding:
    weights = config.declarations[stage].weights
    assert weights is not None
    try:
        files = weights(config.stage_settings[stage])
    except StageBlocked as error:
        return Finding("note", f"weights of {stage}", error.problem, error.remedy)
    return Finding("good", f"weights of {stage}", ", ".join(str(file) for file in files))


def _gpus(config: RunConfig) -> Finding:
    """Say what of a GPU's load a run will see; a run needs none of it."""
    what = "GPU monitor"
    # Not `run`, which waits for a process that it has killed, and a driver may keep that for ever.
    asked = subprocess.Popen(
        [sys.executable, "-P", "-c", _GPUS_CHECK],
        env=config.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        said, complaint = asked.communicate(timeout=_GPUS_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        asked.kill()
        return Finding("note", what, f"the driver gave no answer in {_GPUS_TIMEOUT_S} s")
    if asked.returncode != 0:
        last = (complaint.strip().splitlines() or [ending(asked.returncode)])[-1]
        return Finding("note", what, f"asking the driver failed: {last}")
    found = json.loads(said.splitlines()[-1])
    if found["why"]:
        return Finding("note", what, f"no GPU is seen: {found['why']}")
    return Finding("good", what, cards_seen(found))


def _device(config: RunConfig) -> Finding:
    try:
        checked = subprocess.run(
            [sys.executable, "-P", "-c", _DEVICE_CHECK, config.device],
            env={**config.environment, **variables(budget())},
            capture_output=True,
            text=True,
            timeout=_DEVICE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Finding("bad", "device", f"no answer in {_DEVICE_TIMEOUT_S} s", "Use --device cpu.")
    if checked.returncode == 0:
        return Finding("good", "device", checked.stdout.strip().splitlines()[-1])
    last = (checked.stderr.strip().splitlines() or ["it printed nothing"])[-1]
    if "No module named" in last:
        return Finding(
            "note",
            "device",
            "torch is not installed; separation is blocked",
            "See the README's three install lines.",
        )
    return Finding("bad", "device", last, "Use --device cpu, or mend the driver.")
