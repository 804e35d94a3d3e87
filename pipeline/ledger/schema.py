"""The tables of the ledger. Portable types only: SQLite today, PostgreSQL for several machines."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

# The newest migration. Compared with the file's own stamp at every start, so that alembic is
# imported only when there is something to migrate.
HEAD = "0003"


class State(StrEnum):
    """States of a job."""

    PENDING = "pending"
    """Can be claimed."""
    WAITING = "waiting"
    """A stems job until its track's separation is done."""
    RUNNING = "running"
    """Claimed by the run that holds the lock; found at a start, it is an interrupted one."""
    DONE = "done"
    """Published, with a manifest that proves it."""
    FAILED = "failed"
    """This track cannot be done; `reason` and `detail` say why."""
    BLOCKED = "blocked"
    """The stage could not start: weights or a library missing."""
    SKIPPED = "skipped"
    """A stems job that a failed separation will not give."""


def _one_of(column: str, values: type[StrEnum] | tuple[str, ...]) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_is_known")


metadata = MetaData()

runs = Table(
    "runs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("version", Text, nullable=False),
    Column("settings", Text, nullable=False),
    Column("started_utc", Text, nullable=False),
    Column("ended_utc", Text),
    Column("exit_code", Integer),
)

tracks = Table(
    "tracks",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("duration_s", Float),
    Column("sample_rate_hz", BigInteger),
    Column("channels", Integer),
    Column("codec", Text),
    Column("problem", Text),  # why no stage can read it, by its header alone
    Column("problem_detail", Text),
    Column("folder", LargeBinary, nullable=False, unique=True),
)

paths = Table(
    "paths",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("path", LargeBinary, nullable=False, unique=True),
    Column("shown", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("mtime_ns", BigInteger, nullable=False),
    Column("ctime_ns", BigInteger, nullable=False),
    Column("inode", BigInteger, nullable=False),
    Column("device", BigInteger, nullable=False),
    Column("track_id", Integer, ForeignKey("tracks.id")),  # null until the probe has hashed it
    Column("seen_run", Integer, nullable=False),
    Column("missing", Boolean, nullable=False, default=False),
    Column("probe_deaths", Integer, nullable=False, default=0),
    Column("problem", Text),  # why it could not even be hashed
    Index("paths_by_track", "track_id"),
    Index("paths_by_run", "seen_run", "track_id"),
    Index("paths_missing", "missing", "track_id"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("track_id", Integer, ForeignKey("tracks.id"), nullable=False),
    Column("stage", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("lane", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("rank", BigInteger, nullable=False),  # place in the queue
    Column("queued_run", Integer),  # the run that wants it: filters and --stages keep to their own
    Column("recipe", String(64)),  # everything that decides the output, but the source
    Column("upstream", String(64)),  # stems jobs: fingerprint of the separation they were made from
    Column("fingerprint", String(64)),
    Column("deaths", Integer, nullable=False, default=0),
    Column("interruptions", Integer, nullable=False, default=0),
    Column("retried", Boolean, nullable=False, default=False),
    Column("reason", Text),
    Column("detail", Text),
    Column("wall_s", Float),
    Column("cpu_s", Float),
    Column("audio_s", Float),
    Column("peak_bytes", BigInteger),
    Column("manifest_sha256", String(64)),
    UniqueConstraint("track_id", "stage", "scope", name="one_job_per_track_stage_scope"),
    _one_of("state", State),
    _one_of("scope", ("mix", "stems")),
    Index("jobs_to_claim", "queued_run", "lane", "scope", "state", "rank"),
    # What `status` sums up lies in the index too: one pass over it instead of the table.
    Index("jobs_by_state", "stage", "scope", "state", "recipe", "track_id", "audio_s", "wall_s"),
)

# For a statement that goes by track: with one stage alone to compare the bare column with, SQLite
# takes the index by state instead, and reads every job of that stage (7 jobs a second of 100,000).
stage_unindexed = jobs.c.stage.concat("")

attempts = Table(
    "attempts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("job_id", Integer, ForeignKey("jobs.id"), nullable=False),
    Column("run_id", Integer, ForeignKey("runs.id"), nullable=False),
    Column("token", Text, nullable=False, unique=True),  # name of its folder in .tmp
    Column("started_utc", Text, nullable=False),
    Column("ended_utc", Text),
    Column("outcome", Text),
    Column("signal", Text),
    Column("phase", Text),
    Column("detail", Text),
    Index("attempts_by_job", "job_id"),
    Index("attempts_by_run", "run_id", "outcome"),
)

results = Table(
    "results",
    metadata,
    Column("job_id", Integer, ForeignKey("jobs.id"), primary_key=True),
    Column("features", Text, nullable=False),  # features.json as it was published
)

speeds = Table(
    "speeds",
    metadata,
    Column("run_id", Integer, ForeignKey("runs.id"), primary_key=True),
    Column("stage", Text, primary_key=True),
    Column("scope", Text, primary_key=True),
    Column("recipe", String(64), primary_key=True),
    Column("device", Text, primary_key=True),  # cpu, cuda:0, …
    Column("model", Text),  # of stages that have one
    Column("jobs", Integer, nullable=False),
    Column("audio_s", Float, nullable=False),
    Column("lane_s", Float, nullable=False),  # of the lane's own time, by the clock
)
