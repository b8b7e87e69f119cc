"""Hours of windows, added up once by the controller for all who read long spans."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade(op: Operations) -> None:
    op.create_table(
        "state_hours",
        sa.Column("endpoint", sa.Text, primary_key=True),
        sa.Column("start_ms", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("windows", sa.BigInteger, nullable=False),
        sa.Column("calls", sa.BigInteger, nullable=False),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("totals", sa.LargeBinary, nullable=False),
        sa.Column("columns", sa.LargeBinary, nullable=False),
    )
    op.create_index("state_hours_by_start", "state_hours", ["start_ms"])
