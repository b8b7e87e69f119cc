"""Journals are read by time, too: a range of it without what came after."""

from __future__ import annotations

from alembic.operations import Operations

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade(op: Operations) -> None:
    op.create_index("state_entries_by_time", "state_entries", ["kind", "at_ms", "number"])
    op.create_index("state_entries_by_subject_and_time", "state_entries", ["kind", "subject", "at_ms", "number"])
