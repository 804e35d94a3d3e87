"""A process that has loaded `pipeline` and forks for each command: a sweep starts hundreds of them.

What it forks is a process of its own, with its own SIGKILL; only the imports are shared.

    python -m tests.zygote     one JSON object a line on stdin, one answer a line on stdout
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from tests.forked import fork_children
from tests.sandbox import ROOT, Sandbox


class Zygote:
    """The forking process, as a test holds it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.zygote"],
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            cwd=Path(__file__).parent.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def command(self, arguments: list[str], **options: Any) -> int:
        """Run one command to its end; return its exit code, negative for a signal."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"arguments": arguments, **options}) + "\n")
        self._process.stdin.flush()
        return int(json.loads(self._process.stdout.readline()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate(timeout=60)


class QuickSandbox(Sandbox):
    """A sandbox whose commands are forked."""

    def __init__(self, root: Path, zygote: Zygote, *, registry: str) -> None:
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
        code = self._zygote.command(
            list(arguments),
            environment=environment,
            folder=str(self.root),
            streams=[str(stream) for stream in streams],
            # What a Python finds elsewhere, it finds when it starts.
            forks_children=environment["PYTHONPATH"] == str(ROOT),
        )
        stdout, stderr = (stream.read_text(errors="replace") for stream in streams)
        return subprocess.CompletedProcess(list(arguments), code, stdout, stderr)

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


Start = Callable[[Sandbox], list[tuple[int, str]]]


@contextmanager
def two_at_once() -> Iterator[Start]:
    """Give what starts two runs on a dataset at the same instant; it returns codes and stderr.

    Two processes fork one each, released together by threads behind one barrier.
    """
    with Zygote() as one, Zygote() as other:

        def start(box: Sandbox) -> list[tuple[int, str]]:
            barrier = threading.Barrier(2)
            ends: list[tuple[int, str]] = []
            threads = [
                threading.Thread(target=_run, args=(zygote, box, str(number), barrier, ends))
                for number, zygote in enumerate((one, other))
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return ends

        yield start


def _run(
    zygote: Zygote, box: Sandbox, name: str, barrier: threading.Barrier, ends: list[tuple[int, str]]
) -> None:
    streams = [box.root / f"{name}.{stream}" for stream in ("out", "err")]
    barrier.wait()
    code = zygote.command(
        ["run", str(box.dataset)],
        environment=box.environment,
        folder=str(box.root),
        streams=[str(stream) for stream in streams],
        forks_children=True,
    )
    ends.append((code, streams[1].read_text()))


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


def serve() -> None:
    """Fork for each line until there are no more."""
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
    gc.freeze()  # a collection in what is forked need not touch, and copy, what is here
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _child(json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve()
