"""The event store check-suite over every store that is installed, and over the fake."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from fairlead.kit import plugins
from fairlead.testing import event_suite
from fairlead.testing.events import MemoryEvents


@pytest.mark.parametrize("check", event_suite.CHECKS, ids=lambda check: check.__name__)
class TestEvents:
    @pytest.mark.parametrize("name", plugins.names("fairlead.events"))
    def test_installed(self, name: str, check: Callable[..., None], tmp_path: Path) -> None:
        store = plugins.load("fairlead.events", name)
        check(lambda: store(str(tmp_path / secrets.token_hex(4))))

    def test_memory(self, check: Callable[..., None]) -> None:
        check(MemoryEvents)
