"""What a stage is, what it is given, and how it says no."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Protocol, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from stages.audio import Audio
    from stages.collect import Sink
    from stages.decode import DecodeLimits

JsonValue: TypeAlias = "str | int | float | bool | list[JsonValue] | dict[str, JsonValue] | None"
Facts: TypeAlias = Mapping[str, JsonValue]
Tick: TypeAlias = Callable[[float], None]


class Scope(StrEnum):
    """What a job looks at: the mix as it was found, or its separated stems."""

    MIX = "mix"
    STEMS = "stems"


STEMS_FROM = "separation"
"""The stage whose outputs the jobs of scope `stems` read."""


class Reason(StrEnum):
    """Why a track cannot be done. Stored in the ledger; `io`, `memory` and `hang` may pass by themselves."""

    EMPTY = "empty"
    NOT_AUDIO = "not_audio"
    BAD_HEADER = "bad_header"
    UNSUPPORTED = "unsupported"
    TRUNCATED = "truncated"
    DAMAGED = "damaged"
    NONFINITE = "nonfinite"
    TOO_LONG = "too_long"
    IO = "io"
    STEMS_GONE = "stems_gone"
    MEMORY = "memory"
    HANG = "hang"
    CRASH = "crash"
    ERROR = "error"


class StageError(Exception):
    """Root of what stages raise on purpose.

    StageError
    ├─ TrackUnusable   this track fails, the others go on
    └─ StageBlocked    the stage cannot start on this machine, other stages go on
       └─ DeviceUnusable   a GPU is there and does not work: the run stops and asks
    """


class TrackUnusable(StageError):
    """This track cannot be done; the reason and the value that shows it."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


class StageBlocked(StageError):
    """The stage cannot start here; says what is missing and the command that mends it."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.problem}. {self.remedy}"


class DeviceUnusable(StageBlocked):
    """A GPU is there, or was asked for, and does not compute.

    The CPU could do the work, but a hundred times slower: that is for the user to decide.
    """


class StageSettings(BaseModel):
    """Settings of a stage. Every field enters the fingerprint unless marked `FREE`."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    def deciding(self) -> dict[str, JsonValue]:
        """Return the settings that decide the output, JSON-ready, in the order of declaration."""
        free = {
            name
            for name, field_info in type(self).model_fields.items()
            if field_info.json_schema_extra == FREE
        }
        decided: dict[str, JsonValue] = self.model_dump(mode="json", exclude=free)
        return decided


# Put as `json_schema_extra=FREE` on a field that changes speed or place but never the numbers.
FREE: dict[str, JsonValue] = {"decides_output": False}

Settings = TypeVar("Settings", bound=StageSettings)


@dataclass(frozen=True)
class Declaration:
    """What the pipeline must know of a stage without importing it.

    `extra` is what pip installs to get `libraries`, whose versions every manifest records.
    `weights` gives the files a stage will load, and raises `StageBlocked` where one is missing;
    their SHA-256 enters the fingerprint, their place does not. `bytes_per_audio_s` gives what the
    stage writes for a second of one source, about; leave it out where that is next to nothing.
    `parallel`: several threads may call `run` at once, each with a track of its own; the libraries
    have one thread each then.
    """

    name: str
    target: str
    version: int
    lane: str
    scopes: tuple[Scope, ...]
    settings: type[StageSettings]
    extra: str
    libraries: tuple[str, ...] = ()
    weights: Callable[[StageSettings], tuple[Path, ...]] | None = None
    bytes_per_audio_s: Callable[[StageSettings], float] | None = None
    parallel: bool = False


def no_tick(done_s: float) -> None:
    """Take a report of progress and do nothing with it."""


@dataclass(frozen=True)
class Track:
    """One decoded track. `sources` is `{"mix": audio}`, or one audio per stem.

    `sha256` is that of the source file's bytes. Call `tick` with the seconds of audio done so far
    after each block: a stage that reports nothing for long is taken for hanging.
    """

    sha256: str
    sources: Mapping[str, Audio]
    tick: Tick = field(default=no_tick)

    @property
    def duration_s(self) -> float:
        """Length of the longest source."""
        return max(audio.duration_s for audio in self.sources.values())


class Stage(ABC, Generic[Settings]):
    """Audio in, files out. Knows no ledger, and not where its folder will end up.

    `hears` is what it will ask of `Audio.heard`, so that one reading of a file does for all stages;
    None for `Audio.samples`, all of them in memory. Known once it is loaded.

    `parallel` is False, once it is loaded, where a stage that was declared so cannot be it here.

    `decided` is what changes bits and was decided once for this machine: given before `load`, which
    adds what is missing. It is kept in `machine.json` and recorded with every result.
    """

    hears: tuple[Callable[[], Sink], ...] | None = None
    parallel: bool = True

    def __init__(self, settings: Settings, *, device: str = "cpu") -> None:
        self.settings = settings
        self.device = device
        self.decided: dict[str, JsonValue] = {}

    def load(self) -> None:
        """Load models and whatever else is costly, once per process.

        Raises:
            StageBlocked: a library or weights are missing or broken.
        """

    @abstractmethod
    def run(self, track: Track, out: Path) -> Facts:
        """Write this stage's files for one track into the empty folder `out`.

        Returns:
            Facts for the manifest, for example `{"gain": 0.5}`. Empty when there are none.

        Raises:
            TrackUnusable: this track cannot be done.
        """


class Opened(Protocol):
    """A track as a stream stage reads it: by itself, and not all of it at once."""

    @property
    def duration_s(self) -> float:
        """Its length."""

    @property
    def flags(self) -> tuple[str, ...]:
        """What the decoder has to say of it."""


Source = TypeVar("Source", bound=Opened)


@dataclass(frozen=True)
class Piece(Generic[Source]):
    """One track of a stream. `key` tells it from the others, `out` is an empty folder.

    `sha256` is that of the source file's bytes, `tick` as in `Track`.
    """

    key: int
    sha256: str
    source: Source
    out: Path
    tick: Tick = field(default=no_tick, compare=False)


@dataclass(frozen=True)
class Outcome:
    """A track is through. `finish` completes its files and returns the facts, or raises.

    It may be called from another thread, and must be called for every outcome.
    """

    key: int
    finish: Callable[[], Facts]


# Called with True when nothing can be done without a track: returns the next, None when there are
# no more. Called with False: None also when none is there at this moment.
Take: TypeAlias = Callable[[bool], Piece[Source] | None]


class StreamStage(Stage[Settings], Generic[Settings, Source]):
    """A stage that works on several tracks at once, and reads them by itself.

    `window`: how many tracks it wants in its hands, the ones being opened and finished included;
    `opens`: how many files are read at a time, each in a thread. Both known once it is loaded.
    """

    window: int = 2
    opens: int = 1

    @abstractmethod
    def open(self, path: bytes, *, limits: DecodeLimits, tick: Tick = no_tick) -> Source:
        """Read a file once, to its end, in whatever thread, beside others.

        Raises:
            TrackUnusable: it cannot be decoded.
        """

    @abstractmethod
    def stream(self, take: Take[Source]) -> Iterator[Outcome]:
        """Work through tracks until there are no more, and yield each as it comes through.

        An error of one track is raised by its `finish`; the others go on.
        """
