"""One server a way for the whole suite, and the paths of the helpers that the tests import."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1] / "unit" / "serve")]

from running import Running  # noqa: E402 - it is found through the line above
from wire import serve  # noqa: E402 - as above


@pytest.fixture(scope="session", autouse=True)
def _impatient() -> Iterator[None]:
    """The server looks at its connections every 20 ms and ends soon, so that no test takes a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fairlead.serve.server.LOOK", 0.02)
        patch.setattr("fairlead.serve.server.LULL", 0.02)
        yield


@pytest.fixture(params=["short", "long"])
def way(request: pytest.FixtureRequest) -> str:
    """short: answered from the parser's callback.  long: through Starlette."""
    return str(request.param)


@pytest.fixture(scope="session")
def _servers(_impatient: None) -> Iterator[dict[str, Running]]:
    with serve("short") as short, serve("long") as long:
        yield {"short": short, "long": long}


@pytest.fixture
def server(_servers: dict[str, Running], way: str) -> Running:
    """Shared: a test leaves it as it found it."""
    return _servers[way]
