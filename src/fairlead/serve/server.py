"""The life of a server: open the door, load, ready, drain, close.

On SIGTERM or SIGINT, or when the supervisor says so: not ready at once; every answer from then on says
``connection: close``; nobody new is let in, who queues at the door is; calls in flight are answered; connections that
fell silent are closed; exit. A second signal ends it at once.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import uvicorn

from fairlead.kit.clock import Clock
from fairlead.serve.catalog import Catalog
from fairlead.serve.door import LULL, Door, Listening
from fairlead.serve.endpoint import Live
from fairlead.serve.pipeline import Pipeline
from fairlead.serve.renewal import Renewal
from fairlead.serve.repository import Loader
from fairlead.serve.settings import ServerSettings
from fairlead.serve.web import Web

log = logging.getLogger("fairlead.serve")

LOOK = 1.0
"""Seconds between two looks at the connections."""


class Companion(Protocol):
    """Something that lives beside the server, on its event loop."""

    def start(self) -> None:
        """Every endpoint is live."""

    def drain(self) -> None:
        """The server begins to drain: let nobody new in."""

    def busy(self) -> bool:
        """Whether it still has to send, or to hear, what belongs to calls that came before the drain."""

    async def stop(self) -> None:
        """Everything is answered."""

    def troubles(self) -> list[str]:
        """What does not work now, a sentence each."""


class Quickening(Protocol):
    """Brings to life what is no model of tensors."""

    @property
    def endpoint(self) -> str: ...

    async def open(self) -> None:
        """Raises what loading raises."""

    async def close(self) -> None:
        """Also of what was never opened."""


MakeProtocol = Callable[[ServerSettings, Callable[[], bool]], type[asyncio.Protocol]]
"""Makes the protocol class from the settings and whether the server drains."""


class Gate:
    """ASGI wrapper that tells clients to go while the server drains."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.draining = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def closing(message: Any) -> None:
            if self.draining and message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        await self._app(scope, receive, closing)


