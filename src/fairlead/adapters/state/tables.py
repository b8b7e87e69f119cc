"""The tables as the newest revision in ``migrations/`` leaves them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

TABLES = sa.MetaData()
NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
"""SQLite counts up a primary key by itself only when it is called INTEGER."""

DOCUMENTS = sa.Table(
    "state_documents",
    TABLES,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
)
ENTRIES = sa.Table(
    "state_entries",
    TABLES,
    sa.Column("number", NUMBER, primary_key=True, autoincrement=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Index("state_entries_by_subject", "kind", "subject", "number"),
    sa.Index("state_entries_by_time", "kind", "at_ms", "number"),
    sa.Index("state_entries_by_subject_and_time", "kind", "subject", "at_ms", "number"),
)
WINDOWS = sa.Table(
    "state_windows",
    TABLES,
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
    sa.Index("state_windows_by_start", "start_ms"),
)
HOURS = sa.Table(
    "state_hours",
    TABLES,
    sa.Column("endpoint", sa.Text, primary_key=True),
    sa.Column("start_ms", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("windows", sa.BigInteger, nullable=False),
    sa.Column("calls", sa.BigInteger, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("totals", sa.LargeBinary, nullable=False),
    sa.Column("columns", sa.LargeBinary, nullable=False),
    sa.Index("state_hours_by_start", "start_ms"),
)
"""Windows added up: their tally, then what they add up to, the histograms apart."""
LEASES = sa.Table(
    "state_leases",
    TABLES,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("token", sa.BigInteger, nullable=False),
    sa.Column("expires_ms", sa.BigInteger, nullable=False),
)
LABELS = sa.Table(
    "state_labels",
    TABLES,
    sa.Column("id", NUMBER, primary_key=True, autoincrement=True),
    sa.Column("endpoint", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("row", sa.Integer, nullable=False),
    sa.Column("by_key", sa.Boolean, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("number", sa.Double, nullable=True),
    sa.Column("text", sa.Text, nullable=True),
    sa.Index("state_labels_by_key", "endpoint", "key", "row", "by_key", unique=True),
    sa.Index("state_labels_by_time", "endpoint", "at_ms"),
)
"""The value that became known last: ``number`` or ``text``."""
CHANGES = sa.Table(
    "state_label_changes",
    TABLES,
    sa.Column("id", NUMBER, primary_key=True, autoincrement=True),
    sa.Column("label", sa.BigInteger, nullable=False),
    sa.Column("endpoint", sa.Text, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("number", sa.Double, nullable=True),
    sa.Column("text", sa.Text, nullable=True),
    sa.Index("state_label_changes_by_label", "label"),
    sa.Index("state_label_changes_by_time", "endpoint", "at_ms"),
)
"""The values before it."""


def insert(connection: sa.Connection, table: sa.Table) -> Any:
    """An insert that may say what to do on a conflict, in the dialect's words."""
    return (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(table)
