from __future__ import annotations

import errno
import os
import sqlite3
import sys
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from fairlead.adapters.state.sql import SqlState
from fairlead.contracts.errors import FairleadError, StateError, StorageFull, Unavailable, UsageError


@pytest.mark.parametrize(
    "url", ["", "no url", "sqlite://", "sqlite:///:memory:", "mysql://u:secret@h/d", "postgresql://u:secret@h:port/d"]
)
def test_a_url_that_is_no_place_for_state(url: str) -> None:
    with pytest.raises(UsageError) as error:
        SqlState(url)
    assert "secret" not in str(error.value)


def test_opening_is_lazy_and_a_store_outlives_its_object(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/deep/state.db"
    store = SqlState(url)
    assert list(tmp_path.iterdir()) == []
    kept = store.put("split", "churn", {"x": 1}, 0)
    store.close()
    again = SqlState(url)
    assert again.get("split", "churn") == kept
    again.close()


def test_sqlite_is_durable_and_lets_readers_be(tmp_path: Path) -> None:
    store = SqlState(f"sqlite:///{tmp_path}/state.db")
    store.put("split", "churn", {}, 0)
    with store._database.writing() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL: each commit is on the disk
        assert store.get("split", "churn") is not None
    store.close()


def test_a_database_that_another_writes_for_long_is_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairlead.adapters.state.database._BUSY_SECONDS", 0.01)
    store = SqlState(f"sqlite:///{tmp_path}/state.db")
    store.put("split", "churn", {}, 0)
    with store._database.writing(), pytest.raises(Unavailable, match="is busy: database is locked") as error:
        store.put("split", "churn", {}, 1)
    assert error.value.retry_after == 1.0
    assert store.put("split", "churn", {}, 1).revision == 2
    store.close()


def test_a_full_disk_is_told_and_nothing_of_the_batch_is_kept(tmp_path: Path) -> None:
    store = SqlState(f"sqlite:///{tmp_path}/state.db")
    first = store.put("split", "churn", {}, 0)

    @sa.event.listens_for(store._database._engine, "begin")
    def small(connection: sa.Connection) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count=1")  # SQLite takes the pages that it has

    with pytest.raises(StorageFull, match="database or disk is full; free some space"):
        store.put("split", "churn", {"text": "x" * 1_000_000}, 1)
    assert store.get("split", "churn") == first
    store.close()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(tmp_path))

    monkeypatch.setattr("fairlead.adapters.state.database.locked", refuse)
    with pytest.raises(StorageFull, match="Permission denied"):
        SqlState(f"sqlite:///{tmp_path}/state.db").all("split")


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_text("this is not a database, but it is long enough to be looked at as one" * 20)
    store = SqlState(f"sqlite:///{tmp_path}/state.db")
    with pytest.raises(StateError, match="not a database"):
        store.all("split")
    store.close()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="Not a directory|File exists"):
        SqlState(f"sqlite:///{tmp_path}/file/state.db").all("split")


def test_what_no_database_can_hold_is_told(tmp_path: Path) -> None:
    store = SqlState(f"sqlite:///{tmp_path}/state.db")
    with pytest.raises(StateError, match="surrogates"):
        store.get("split", "\ud800")
    with pytest.raises(StateError, match="too large"):
        store.entries("timeline", after=1 << 70)
    store.close()


@pytest.mark.parametrize(
    ("wrapped", "state", "kind"),
    [
        (sa.exc.OperationalError, "53100", StorageFull),  # disk_full
        (sa.exc.OperationalError, "57P01", Unavailable),  # admin_shutdown
        (sa.exc.OperationalError, "55P03", Unavailable),  # lock_not_available
        (sa.exc.OperationalError, "", Unavailable),  # no connection
        (sa.exc.InternalError, "25006", Unavailable),  # read_only_sql_transaction
        (sa.exc.ProgrammingError, "42501", StateError),  # insufficient_privilege
        (sa.exc.DataError, "22021", StateError),
    ],
)
def test_what_a_server_says_becomes_one_of_our_errors(
    wrapped: type[sa.exc.DBAPIError], state: str, kind: type[FairleadError]
) -> None:
    database = SqlState("postgresql://ada:secret@127.0.0.1:1/state")._database
    said = psycopg.errors.lookup(state) if state else psycopg.OperationalError
    told = database._failed(wrapped("INSERT", {"body": "secret"}, said("the server said\nDETAIL: secret row")))
    assert type(told) is kind
    assert "secret" not in str(told)
    assert "***@127.0.0.1" in str(told)
    assert (told.retry_after == 1.0) is (kind is Unavailable)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="warns of forks beside threads")
def test_a_fork_opens_connections_of_its_own(tmp_path: Path) -> None:
    store = SqlState(f"sqlite:///{tmp_path}/state.db")
    store.put("split", "churn", {"by": "parent"}, 0)
    before = store._database._engine.pool.checkedin()  # type: ignore[attr-defined]
    child = os.fork()
    if child == 0:
        try:
            store.put("split", "churn", {"by": "child"}, 1)
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    found = store.get("split", "churn")
    assert found is not None
    assert found.body == {"by": "child"}
    assert before == 1
    store.close()


def test_secrets_of_a_statement_are_in_no_error(tmp_path: Path) -> None:
    store = SqlState(f"sqlite:///{tmp_path}/state.db")
    store.all("split")
    with sqlite3.connect(tmp_path / "state.db") as other:
        other.execute("DROP TABLE state_documents")
    other.close()
    with pytest.raises(StateError) as error:
        store.put("split", "churn", {"token": "hush"}, 0)
    assert "hush" not in f"{error.value} {error.value.__cause__}"
    store.close()
