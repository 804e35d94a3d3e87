"""Fake stages, for tests of what surrounds stages. A registry for NIGHTSHIFT_REGISTRY.

What a stage does to a track is read from the JSON file that NIGHTSHIFT_TEST_SCRIPT names:
{"<first 8 hex of the track's hash>": "segfault"}. Every call is noted in the file that
NIGHTSHIFT_TEST_CALLS names. Importing this installs `killer`, in whichever process does.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import soundfile as sf

from stages.audio import Audio
from stages.base import (
    FREE,
    Declaration,
    Facts,
    Outcome,
    Piece,
    Reason,
    Scope,
    Stage,
    StageBlocked,
    StageSettings,
    StreamStage,
    Take,
    Tick,
    Track,
    TrackUnusable,
    no_tick,
)
from stages.decode import DecodeLimits, decode
from tests.killer import install_killer
from tests.tracer import trace_myself


class FakeSettings(StageSettings):
    """Settings of a fake stage."""

    flavour: int = 0
    free: Literal["a", "b"] = "a"
    load: str = "well"


# A free setting must be marked on the field itself.
FakeSettings.model_fields["free"].json_schema_extra = FREE


class Note(Stage[FakeSettings]):
    """Writes one small file that depends on the samples and the settings alone."""

    name = "note"

    def load(self) -> None:
        behave(self.settings.load)

    def run(self, track: Track, out: Path) -> Facts:
        called(self.name, "+".join(track.sources), track.sha256)
        track.tick(0.0)
        behave(
            script().get(f"{self.name}:{track.sha256[:8]}", script().get(track.sha256[:8], "well")),
            track,
        )
        features = {
            source: {"peak": float(np.abs(audio.samples).max()), "flavour": self.settings.flavour}
            for source, audio in track.sources.items()
        }
        with (out / "features.json").open("w") as stream:
            stream.write(json.dumps(features))
        return {}


class Second(Note):
    """Another stage of the same lane."""

    name = "second"


@dataclass(frozen=True)
class Wave:
    """A decoded file, as a stream stage opens it."""

    audio: Audio
    flags: tuple[str, ...]

    @property
    def duration_s(self) -> float:
        """Its length."""
        return self.audio.duration_s


class Separation(StreamStage[FakeSettings, Wave]):
    """Gives two stems that add up to the mix. Takes a second track along when one is there."""

    name = "separation"
    window = 4

    def load(self) -> None:
        behave(self.settings.load)
        self.decided.setdefault("flavour of this machine", script().get("decides", "7"))

    def open(self, path: bytes, *, limits: DecodeLimits, tick: Tick = no_tick) -> Wave:
        decoded = decode(path, limits=limits, tick=tick)
        return Wave(decoded.audio, decoded.flags)

    def run(self, track: Track, out: Path) -> Facts:
        return self._written(track.sources["mix"], out)

    def stream(self, take: Take[Wave]) -> Iterator[Outcome]:
        while (first := take(True)) is not None:
            second = take(False)
            pieces = [first] if second is None else [first, second]
            if second is not None:
                called("together", first.sha256, second.sha256)
            outcomes = [Outcome(piece.key, self._separated(piece)) for piece in pieces]
            yield from outcomes

    def _separated(self, piece: Piece[Wave]) -> Callable[[], Facts]:
        called(self.name, "mix", piece.sha256)
        scripted = script().get(f"{self.name}:{piece.sha256[:8]}", "well")
        when, _, how = scripted.rpartition("@")
        track = Track(piece.sha256, {"mix": piece.source.audio}, piece.tick)
        try:
            if when != "finish":
                behave(how, track)
        except Exception as error:
            return partial(_raise_it, error)
        return partial(self._finish, piece, how if when == "finish" else "well")

    def _finish(self, piece: Piece[Wave], how: str) -> Facts:
        behave(how)
        return self._written(piece.source.audio, piece.out)

    def _written(self, mix: Audio, out: Path) -> Facts:
        shares = {"drums": 0.25, "rest": 0.75}
        for name, share in shares.items():
            stem = mix.samples * np.float32(share)
            sf.write(out / f"{name}.wav", stem.T, mix.sample_rate_hz, subtype="PCM_24")
        return {"gain": 1.0, "lossless": True, "sources": [*shares]}


def _raise_it(error: Exception) -> Facts:
    raise error


def script() -> dict[str, str]:
    """Return what to do to which track."""
    path = os.environ.get("NIGHTSHIFT_TEST_SCRIPT")
    if path is None:
        return {}
    read: dict[str, str] = json.loads(Path(path).read_text())
    return read


def called(*words: str) -> None:
    """Note a call, in one write."""
    path = os.environ.get("NIGHTSHIFT_TEST_CALLS")
    if path is not None:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, (" ".join(words) + "\n").encode())
        os.close(descriptor)


def behave(how: str, track: Track | None = None) -> None:
    """Do to this process what a bad library would."""
    kind, _, argument = how.partition(":")
    BEHAVIOURS[kind](argument, track)


def _well(argument: str, track: Track | None) -> None:
    return


def _sleep(argument: str, track: Track | None) -> None:
    """Work slowly, and report it."""
    end = time.monotonic() + float(argument)
    while time.monotonic() < end:
        time.sleep(0.02)
        if track is not None:
            track.tick(0.1)


def _wait(argument: str, track: Track | None) -> None:
    """Work until a file is there, and report it."""
    while not os.path.exists(argument):
        time.sleep(0.02)
        if track is not None:
            track.tick(0.1)


def _hang(argument: str, track: Track | None) -> None:
    while True:
        signal.pause()


def _spin(argument: str, track: Track | None) -> None:
    while True:
        pass


def _later(argument: str, track: Track | None) -> None:
    """Do something after a while, when a neighbour has been decoded."""
    seconds, _, then = argument.partition("=")
    _sleep(seconds, track)
    behave(then, track)


def _segfault(argument: str, track: Track | None) -> None:
    ctypes.string_at(0)


def _once(argument: str, track: Track | None) -> None:
    """Do something only while a file is there that is removed by doing it."""
    flag, _, then = argument.partition("=")
    if os.path.exists(flag):
        os.unlink(flag)
        behave(then, track)


def _raise(argument: str, track: Track | None) -> None:
    raise {
        "value": ValueError("a bug"),
        "memory": MemoryError("no room"),
        "unread": TrackUnusable(Reason.IO, "Input/output error (errno 5)"),
        "io": OSError(5, "Input/output error"),
        "full": OSError(28, "No space left on device"),
        "track": TrackUnusable(Reason.NONFINITE, "3 of 100 samples are not finite"),
        "blocked": StageBlocked("The weights are missing", "Fetch them"),
        "import": ModuleNotFoundError("No module named 'magic'"),
        "exit": SystemExit(3),
    }[argument]


def _print(argument: str, track: Track | None) -> None:
    """Print a lot, and garbage."""
    os.write(1, b"\x00\xff garbage \x1b[2J" * (int(argument) // 16))


def _touch(argument: str, track: Track | None) -> None:
    """Change the source file while it is worked on, once."""
    path, _, flag = argument.partition("=")
    if not os.path.exists(flag):
        Path(flag).touch()
        with open(path, "ab") as stream:
            stream.write(b"\0\0\0\0")


def _unlock(argument: str, track: Track | None) -> None:
    """Delete the lock file under the live run."""
    os.unlink(argument)


def _ignore_term(argument: str, track: Track | None) -> None:
    """Ignore SIGTERM and work on; says its pid in a file first."""
    path, _, seconds = argument.partition("=")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(f"{path}.new").write_text(str(os.getpid()))
    os.rename(f"{path}.new", path)
    _sleep(seconds, track)


def _own_death_ignored(argument: str, track: Track | None) -> None:
    """Undo the parent-death signal and hold the GIL, so that nobody hears the pipe's end."""
    ctypes.CDLL(None).prctl(1, 0)
    path, _, seconds = argument.partition("=")
    Path(f"{path}.new").write_text(str(os.getpid()))
    os.rename(f"{path}.new", path)
    ctypes.PyDLL(None).sleep(int(float(seconds)))


