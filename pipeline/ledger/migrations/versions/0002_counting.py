"""Indexes that hold all that `status` counts: 1,000,000 jobs in one pass over an index."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.drop_index("jobs_by_state", table_name="jobs")
    op.create_index(
        "jobs_by_state",
        "jobs",
        ["stage", "scope", "state", "recipe", "track_id", "audio_s", "wall_s"],
        unique=False,
    )
    op.create_index("paths_missing", "paths", ["missing", "track_id"], unique=False)
