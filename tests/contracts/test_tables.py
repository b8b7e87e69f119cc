"""The tables suite over every form that is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fairlead.kit import plugins
from fairlead.testing import tables_suite


@pytest.mark.parametrize("name", plugins.names("fairlead.tables"))
@pytest.mark.parametrize("check", tables_suite.CHECKS, ids=lambda check: check.__name__)
def test_installed(name: str, check: Callable[..., None], tmp_path: Path) -> None:
    check(plugins.load("fairlead.tables", name), tmp_path / f"table.{name}")
