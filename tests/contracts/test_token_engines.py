"""The token-engine suite over every installed engine of tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from fairlead.contracts.engine import EngineOptions
from fairlead.contracts.tokens import TokenEngine
from fairlead.kit import plugins
from fairlead.testing import token_engine_suite
from fairlead.testing.token_engine_suite import Make, Site
from stories import stories

GROUP = "fairlead.token_engines"
pytestmark = pytest.mark.asyncio(loop_scope="module")


def site(name: str) -> Site:
    """A prompt that gives an answer of different tokens."""
    if name == "embedded":
        return Site((1, *stories().greedy[:7]))
    return Site(tuple(range(101, 121)))


def maker(name: str, folder: Path) -> Make:
    embedded = name == "embedded"
    options = stories().options(folder, cache_gb=1, parallel=16) if embedded else EngineOptions(name, "model")
    return lambda: plugins.load(GROUP, name)(options)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=plugins.names(GROUP))
async def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[TokenEngine, Site]]:
    name: str = request.param
    found = maker(name, tmp_path_factory.mktemp("engines"))()
    await found.start()
    yield found, site(name)
    await found.stop()


@pytest.mark.parametrize("check", token_engine_suite.CHECKS, ids=lambda check: check.__name__)
async def test_started(engine: tuple[TokenEngine, Site], check: Callable[[TokenEngine, Site], Awaitable[None]]) -> None:
    await check(*engine)


@pytest.mark.parametrize("name", plugins.names(GROUP))
@pytest.mark.parametrize("check", token_engine_suite.LIVES, ids=lambda check: check.__name__)
async def test_lives(name: str, check: Callable[[Make, Site], Awaitable[None]], tmp_path: Path) -> None:
    await check(maker(name, tmp_path), site(name))
