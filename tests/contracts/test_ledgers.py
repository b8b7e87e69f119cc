"""The check-suite of ledgers, over every one that is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fairlead.contracts.ledger import LedgerOptions
from fairlead.kit import plugins
from fairlead.testing.ledger_suite import CHECKS, Make


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", plugins.names("fairlead.ledgers"))
def test_ledger(name: str, check: Callable[[Make], None], tmp_path: Path) -> None:
    check(lambda: plugins.load("fairlead.ledgers", name)(LedgerOptions(str(tmp_path))))
