"""`/metrics`, `/healthz` and `/readyz` on a port of their own, for what serves without HTTP."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route

from fairlead.contracts.sink import Sink
from fairlead.serve.admin import Pages, measured
from fairlead.serve.catalog import Catalog
from fairlead.serve.door import bind
from fairlead.serve.web import Web

PARTING: Final = 2
"""Seconds that an answer under way has when the page is closed."""


class MetricsPage:
    """``port`` 0 takes a free one.  ``troubles``: what does not work now, told by `/readyz`."""

    def __init__(
        self,
        host: str,
        port: int,
        catalog: Catalog,
        sink: Sink,
        draining: Callable[[], bool],
        troubles: Callable[[], list[str]],
    ) -> None:
        """Binds at once. Raises AddressInUse, UsageError."""
        self._socket = bind(host, port, "--metrics-port")
        self.port: int = self._socket.getsockname()[1]

        async def exposition() -> tuple[bytes, str]:
            return measured(catalog, sink)

        pages = Pages(catalog, draining, exposition, troubles)
        routes = [
            Route(path, page, methods=["GET"])
            for path, page in (("/metrics", pages.metrics), ("/healthz", pages.alive), ("/readyz", pages.ready))
        ]
        self._web = Web(
            uvicorn.Config(
                Starlette(routes=routes),
                loop="none",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=PARTING,
            )
        )
        self._serving: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Answer from now on."""
        serving = functools.partial(self._web.serve, [self._socket])
        self._serving = asyncio.get_running_loop().create_task(serving())

    async def stop(self) -> None:
        self._web.should_exit = True
        if self._serving is not None:
            await self._serving
        self._socket.close()
