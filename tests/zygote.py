"""A process that has loaded `pipeline` and forks for each command: a sweep starts hundreds of them.

What it forks is a process of its own, with its own SIGKILL; only the imports are shared.

    python -m tests.zygote [module…]     one JSON object a line on stdin, one answer a line on stdout
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from pipeline.threads import variables
from tests.forked import fork_children
from tests.sandbox import ROOT, Sandbox


class Zygote:
    """The forking process, as a test holds it.

    `modules`: what it loads besides. Libraries read how many threads they may start when they are
    loaded: in what is forked it is one, whatever a lane is told.
    """

    def __init__(self, *modules: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.zygote", *modules],
            env={**os.environ, **variables(1)},
            cwd=Path(__file__).parent.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def command(self, arguments: list[str], **options: Any) -> int:
        """Run one command to its end; return its exit code, negative for a signal."""
        return int(self.ask(arguments=arguments, **options))

    def ask(self, **said: Any) -> Any:
        """Say what to do, see `serve`, and return the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(said) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate(timeout=60)


class Forked:
    """A command that was forked and is under way, with what tests use of `subprocess.Popen`."""

    def __init__(self, zygote: Zygote, pid: int, streams: Sequence[Path]) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._zygote = zygote
        self._streams = streams

    def send_signal(self, number: int) -> None:
        """Send a signal; nobody else has its process id before its end was heard of."""
        assert self.returncode is None
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float = 60.0) -> tuple[str, str]:
        """Wait for its end; return what it wrote on stdout and stderr."""
        end = time.monotonic() + timeout
        while (code := self._zygote.ask(poll=self.pid)) is None:
            assert time.monotonic() < end, "it never ended"
            time.sleep(0.01)
        self.returncode = int(code)
        stdout, stderr = (stream.read_text(errors="replace") for stream in self._streams)
        return stdout, stderr


class QuickSandbox(Sandbox):
    """A sandbox whose commands are forked."""

    def __init__(self, root: Path, zygote: Zygote, *, registry: str | None) -> None:
        root.mkdir(parents=True, exist_ok=True)
        super().__init__(root, registry=registry)
        self._zygote = zygote
        self._files: set[Path] = set()

    def command(self, *arguments: str, kill: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run `pipeline` to its end."""
        environment = dict(self.environment)
        if kill is not None:
            environment["NIGHTSHIFT_TEST_KILL"] = f"{kill}:{self.root / 'killed'}"
        streams = [self.root / "stdout", self.root / "stderr"]
        said = self._said(arguments, environment, streams)
        code = int(self._zygote.ask(**said))
        stdout, stderr = (stream.read_text(errors="replace") for stream in streams)
        return subprocess.CompletedProcess(list(arguments), code, stdout, stderr)

    def fork_run(self, *arguments: str) -> Forked:
        """Start `pipeline run` on the dataset as `start_run` does, but forked."""
        streams = [self.root / "run.stdout", self.root / "run.stderr"]
        for stream in streams:
            stream.write_bytes(b"")  # it may be killed before it opens them
        said = self._said(["run", str(self.dataset), *arguments], self.environment, streams)
        return Forked(self._zygote, int(self._zygote.ask(**said, goes_on=True)), streams)

    def _said(
        self, arguments: Sequence[str], environment: Mapping[str, str], streams: Sequence[Path]
    ) -> dict[str, Any]:
        return {
            "arguments": list(arguments),
            "environment": dict(environment),
            "folder": str(self.root),
            "streams": [str(stream) for stream in streams],
            # What a Python finds elsewhere, it finds when it starts.
            "forks_children": environment["PYTHONPATH"] == str(ROOT),
        }

    def called(self, name: str) -> list[int]:
        """Return the process ids of the live `pipeline.lane` or `pipeline.probe`."""
        forked = [one.pid for one in forked_in(self.root) if _is_called(name, one)]
        return forked + super().called(name)

    def processes(self) -> list[psutil.Process]:
        """Return what still runs of this sandbox; what was forked shows the zygote's environment."""
        return super().processes() + forked_in(self.root)

    def keep(self) -> None:
        """Keep everything as it is now, to come back to."""
        shutil.copytree(self.out, self.root / "kept")
        self._files = {path for path in self.dataset.rglob("*") if self.out not in path.parents}

    def come_back(self) -> None:
        """Bring the outputs back to what was kept, and take away what was added to the dataset.

        Sources that were changed or moved stay so. They are not copied: their inodes would be new.
        """
        shutil.rmtree(self.out)
        shutil.copytree(self.root / "kept", self.out)
        for path in sorted(self.dataset.rglob("*"), reverse=True):
            if self.out not in path.parents and path not in self._files:
                path.rmdir() if path.is_dir() else path.unlink()
        self.forget_calls()
        self.script({})

    def killed(self) -> bool:
        """Say whether the last command that was to be killed was, and forget it."""
        flag = self.root / "killed"
        was = flag.exists()
        flag.unlink(missing_ok=True)
        return was


def forked_in(folder: Path) -> list[psutil.Process]:
    """Return what was forked and works in a folder; it shows the zygote's environment."""
    return [one for one in psutil.process_iter() if _is_forked_in(folder, one)]


def _is_called(name: str, process: psutil.Process) -> bool:
    try:
        return process.name() == name
    except psutil.Error:
        return False


def _is_forked_in(folder: Path, process: psutil.Process) -> bool:
    try:
        return process.cwd() == str(folder.resolve()) and "tests.zygote" in process.cmdline()
    except (psutil.Error, OSError):
        return False


def finished(root: Path, zygote: Zygote, registry: str, *, tracks: int) -> QuickSandbox:
    """Return a sandbox after a run, to come back to."""
    box = QuickSandbox(root, zygote, registry=registry)
    box.add_many(tracks)
    done = box.run()
    assert done.returncode == 0, done.stderr
    box.check()
    box.keep()
    return box


def _child(said: dict[str, Any]) -> None:
    for number, stream in enumerate([os.devnull, *said["streams"]]):
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        descriptor = os.open(stream, flags)
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(said["folder"])
    os.environ.clear()
    os.environ.update(said["environment"])
    if said.get("forks_children"):
        fork_children()
    from pipeline.cli import main

    try:
        code = main(said["arguments"])
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def serve(modules: Sequence[str]) -> None:
    """Answer each line until there are no more."""
    import alembic.command
    import alembic.config
    import numpy
    import soundfile

    import pipeline.cli
    import pipeline.collecting
    import pipeline.lane_stream
    import pipeline.lane_tracks
    import pipeline.order
    import pipeline.progress
    import pipeline.sources
    import pipeline.supervisor
    import pipeline.verifying
    import stages.opening
    import stages.rereading

    loaded = (alembic.command, numpy, soundfile, pipeline.cli, pipeline.collecting, stages.opening)
    assert loaded
    for module in modules:
        importlib.import_module(module)
    gc.freeze()  # a collection in what is forked need not touch, and copy, what is here
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), flush=True)


def _answer(said: dict[str, Any]) -> int | None:
    """Fork a command and return its exit code at its end, its process id if it `goes_on` meanwhile.

    Asked to `poll` a process id: its exit code, None while it lives.
    """
    if "poll" in said:
        ended, status = os.waitpid(said["poll"], os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if ended else None
    child = os.fork()
    if child == 0:
        _child(said)
    if said.get("goes_on"):
        return child
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    serve(sys.argv[1:])
