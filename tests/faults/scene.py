"""A sandbox to which faults are done, and what must be true after each of them."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.sandbox import ROOT, Sandbox
from tests.zygote import Zygote, forked_in

TRACKS = 3
_MENDING = {"retry", "verify", "gc", "rebuild"}
_SHORT = 4
_KILLED = -signal.SIGKILL


class Scene(Sandbox):
    """A dataset, perhaps with its outputs on a file system of its own.

    Args:
        out: where the outputs go, if not below the dataset.
        zygote: forks the commands that are waited for, so that a sweep does not import for each.
    """

    def __init__(
        self,
        root: Path,
        *,
        out: Path | None = None,
        registry: str = "tests.fakes:ONE",
        tracks: int = TRACKS,
        zygote: Zygote | None = None,
    ) -> None:
        root.mkdir(parents=True, exist_ok=True)
        super().__init__(root, registry=registry)
        self._elsewhere = out
        self._zygote = zygote
        if out is not None:
            self.out = out
        self.add_many(tracks)
        self.faults = 0
        self.manual_steps = 0  # what a fault asked for beside the same `pipeline run`
        self._sources = self._hashes()

    def start(
        self, *arguments: str, kill: str | None = None, **options: Any
    ) -> subprocess.Popen[str]:
        """Start `pipeline`, on the outputs that lie elsewhere."""
        return super().start(*self._placed(arguments), kill=kill, **options)

    def command(
        self, *arguments: str, kill: str | None = None, mends: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run `pipeline` to its end, forked where that is the same.

        Args:
            mends: whether a command that can mend is asked to; not where it is what is tested.
        """
        self.manual_steps += mends and arguments[0] in _MENDING
        if self._zygote is None or "LD_PRELOAD" in self.environment:
            return super().command(*arguments, kill=kill)
        streams = [self.root / "stdout", self.root / "stderr"]
        code = self._zygote.command(
            self._placed(arguments),
            environment=self.environment,
            folder=str(self.root),
            streams=[str(stream) for stream in streams],
            # What a Python finds elsewhere, it finds when it starts.
            forks_children=self.environment["PYTHONPATH"] == str(ROOT),
        )
        stdout, stderr = (stream.read_text(errors="replace") for stream in streams)
        return subprocess.CompletedProcess(arguments, code, stdout, stderr)

    def _placed(self, arguments: Sequence[str]) -> list[str]:
        if self._elsewhere is None or "--out" in arguments:
            return list(arguments)
        return [*arguments, "--out", str(self._elsewhere)]

    # ---- doing

    def traced(self, role: str, injection: str) -> subprocess.CompletedProcess[str]:
        """Run with one system call of a process tampered with, as strace's `inject` says."""
        self.faults += 1
        call = injection.partition(":")[0]
        with self._tracing(role, f"-e trace={call} -e inject={injection}"):
            done = self.run()
        self.wait_until_gone()
        return done

    @contextmanager
    def _tracing(self, role: str, arguments: str) -> Iterator[None]:
        flag = self.root / "traced"
        flag.unlink(missing_ok=True)
        self.environment["FAULT_STRACE"] = f"{role}:{flag}:{arguments}"
        try:
            yield
        finally:
            del self.environment["FAULT_STRACE"]

    def start_traced(self, role: str, arguments: str, *options: str) -> subprocess.Popen[str]:
        """Start a run of which one process traces itself."""
        with self._tracing(role, arguments):
            return self.start_run(*options)

    def start_run_without_streams(self) -> subprocess.Popen[bytes]:
        """Start a run as a careless service manager does, with 0, 1 and 2 closed."""
        place = ["--out", str(self._elsewhere)] if self._elsewhere is not None else []
        command = [sys.executable, "-m", "pipeline", "run", str(self.dataset), *place]
        return subprocess.Popen(
            ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command],
            env=self.environment,
            cwd=self.root,
        )

    def forget_sources(self) -> None:
        """Take the sources as they are now for what they must stay."""
        self._sources = self._hashes()

    def count(self, role: str, call: str, *options: str) -> int:
        """Run to the end; return how often the main thread of a process made a system call."""
        trace = self.root / "trace"
        with self._tracing(role, f"-e trace={call} -o {trace}"):
            done = self.run(*options)
        assert done.returncode == 0, done.stderr
        lines = trace.read_text().splitlines()
        return sum(call in line for line in lines)

    def by_hand(self) -> None:
        """Note that somebody mends with his own hands what no command of ours does."""
        self.manual_steps += 1

    # ---- what must be true

    def durable(self) -> None:
        """Hold at any moment, however the processes ended: what is `done` is there, whole."""
        for job in self._done():
            folder = self._folder(job)
            manifest = (folder / "manifest.json").read_bytes()
            assert sha256(manifest).hexdigest() == job["manifest_sha256"], folder
            for name, digest in _files(manifest):
                assert sha256((folder / name).read_bytes()).hexdigest() == digest, folder / name

    def survived(
        self, undisturbed: dict[str, object], *, again: int = 1, durable: bool = True
    ) -> None:
        """One more run by itself, with no other command, ends where an undisturbed one does.

        Args:
            again: how many stage calls the fault may have cost.
            durable: whether all that is done must be there before that run, too.
        """
        if durable:
            self.durable()
        done = self.run()
        assert done.returncode == 0, done.stderr
        self.finished(undisturbed, again=again)

    def finished(self, undisturbed: dict[str, object], *, again: int = 1) -> None:
        """The outputs are those of an undisturbed run, and nothing else is left."""
        self.wait_until_gone()
        self.check()
        assert self.outputs() == undisturbed
        assert self._hashes() == self._sources, "a source was changed"
        states = {row["state"] for row in self.sql("SELECT DISTINCT state FROM jobs")}
        assert states == {"done"}, states
        calls = self.calls().total()
        jobs = self.sql("SELECT count(*) AS number FROM jobs")[0]["number"]
        assert calls <= jobs + again, f"{calls} calls for {jobs} jobs"

    def does_nothing_more(self) -> None:
        """A run on what is finished computes nothing."""
        self.forget_calls()
        assert "nothing to do" in self.run().stderr
        assert self.calls().total() == 0

    def wrote_nothing_outside(self) -> None:
        """Beside the output folder, the dataset holds what it held."""
        assert self._hashes() == self._sources

    # ---- how

    def sources(self) -> list[Path]:
        """Return the files of the dataset; neither devices nor pipes nor what is ours."""
        return [
            path
            for path in sorted(self.dataset.rglob("*"))
            if path.is_file() and self.out not in path.parents
        ]

    def _hashes(self) -> dict[str, str]:
        return {
            str(path.relative_to(self.dataset)): sha256(path.read_bytes()).hexdigest()
            for path in self.sources()
        }

    def sql(self, query: str) -> list[dict[str, Any]]:
        """Ask the ledger, or a copy of it: one that was killed may want writing before reading."""
        with tempfile.TemporaryDirectory() as folder:
            for suffix in ("", "-wal", "-journal"):
                part = self.out / f"ledger.db{suffix}"
                if part.exists():
                    shutil.copy(part, Path(folder) / part.name)
            connection = sqlite3.connect(Path(folder) / "ledger.db")
            try:
                connection.row_factory = sqlite3.Row
                return [dict(row) for row in connection.execute(query)]
            finally:
                connection.close()

    def processes(self) -> list[psutil.Process]:
        """Return what still runs of this scene."""
        return super().processes() + forked_in(self.root)

    def _has_jobs(self) -> bool:
        return bool(self.sql("SELECT name FROM sqlite_master WHERE name = 'jobs'"))

    def done_folders(self) -> set[str]:
        """Return the folders of the tracks of which the ledger calls something done."""
        return {os.fsdecode(job["folder"]) for job in self._done()}

    def _done(self) -> list[dict[str, Any]]:
        if not (self.out / "ledger.db").exists() or not self._has_jobs():
            return []
        return self.sql(
            "SELECT tracks.folder, jobs.stage, jobs.scope, jobs.manifest_sha256 "
            "FROM jobs JOIN tracks ON tracks.id = jobs.track_id WHERE jobs.state = 'done'"
        )

    def _folder(self, job: dict[str, Any]) -> Path:
        track: Path = self.out / "tracks" / os.fsdecode(job["folder"])
        below: str = job["stage"]
        return track / below if job["scope"] == "mix" else track / "stems" / below


