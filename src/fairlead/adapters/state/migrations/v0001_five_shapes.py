"""Documents, journals, windows, labels with their history, and leases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade(op: Operations) -> None:
    op.create_table(
        "state_documents",
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "state_entries",
        sa.Column("number", _NUMBER, primary_key=True, autoincrement=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("state_entries_by_subject", "state_entries", ["kind", "subject", "number"])
    op.create_table(
        "state_windows",
        sa.Column("endpoint", sa.Text, primary_key=True),
        sa.Column("start_ms", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("version", sa.Text, primary_key=True),
        sa.Column("arm", sa.Text, primary_key=True),
        sa.Column("worker", sa.Text, primary_key=True),
        sa.Column("length_ms", sa.BigInteger, nullable=False),
        sa.Column("calls", sa.BigInteger, nullable=False),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("codes", sa.Text, nullable=False),
        sa.Column("latency", sa.LargeBinary, nullable=False),
        sa.Column("columns", sa.LargeBinary, nullable=False),
        sa.Column("pairs", sa.Text, nullable=False),
        sa.Column("reference", sa.Text, nullable=False),
    )
    op.create_index("state_windows_by_start", "state_windows", ["start_ms"])
    op.create_table(
        "state_leases",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("expires_ms", sa.BigInteger, nullable=False),
    )
    _labels(op)


def _labels(op: Operations) -> None:
    op.create_table(
        "state_labels",
        sa.Column("id", _NUMBER, primary_key=True, autoincrement=True),
        sa.Column("endpoint", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("row", sa.Integer, nullable=False),
        sa.Column("by_key", sa.Boolean, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("number", sa.Double, nullable=True),
        sa.Column("text", sa.Text, nullable=True),
    )
    op.create_index("state_labels_by_key", "state_labels", ["endpoint", "key", "row", "by_key"], unique=True)
    op.create_index("state_labels_by_time", "state_labels", ["endpoint", "at_ms"])
    op.create_table(
        "state_label_changes",
        sa.Column("id", _NUMBER, primary_key=True, autoincrement=True),
        sa.Column("label", sa.BigInteger, nullable=False),
        sa.Column("endpoint", sa.Text, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("number", sa.Double, nullable=True),
        sa.Column("text", sa.Text, nullable=True),
    )
    op.create_index("state_label_changes_by_label", "state_label_changes", ["label"])
    op.create_index("state_label_changes_by_time", "state_label_changes", ["endpoint", "at_ms"])
