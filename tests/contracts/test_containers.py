"""Every container tool that works here keeps the contract, and so does the fake."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.containers import GROUP, container_folder, tool

from fairlead.kit import plugins
from fairlead.testing import container_suite
from fairlead.testing.containers import MemoryContainers

__all__ = ["container_folder"]


@pytest.mark.parametrize("check", container_suite.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", [*plugins.names(GROUP), "memory"])
@pytest.mark.usefixtures("container_folder")
def test_containers(name: str, check, tmp_path: Path) -> None:
    check(MemoryContainers() if name == "memory" else tool(name), tmp_path)
