"""The sink check-suite over every sink that is installed, and over the fake."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fairlead.kit import plugins
from fairlead.testing import sink_suite
from fairlead.testing.sinks import MemorySink


@pytest.mark.parametrize("check", sink_suite.CHECKS, ids=lambda check: check.__name__)
class TestSinks:
    @pytest.mark.parametrize("name", plugins.names("fairlead.sinks"))
    def test_installed(self, name: str, check: Callable[..., None]) -> None:
        check(plugins.load("fairlead.sinks", name))

    def test_memory(self, check: Callable[..., None]) -> None:
        check(MemorySink)
