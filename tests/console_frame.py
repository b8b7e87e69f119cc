"""A console over facts of a test, asked in process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
from starlette.routing import BaseRoute

from fairlead.console.app import build
from fairlead.console.assets import Assets
from fairlead.console.door import Door
from fairlead.console.live import Live
from fairlead.console.navigation import EVERY
from fairlead.console.reading import Reader
from fairlead.console.rendering import Templates
from fairlead.console.sessions import Seal
from fairlead.console.shell import Shell
from fairlead.console.visitors import Visitor
from fairlead.contracts.errors import Forbidden
from fairlead.testing.clock import ManualClock


@dataclass
class Doorman:
    """``keys``: by their text, who shows them."""

    asks: bool = False
    keys: dict[str, Visitor] = field(default_factory=dict)

    def unasked(self) -> Visitor:
        return Visitor("local:me", True)

    def shown(self, key: str) -> Visitor | None:
        if key == "other":
            raise Forbidden("this key may not look at the console: it needs the scope console:read")
        return self.keys.get(key)

    def again(self, name: str) -> Visitor | None:
        return next((one for one in self.keys.values() if one.name == name), None)


class Stamps:
    def __init__(self) -> None:
        self.now = {"windows": "1"}

    def stamps(self) -> dict[str, str]:
        return dict(self.now)


@asynccontextmanager
async def console(
    pages: Callable[[Shell], Sequence[BaseRoute]], doorman: Doorman | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[tuple[httpx.AsyncClient, ManualClock]]:
    clock, assets = ManualClock(), Assets()
    reader = Reader(clock)
    shell = Shell(Templates(assets), Door(doorman or Doorman(), Seal(b"s" * 32), reader, clock), reader, clock, EVERY)
    app = build(shell, Live(Stamps(), reader), assets, pages(shell))
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
    headers = {"accept": "text/html"}
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}", headers=headers) as client:
        yield client, clock
    reader.close()