class Server:
    """Owns the order of things. ``door``: where connections come from; without one it listens itself.

    ``certificates``: those of TLS; it is a companion too. None: no TLS.

    ``on_ready`` is called with the bound port.
    """

    def __init__(
        self,
        settings: ServerSettings,
        catalog: Catalog,
        pipeline: Pipeline,
        app: Any,
        loaders: Sequence[Loader],
        clock: Clock,
        protocol: MakeProtocol,
        on_ready: Callable[[int], None] = lambda _port: None,
        door: Door | None = None,
        companions: Sequence[Companion] = (),
        certificates: Renewal | None = None,
        openers: Sequence[Quickening] = (),
    ) -> None:
        self.settings = settings
        self.catalog = catalog
        self.pipeline = pipeline
        self.gate = Gate(app)
        self._loaders = loaders
        self._openers = openers
        self._clock = clock
        self._on_ready = on_ready
        self._companions = companions
        self._door = door or Listening(settings.host, settings.port)
        self._stopping = asyncio.Event()
        tls = None if certificates is None else certificates.context()
        self._web = Web(self._config(protocol(settings, lambda: self.gate.draining), tls))

    @property
    def draining(self) -> bool:
        return self.gate.draining

    def stop(self) -> None:
        """Begin to drain; a second time: stop at once."""
        if self._stopping.is_set():
            self._web.should_exit = self._web.force_exit = True
        self._stopping.set()

    async def run(self) -> None:
        """Serve until stopped. Raises FairleadError when it cannot bind or a model does not load."""
        loop = asyncio.get_running_loop()
        listeners = self._door.open(self._enter, self.stop)
        for name in (*(one.endpoint for one in self._loaders), *(one.endpoint for one in self._openers)):
            self.catalog.expect(name)
        serving = loop.create_task(self._web.serve(sockets=listeners))
        stopping = loop.create_task(self._stopping.wait())
        loading = loop.create_task(self._load(loop))
        looking = loop.create_task(self._look())
        try:
            await asyncio.wait((loading, stopping, serving), return_when=asyncio.FIRST_COMPLETED)
            if loading.done():
                loading.result()
                gc.collect()
                gc.freeze()  # what is loaded stays: the collector need not walk it while calls are served
                for companion in self._companions:
                    companion.start()
                self._on_ready(self._door.port)
                await asyncio.wait((stopping, serving), return_when=asyncio.FIRST_COMPLETED)
            await self._drain()
        finally:
            self._web.should_exit = True
            await serving
            for task in (stopping, loading, looking):
                task.cancel()
            for live in self.catalog.all():
                live.close()
            for opener in self._openers:
                await opener.close()
            for connection in list(self._web.server_state.connections):
                connection.transport.abort()  # what outlasted the grace time
            for companion in reversed(self._companions):
                await companion.stop()
            self._door.close()

    async def _enter(self, connection: socket.socket) -> None:
        """Take in a connection that somebody else accepted."""
        web = self._web

        def protocol() -> asyncio.Protocol:
            made: asyncio.Protocol = web.config.http_protocol_class(  # type: ignore[call-arg]  # as uvicorn
                config=web.config, server_state=web.server_state, app_state=web.lifespan.state
            )
            return made

        limit = self.settings.read_timeout if web.config.ssl else None
        await asyncio.get_running_loop().connect_accepted_socket(
            protocol, connection, ssl=web.config.ssl, ssl_handshake_timeout=limit
        )

    async def _load(self, loop: asyncio.AbstractEventLoop) -> None:
        for loader in self._loaders:
            began = self._clock.now()
            live = await loop.run_in_executor(None, loader.load, loop)
            self.catalog.put(live)
            log.info("loaded", extra={"fields": _loaded(live, self._clock.now() - began)})
            for note in live.notes:
                log.warning("note", extra={"fields": {"endpoint": live.endpoint, "note": note}})
        for opener in self._openers:
            await opener.open()

    async def _drain(self) -> None:
        """Refuse, drain, close: in that order, within the grace time."""
        self.gate.draining = True
        ends = self._clock.now() + self.settings.grace
        log.info("draining", extra={"fields": {"in_flight": self.pipeline.in_flight}})
        for companion in self._companions:
            companion.drain()
        if not await self._door.shut():
            self._close_door()
        answered, since = self._web.server_state.total_requests, self._clock.now()
        while self._clock.now() < ends and not self._web.should_exit:
            await asyncio.sleep(0.02)
            busy = self.pipeline.in_flight or any(companion.busy() for companion in self._companions)
            if busy or answered != self._web.server_state.total_requests:
                answered, since = self._web.server_state.total_requests, self._clock.now()
            elif self._clock.now() - since > (self._door.lull if self._web.server_state.connections else LULL):
                break
        self._close_door()
        if self.pipeline.in_flight:
            log.warning("grace time is over", extra={"fields": {"abandoned": self.pipeline.in_flight}})
            self._web.force_exit = True

    def _close_door(self) -> None:
        self._door.leave()
        for listening in self._web.servers:
            listening.close()

    async def _look(self) -> None:
        """Once a second: close the connections that keep the server waiting."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK)
            now = loop.time()
            for connection in list(self._web.server_state.connections):
                connection.look(now)  # type: ignore[union-attr]  # uvicorn's type; ours is serve.connection

    def _config(self, protocol: type[asyncio.Protocol], tls: ssl.SSLContext | None) -> uvicorn.Config:
        return uvicorn.Config(
            self.gate,
            http=protocol,
            loop="none",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=max(1, int(self.settings.grace)),
            ssl_context_factory=None if tls is None else lambda _config, _default: tls,
        )


def _loaded(live: Live, seconds: float) -> dict[str, Any]:
    return {
        "endpoint": live.endpoint,
        "version": live.version,
        "platform": live.model.traits.platform,
        "seconds": round(seconds, 3),
        "batch_rows": live.batcher.policy.max_rows,
        "coalesce": live.batcher.policy.coalesce,
        "inline": live.executor.kind == "inline",
        "executor": live.executor.kind,
    }
