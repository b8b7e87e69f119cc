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
    with sqlite3.connect(tmp_path / "state.db") as other:
        other.execute("UPDATE state_version SET version_num = '9999'")
    other.close()
    assert store.put("split", "churn", {}, 0).revision == 1, "who runs already goes on"
    store.close()
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


@pytest.mark.parametrize("subject", ["", "churn"])
def test_a_range_of_a_journal_is_read_along_an_index_and_no_further(tmp_path: Path, subject: str) -> None:
    asked: list[tuple[str, object]] = []

    def hear(_c: object, _u: object, statement: str, parameters: object, _x: object, _m: object) -> None:
        if "state_entries" in statement and statement.lstrip().startswith("SELECT"):
            asked.append((statement, parameters))

    store = SqlState(f"sqlite:///{tmp_path}/state.db")
    store.append("timeline", "churn", {})
    sa.event.listen(sa.Engine, "before_cursor_execute", hear)
    store.entries("timeline", subject, since_ms=5, until_ms=9, limit=7)
    store.entries("timeline", subject, limit=7)
    sa.event.remove(sa.Engine, "before_cursor_execute", hear)
    store.close()
    with sqlite3.connect(tmp_path / "state.db") as other:
        plans = [
            " ".join(str(row[3]) for row in other.execute(f"EXPLAIN QUERY PLAN {sql}", told)) for sql, told in asked
        ]
    other.close()
    assert len(plans) == 2
    name = "state_entries_by_subject_and_time" if subject else "state_entries_by_time"
    assert f"USING INDEX {name}" in plans[0]
    assert "at_ms>? AND at_ms<?" in plans[0]
    assert "TEMP B-TREE" not in plans[0]
    assert "USING INDEX state_entries_by_subject " in plans[1] or not subject
