"""The table-check suite over every library that is installed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fairlead.kit import plugins
from fairlead.testing import checks_suite


@pytest.mark.parametrize("name", plugins.names("fairlead.checks"))
@pytest.mark.parametrize("check", checks_suite.CHECKS, ids=lambda check: check.__name__)
def test_installed(name: str, check: Callable[..., None]) -> None:
    check(plugins.load("fairlead.checks", name))