def _files(manifest: bytes) -> Iterator[tuple[str, str]]:
    import json

    for file in json.loads(manifest)["files"]:
        yield file["name"], file["sha256"]


def was_killed(done: subprocess.CompletedProcess[str]) -> bool:
    """Say whether the fault was in time; a run with fewer steps than counted just ends."""
    assert done.returncode in (0, _KILLED), done.stderr
    return done.returncode == _KILLED


def spread(count: int, most: int) -> list[int]:
    """Return at most so many of the numbers from 1 to `count`, evenly, first and last among them."""
    assert count > 0, "there is no such call to meet"
    if count <= most:
        return list(range(1, count + 1))
    return sorted({round(1 + index * (count - 1) / (most - 1)) for index in range(most)})


def in_parts(calls: Mapping[str, int]) -> list[Any]:
    """Return call, part and parts for each system call: two for those with many points."""
    return [
        pytest.param(call, part, parts, id=f"{call}-{part}" if parts > 1 else call)
        for call, most in calls.items()
        for parts in (2 if most > _SHORT else 1,)
        for part in range(parts)
    ]


def in_time(faults: int, points: Sequence[int]) -> None:
    """Assert that the faults of a sweep arrived, nearly all of them.

    Some commits join others under load, so that a run may make fewer calls than were counted.
    """
    assert points, "nothing to do a fault to"
    assert faults >= max(1, len(points) * 3 // 4), f"{faults} of {len(points)} faults arrived"
