"""The store check-suite over every implementation that is installed, and over the fakes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fairlead.contracts.stores import AliasHistory
from fairlead.kit import plugins
from fairlead.testing import store_suite
from fairlead.testing.stores import MemoryAliasHistory, MemoryRegistry
from services import fresh_schema


@pytest.fixture(scope="module")
def mlflow_on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> store_suite.Store:
    folder = tmp_path_factory.mktemp("registry")
    return plugins.load("fairlead.stores", "mlflow")(f"sqlite:///{folder}/mlflow.db")


@pytest.mark.parametrize("check", store_suite.REGISTRY, ids=lambda check: check.__name__)
class TestRegistry:
    def test_memory(self, check: Callable[..., None], tmp_path: Path) -> None:
        check(MemoryRegistry(), tmp_path)

    def test_mlflow_on_sqlite(
        self, check: Callable[..., None], tmp_path: Path, mlflow_on_sqlite: store_suite.Store
    ) -> None:
        check(mlflow_on_sqlite, tmp_path)


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with fresh_schema() as url:
        yield url


def history(url: str) -> AliasHistory:
    return plugins.load("fairlead.stores", "alias-history")(url)


@pytest.mark.parametrize("check", store_suite.HISTORY, ids=lambda check: check.__name__)
class TestHistory:
    def test_memory(self, check: Callable[..., None]) -> None:
        check(MemoryAliasHistory())

    def test_sqlite(self, check: Callable[..., None], tmp_path: Path) -> None:
        check(history(f"sqlite:///{tmp_path}/deep/state.db"))

    def test_postgres(self, check: Callable[..., None], postgres: str) -> None:
        check(history(postgres))
