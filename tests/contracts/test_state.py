"""The state suite over the store in memory, SQLite and PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fairlead.contracts.state import StateStore
from fairlead.kit import plugins
from fairlead.testing import state_suite
from fairlead.testing.clock import ManualClock
from fairlead.testing.state import MemoryState
from services import fresh_schema


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with fresh_schema() as url:
        yield url


class Opened:
    """Opens stores on one database and closes them."""

    def __init__(self, url: str, clock: ManualClock | None = None) -> None:
        self._url, self._clock = url, clock
        self._stores: list[StateStore] = []

    def open(self) -> StateStore:
        self._stores.append(plugins.load("fairlead.state", "sql")(self._url, self._clock))
        return self._stores[-1]

    def close(self) -> None:
        for store in self._stores:
            store.close()


@pytest.mark.parametrize("check", state_suite.CHECKS, ids=lambda check: check.__name__)
class TestState:
    def test_memory(self, check: Callable[[state_suite.Place], None]) -> None:
        clock = ManualClock()
        store = MemoryState(clock)
        check(state_suite.Place(lambda: store, clock.advance))

    def test_sqlite(self, check: Callable[[state_suite.Place], None], tmp_path: Path) -> None:
        clock = ManualClock()
        opened = Opened(f"sqlite:///{tmp_path}/deep/state.db", clock)
        check(state_suite.Place(opened.open, clock.advance))
        opened.close()

    def test_postgres(self, check: Callable[[state_suite.Place], None], postgres: str) -> None:
        opened = Opened(postgres)
        check(state_suite.Place(opened.open, time.sleep))
        opened.close()
