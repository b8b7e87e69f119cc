from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from fairlead.adapters.stores.alias_history import SqlAliasHistory
from fairlead.contracts.errors import RegistryError, RegistryUnreachable, StorageFull, UsageError
from fairlead.contracts.stores import AliasMove

MOVE = AliasMove("churn", "champion", "", "1", "ada", "why", 1)


@pytest.mark.parametrize("url", ["", "no url", "sqlite://", "sqlite:///:memory:", "mysql://u:secret@h/d"])
def test_a_url_that_is_no_place_for_a_history(url: str) -> None:
    with pytest.raises(UsageError) as error:
        SqlAliasHistory(url).moves("churn")
    assert "secret" not in str(error.value)


def test_opening_is_lazy(tmp_path: Path) -> None:
    SqlAliasHistory(f"sqlite:///{tmp_path}/state.db")
    assert list(tmp_path.iterdir()) == []


def test_a_history_outlives_its_object(tmp_path: Path) -> None:
    SqlAliasHistory(f"sqlite:///{tmp_path}/state.db").append(MOVE, lambda: None, lambda: "")
    assert SqlAliasHistory(f"sqlite:///{tmp_path}/state.db").moves("churn") == [MOVE]


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_text("this is not a database, but it is long enough to be looked at as one" * 20)
    with pytest.raises(RegistryError, match="not a database"):
        SqlAliasHistory(f"sqlite:///{tmp_path}/state.db").moves("churn")


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RegistryError, match="Not a directory|File exists"):
        SqlAliasHistory(f"sqlite:///{tmp_path}/file/state.db").moves("churn")


def test_a_dead_server_is_told_without_the_password() -> None:
    with pytest.raises(RegistryUnreachable) as error:
        SqlAliasHistory("postgresql://ada:secret@127.0.0.1:1/state").moves("churn")
    assert "secret" not in str(error.value)
    assert "***@127.0.0.1" in str(error.value)


def test_a_full_disk_is_told_as_one_and_nothing_has_moved(tmp_path: Path) -> None:
    history = SqlAliasHistory(f"sqlite:///{tmp_path}/state.db")

    def full() -> None:
        raise sa.exc.OperationalError("INSERT", {}, sqlite3.OperationalError("disk I/O error"))

    with pytest.raises(StorageFull, match="disk I/O error; free some space"):
        history.append(MOVE, full, lambda: "")
    assert history.moves("churn") == []
