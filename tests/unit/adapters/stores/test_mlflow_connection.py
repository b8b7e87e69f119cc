from __future__ import annotations

import errno
import sqlite3

import pytest
import sqlalchemy as sa

from fairlead.adapters.stores.mlflow.connection import told

# isort: split
# The connection sets MLflow's environment, so it comes first.
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

from fairlead.contracts.errors import RegistryUnreachable, StorageFull

FULL = sa.exc.OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full"))
NO_ROOM = OSError(errno.ENOSPC, "No space left on device", "/home/x")


@pytest.mark.parametrize("error", [FULL, NO_ROOM, MlflowException(str(FULL), TEMPORARILY_UNAVAILABLE)])
def test_a_full_disk_is_told_as_one(error: Exception) -> None:
    with pytest.raises(StorageFull, match="logging 'x': .*; free some space"), told("logging 'x'", "sqlite:///x.db"):
        raise error


def test_the_disk_of_a_server_is_not_ours() -> None:
    with pytest.raises(RegistryUnreachable), told("logging 'x'", "http://registry"):
        raise MlflowException(str(FULL), TEMPORARILY_UNAVAILABLE)