def _eat(argument: str, track: Track | None) -> None:
    """Join a control group and take more megabytes than it has."""
    group, _, megabytes = argument.partition("=")
    Path(group).write_text(str(os.getpid()))
    eaten = bytearray(int(megabytes) << 20)
    eaten[:: 1 << 12] = b"x" * len(eaten[:: 1 << 12])


def _fill(argument: str, track: Track | None) -> None:
    """Put so many bytes on a disk."""
    folder, _, number = argument.partition("=")
    Path(f"{folder}/ballast{time.monotonic_ns()}").write_bytes(b"x" * int(number))


def _where(argument: str, track: Track | None) -> None:
    """Note the name of this thread in a file."""
    with open(argument, "a") as stream:
        stream.write(f"{threading.current_thread().name}\n")


BEHAVIOURS: dict[str, Any] = {
    "well": _well,
    "sleep": _sleep,
    "wait": _wait,
    "hang": _hang,
    "spin": _spin,
    "segfault": _segfault,
    "abort": lambda argument, track: os.abort(),
    "exit": lambda argument, track: os._exit(int(argument)),
    "kill": lambda argument, track: os.kill(os.getpid(), signal.SIGKILL),
    "once": _once,
    "later": _later,
    "raise": _raise,
    "print": _print,
    "touch": _touch,
    "unlock": _unlock,
    "ignore_term": _ignore_term,
    "orphan": _own_death_ignored,
    "eat": _eat,
    "fill": _fill,
    "where": _where,
}


def _declared(name: str, kind: str, lane: str, *scopes: Scope) -> Declaration:
    return Declaration(
        name=name,
        target=f"tests.fakes:{kind}",
        version=1,
        lane=lane,
        scopes=scopes,
        settings=FakeSettings,
        extra="features",
        libraries=("numpy",),
    )


NOTE = _declared("note", "Note", "features", Scope.MIX, Scope.STEMS)
SECOND = _declared("second", "Second", "features", Scope.MIX)
SEPARATION = _declared("separation", "Separation", "separation", Scope.MIX)

ONE = {"note": _declared("note", "Note", "features", Scope.MIX)}
STAGES = {"note": NOTE, "separation": SEPARATION}
TWO = {"note": NOTE, "second": SECOND}
# The first may run in several threads at once, the other one may not.
SIDE_BY_SIDE = {"note": replace(ONE["note"], parallel=True), "second": SECOND}
# Says that it writes a megabyte for each second of audio.
BULKY = {"note": replace(ONE["note"], bytes_per_audio_s=lambda settings: 1e6)}


def _way_out(*_: object) -> None:
    """Leave the supervisor as a bug would: by an exception, or by somebody's sys.exit."""
    if os.environ["NIGHTSHIFT_TEST_WAY"] == "exception":
        raise RuntimeError("a bug in the supervisor")
    raise SystemExit(7)


install_killer(called)
if "NIGHTSHIFT_TEST_WAY" in os.environ:
    signal.signal(signal.SIGUSR1, _way_out)
trace_myself()
