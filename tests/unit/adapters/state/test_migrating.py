from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import op
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from fairlead.adapters.state.migrating import current, migrate
from fairlead.adapters.state.sql import SqlState
from fairlead.adapters.state.tables import TABLES
from fairlead.contracts.errors import StateError


def test_the_revisions_lead_to_the_tables(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/state.db", poolclass=sa.NullPool)
    with engine.begin() as connection:
        assert not current(connection)
        migrate(connection)
        assert current(connection)
        context = MigrationContext.configure(connection, opts={"version_table": "state_version", "compare_type": True})
        assert compare_metadata(context, TABLES) == []
        migrate(connection)  # nothing is left to do


def test_a_database_of_a_newer_release_is_left_alone(tmp_path: Path) -> None:
    store = SqlState(f"sqlite:///{tmp_path}/state.db")
    store.all("split")
    store.close()
    with sqlite3.connect(tmp_path / "state.db") as other:
        other.execute("UPDATE state_version SET version_num = '9999'")
    other.close()
    again = SqlState(f"sqlite:///{tmp_path}/state.db")
    with pytest.raises(StateError, match="revision 9999.*newer release"):
        again.all("split")
    again.close()


def test_a_migration_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "state.db") as other:
        other.execute("CREATE TABLE state_labels (somebody_elses INTEGER)")
    other.close()
    store = SqlState(f"sqlite:///{tmp_path}/state.db")
    with pytest.raises(StateError, match="already exists"):
        store.all("split")
    store.close()
    engine = sa.create_engine(f"sqlite:///{tmp_path}/state.db", poolclass=sa.NullPool)
    assert [name for name in sa.inspect(engine).get_table_names() if name.startswith("state_")] == ["state_labels"]


def test_migrating_leaves_no_global_connection(tmp_path: Path) -> None:
    store = SqlState(f"sqlite:///{tmp_path}/state.db")
    store.all("split")
    store.close()
    # NameError: nobody ever used it in this process; AttributeError: somebody did, and put it away again.
    with pytest.raises((NameError, AttributeError), match="proxy|get_context"):
        op.get_context()
