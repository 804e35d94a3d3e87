"""What the supervisor orders a lane to do, as values on both sides of the pipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, cast

from pipeline.config import DecodeSettings, load_registry
from pipeline.wire import Message
from stages.base import Declaration, JsonValue, StageSettings

TRACKS_AT_ONCE = 2
"""What a lane is given before it says what it wants."""


@dataclass(frozen=True)
class StageOrder:
    """A stage to load."""

    declaration: Declaration
    settings: Mapping[str, JsonValue]
    weights: Mapping[str, JsonValue]
    decided: Mapping[str, JsonValue] = field(default_factory=dict)

    def checked(self) -> StageSettings:
        """Return the settings as the stage knows them."""
        return self.declaration.settings.model_validate(self.settings)


@dataclass(frozen=True)
class LaneOrder:
    """What a lane is told first."""

    registry: str
    out: str
    lock: str
    device: str
    threads: int  # of the libraries
    tracks_at_once: int
    processor: str
    limits: DecodeSettings
    room_bytes: int  # of decoded samples in hand at once
    stages: Mapping[str, StageOrder]
    nice: int = 0  # added to the process's own

    def to_message(self) -> Message:
        """Return it as a message."""
        stages: dict[str, JsonValue] = {
            name: {
                "settings": dict(stage.settings),
                "weights": dict(stage.weights),
                "decided": dict(stage.decided),
            }
            for name, stage in self.stages.items()
        }
        return {
            "type": "setup",
            "registry": self.registry,
            "out": self.out,
            "lock": self.lock,
            "device": self.device,
            "threads": self.threads,
            "tracks_at_once": self.tracks_at_once,
            "nice": self.nice,
            "processor": self.processor,
            "limits": self.limits.model_dump(mode="json"),
            "room_bytes": self.room_bytes,
            "stages": stages,
        }

    @classmethod
    def from_message(cls, message: Message) -> LaneOrder:
        """Read it from a message of our own supervisor."""
        said = cast("dict[str, Any]", message)
        declarations = load_registry(said["registry"])
        return cls(
            registry=said["registry"],
            out=said["out"],
            lock=said["lock"],
            device=said["device"],
            threads=said["threads"],
            tracks_at_once=said["tracks_at_once"],
            nice=said["nice"],
            processor=said["processor"],
            limits=DecodeSettings.model_validate(said["limits"]),
            room_bytes=said["room_bytes"],
            stages={
                name: StageOrder(declarations[name], **stage)
                for name, stage in said["stages"].items()
            },
        )


@dataclass(frozen=True)
class JobOrder:
    """One job of a track."""

    id: int
    stage: str
    recipe: str
    fingerprint: str
    attempt: str


@dataclass(frozen=True)
class WorkOrder:
    """The jobs of one track. Names that are not UTF-8 are held with surrogate escapes."""

    unit: int
    path: str  # of the source, absolute
    folder: str  # of the outputs, below `tracks/`
    sha256: str
    scope: str
    identity: tuple[int, ...]
    upstream: str | None
    source: Mapping[str, JsonValue]
    jobs: tuple[JobOrder, ...]

    def to_message(self) -> Message:
        """Return it as a message."""
        return cast(Message, {"type": "work", **asdict(self)})

    @classmethod
    def from_message(cls, message: Message) -> WorkOrder:
        """Read it from a message of our own supervisor."""
        said = {
            key: value for key, value in cast("dict[str, Any]", message).items() if key != "type"
        }
        jobs = tuple(JobOrder(**job) for job in said.pop("jobs"))
        return cls(**{**said, "identity": tuple(said["identity"]), "jobs": jobs})
