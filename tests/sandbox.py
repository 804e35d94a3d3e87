"""A dataset in a temporary folder, real `pipeline` processes on it, and the one invariant checker."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import soundfile as sf

ROOT = Path(__file__).parent.parent
VARYING = ("attempt", "created_utc", "timings")


class Sandbox:
    """A dataset and its surroundings."""

    def __init__(self, root: Path, *, registry: str | None = "tests.fakes:STAGES") -> None:
        self.root = root
        self.dataset = root / "music"
        self.dataset.mkdir()
        self.out = self.dataset / "_pipeline"
        self._calls = root / "calls"
        self._script = root / "script.json"
        self._script.write_text("{}")
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "NIGHTSHIFT_TEST_SCRIPT": str(self._script),
            "NIGHTSHIFT_TEST_CALLS": str(self._calls),
            # Small disks are mounted to be filled; tests/pipeline/test_room.py sets the guard.
            "NIGHTSHIFT_LIMITS__MIN_FREE_BYTES": "0",
            "NIGHTSHIFT_LIMITS__MIN_FREE_FILES": "0",
        }
        if registry is not None:
            self.environment["NIGHTSHIFT_REGISTRY"] = registry

    # ---- the dataset

    def add(
        self, name: str | bytes, *, seed: int = 0, seconds: float = 0.1, rate: int = 8000
    ) -> str:
        """Write a WAV of noise; return the first 8 hex of its hash, as scripts name it."""
        path = os.path.join(os.fsencode(self.dataset), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        noise = np.random.default_rng(seed).uniform(-0.5, 0.5, (round(seconds * rate), 1))
        with open(path, "wb") as stream:
            sf.write(stream, noise, rate, subtype="PCM_16", format="WAV")
        return self.hash_of(path)

    def add_many(self, count: int) -> list[str]:
        """Write several tracks, `t00.wav` and on."""
        return [self.add(f"t{number:02}.wav", seed=number) for number in range(count)]

    def hash_of(self, path: str | bytes | Path) -> str:
        """Return the first 8 hex of a file's hash."""
        with open(path, "rb") as stream:
            return sha256(stream.read()).hexdigest()[:8]

    def script(self, behaviours: Mapping[str, str]) -> None:
        """Say what the fake stages do to which track."""
        self._script.write_text(json.dumps(dict(behaviours)))

    # ---- the command

    def start(
        self, *arguments: str, kill: str | None = None, **options: Any
    ) -> subprocess.Popen[str]:
        """Start `pipeline` and return the process."""
        environment = dict(self.environment)
        if kill is not None:
            environment["NIGHTSHIFT_TEST_KILL"] = f"{kill}:{self.root / 'killed'}"
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline", *arguments],
            env=environment,
            cwd=self.root,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )

    def command(self, *arguments: str, kill: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run `pipeline` to its end."""
        process = self.start(*arguments, kill=kill)
        stdout, stderr = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def run(self, *arguments: str, kill: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run `pipeline run` on the dataset."""
        return self.command("run", str(self.dataset), *arguments, kill=kill)

    def start_run(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `pipeline run` on the dataset."""
        return self.start("run", str(self.dataset), *arguments)

    # ---- what became of it

    def status(self) -> dict[str, Any]:
        """Return `pipeline status --json`."""
        done = self.command("status", str(self.dataset), "--json")
        assert done.returncode == 0, done.stderr
        status: dict[str, Any] = json.loads(done.stdout)
        return status

    def counts(self, stage: str = "note", scope: str = "mix") -> dict[str, int]:
        """Return the states of a stage's jobs that any job is in."""
        return {
            state: number
            for state, number in self.status()["stages"][stage][scope].items()
            if number
        }

    def jobs(self) -> dict[tuple[str, str, str], dict[str, Any]]:
        """Return the jobs by path, stage and scope, straight from the ledger."""
        return {
            (row["path"], row["stage"], row["scope"]): row
            for row in self.sql(
                "SELECT paths.shown AS path, jobs.* FROM jobs JOIN paths ON paths.track_id = jobs.track_id"
            )
        }

    def sql(self, query: str) -> list[dict[str, Any]]:
        """Ask the ledger."""
        connection = sqlite3.connect(f"file:{self.out / 'ledger.db'}?mode=ro", uri=True)
        try:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query)]
        finally:
            connection.close()

    def calls(self) -> Counter[str]:
        """Return how often each stage was called for each track and source."""
        if not self._calls.exists():
            return Counter()
        return Counter(
            line
            for line in self._calls.read_text().splitlines()
            if not line.startswith(("step", "together"))
        )

    def together(self) -> int:
        """Return how often the streaming stage took two tracks at once."""
        return sum(line.startswith("together") for line in self._calls.read_text().splitlines())

    def steps(self) -> int:
        """Return how many steps a process took that was told to count them."""
        lines = [line for line in self._calls.read_text().splitlines() if line.startswith("step")]
        return len(lines)

    def forget_calls(self) -> None:
        """Start counting anew."""
        self._calls.unlink(missing_ok=True)

    def outputs(self) -> dict[str, object]:
        """Return every published file: manifests without what may vary, others by their bytes."""
        found: dict[str, object] = {}
        tracks = self.out / "tracks"
        for path in sorted(tracks.rglob("*")):
            if path.is_dir():
                continue
            name = str(path.relative_to(tracks))
            content = path.read_bytes()
            if path.name == "manifest.json":
                manifest = json.loads(content)
                found[name] = {key: value for key, value in manifest.items() if key not in VARYING}
            else:
                found[name] = sha256(content).hexdigest()
        return found

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Return what the run logs say, of one kind or of all."""
        lines = [
            json.loads(line)
            for log in sorted((self.out / "logs").glob("run-*.jsonl"))
            for line in log.read_text().splitlines()
        ]
        return [line for line in lines if kind is None or line["event"] == kind]

    def check(self) -> None:
        """The invariants that hold after every run that ended by itself, whatever came before."""
        assert self.sql("PRAGMA integrity_check")[0]["integrity_check"] == "ok"
        assert list((self.out / ".tmp").iterdir()) == []
        done = self.sql(
            "SELECT tracks.folder, jobs.stage, jobs.scope, jobs.manifest_sha256, jobs.fingerprint "
            "FROM jobs JOIN tracks ON tracks.id = jobs.track_id WHERE jobs.state = 'done'"
        )
        # A track may be called so too, and then its folder is.
        manifests = (self.out / "tracks").rglob("manifest.json")
        published = {path.parent for path in manifests if path.is_file()}
        for job in done:
            track = self.out / "tracks" / os.fsdecode(job["folder"])
            folder = (
                track / job["stage"] if job["scope"] == "mix" else track / "stems" / job["stage"]
            )
            text = (folder / "manifest.json").read_bytes()
            assert sha256(text).hexdigest() == job["manifest_sha256"]
            manifest = json.loads(text)
            assert manifest["fingerprint"] == job["fingerprint"]
            for file in manifest["files"]:
                content = (folder / file["name"]).read_bytes()
                assert (len(content), sha256(content).hexdigest()) == (
                    file["size_bytes"],
                    file["sha256"],
                )
            published.remove(folder)
        assert published == set()
        assert self.processes() == []

    def processes(self) -> list[psutil.Process]:
        """Return what still runs of this sandbox."""
        marker = f"NIGHTSHIFT_TEST_CALLS={self._calls}"
        return [process for process in psutil.process_iter() if marker in _environment(process)]

    def wait_for(self, condition: Callable[[], object], *, timeout_s: float = 30.0) -> Any:
        """Wait until something is true, and return it."""
        end = time.monotonic() + timeout_s
        while not (result := condition()):
            assert time.monotonic() < end, "it never came true"
            time.sleep(0.02)
        return result

    def wait_until_gone(self) -> None:
        """Wait until no process of this sandbox is left."""
        self.wait_for(lambda: not self.processes())

    def wait_for_calls(self, number: int) -> None:
        """Wait until fake stages were called so often."""
        self.wait_for(lambda: self.calls().total() >= number)

    def lanes(self) -> list[int]:
        """Return the process ids of the live lanes."""
        return self.called("pipeline.lane")

    def lane_pid(self) -> int:
        """Wait for a live lane and return its process id."""
        return int(self.wait_for(self.lanes)[0])

    def called(self, name: str) -> list[int]:
        """Return the process ids of the live `pipeline.lane` or `pipeline.probe`."""
        return [one.pid for one in self.processes() if _runs(name, one)]


def _runs(name: str, process: psutil.Process) -> bool:
    try:
        return name in process.cmdline()
    except psutil.Error:
        return False


def _environment(process: psutil.Process) -> list[str]:
    try:
        return [f"{key}={value}" for key, value in process.environ().items()]
    except (psutil.Error, OSError):
        return []
