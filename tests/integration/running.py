"""A real server on a real socket, in a thread of this process, with models that the test holds."""

from __future__ import annotations

import asyncio
import functools
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import uvloop

from fairlead.adapters.sinks.prometheus.sink import PrometheusSink
from fairlead.contracts.audit import Auditor
from fairlead.contracts.engine import Engine
from fairlead.contracts.events import Accepted
from fairlead.contracts.runtime import LoadedModel
from fairlead.kit.clock import SystemClock
from fairlead.monitor.feedback import parse_json
from fairlead.serve.access.gate import Gate
from fairlead.serve.app import Application, build
from fairlead.serve.batcher import Policy
from fairlead.serve.catalog import Catalog
from fairlead.serve.chaos.faults import Chaos, Denied
from fairlead.serve.endpoint import Live, Placement
from fairlead.serve.front import Front
from fairlead.serve.grpc.listener import Listener
from fairlead.serve.llm.ask import Enter, last
from fairlead.serve.llm.chats import Chat
from fairlead.serve.openai.api import CHAT
from fairlead.serve.pipeline import Pipeline
from fairlead.serve.protocol import protocol
from fairlead.serve.renewal import Renewal
from fairlead.serve.repository import Control, Locked
from fairlead.serve.server import Companion, Loader, Server
from fairlead.serve.settings import ServerSettings
from fairlead.testing.state import MemoryState


class Running:
    """``port``: where it listens.  ``server``: to stop it.  ``error``: what ``run`` raised."""

    def __init__(self, server: Server, pipeline: Pipeline) -> None:
        self.server = server
        self.pipeline = pipeline
        self.port = 0
        self.grpc: Listener | None = None
        self.error: BaseException | None = None
        self.loop: asyncio.AbstractEventLoop | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def channel(self) -> str:
        """Where gRPC is spoken."""
        assert self.grpc is not None
        return f"127.0.0.1:{self.grpc.port}"

    def stop(self) -> None:
        assert self.loop is not None
        self.loop.call_soon_threadsafe(self.server.stop)

    def send(self, data: bytes, timeout: float = 10.0) -> socket.socket:
        """A connection on which ``data`` has been sent."""
        link = socket.create_connection(("127.0.0.1", self.port), timeout=timeout)
        link.sendall(data)
        return link


class Speaking:
    """Brings a language model to life."""

    def __init__(self, application: Application, name: str, engine: Engine, enter: Enter | None, **more: Any) -> None:
        self._application, self.endpoint, self._engine, self._enter = application, name, engine, enter
        self._more = more

    async def open(self) -> None:
        await self._engine.start()
        enter = self._enter or last(self._engine)
        self._application.chats.put(Chat(self.endpoint, self._engine, enter, **self._more))
        self._application.front.pipeline.catalog.other(self.endpoint, CHAT)

    async def close(self) -> None:
        await self._engine.stop()


def long_way(*parts: Any) -> type[asyncio.Protocol]:
    """The protocol class of a server that takes no request the short way."""
    return type("LongWay", (protocol(*parts),), {"_plain": lambda _self: None})


@contextmanager
def running(
    models: Mapping[str, LoadedModel],
    *,
    policy: Policy | None = None,
    inline: bool = False,
    deadline: float = 30.0,
    max_body: int = 1 << 20,
    grace: float = 5.0,
    short_way: bool = True,
    gate: Gate | None = None,
    control: Control | None = None,
    chaos: Chaos | None = None,
    audit: Auditor | None = None,
    chats: Mapping[str, Engine] | None = None,
    enter: Enter | None = None,
    chat: Mapping[str, Any] | None = None,
    also: Callable[[Application], None] = lambda _application: None,
    beside: Sequence[Companion] = (),
    **limits: Any,
) -> Iterator[Running]:
    """Serve ``models`` until the block ends; the server must then end cleanly.

    ``short_way`` False: every request goes the long way. ``limits``: more of ``ServerSettings``.

    ``gate``: stands before everything.  ``control``: loads and unloads.  ``chaos``: injects faults.
    ``audit``: what is done where there is no gate is told there.
    ``chats``: language models.  ``enter``: their line.  ``chat``: more of each.  ``also``: more of the application.
    ``beside``: more companions.
    """
    clock, catalog, sink = SystemClock(), Catalog(), PrometheusSink()
    pipeline = Pipeline(catalog, clock)

    def loader(name: str, model: LoadedModel) -> Loader:
        def load(loop: asyncio.AbstractEventLoop) -> Live:
            return Live(
                name,
                "1",
                model,
                policy=policy or Policy(),
                placement=Placement(inline),
                meter=sink.endpoint(name, "1"),
                clock=clock,
                loop=loop,
                deadline=deadline,
            )

        return Loader(name, load)

    state = MemoryState()
    application = Application(
        Front(pipeline, sink, max_body, gate, audit), control=control or Locked(), chaos=chaos or Denied()
    )

    def feedback(body: bytes, check: Callable[[str], None]) -> Accepted:
        labels = parse_json(body, now_ms=clock.wall_ms())
        for one in labels:
            check(one.endpoint)
        return state.label(labels)

    application.feedback = feedback
    also(application)
    openers = [Speaking(application, name, one, enter, **(chat or {})) for name, one in (chats or {}).items()]
    ready = threading.Event()
    made_protocol = protocol if short_way else long_way
    loaders = [loader(name, model) for name, model in models.items()]

    async def serve() -> None:
        settings = ServerSettings(port=0, max_body=max_body, grace=grace, **limits)
        certificates = Renewal(settings, sink, clock)
        if settings.grpc_port is not None:
            found.grpc = Listener(
                application.front, settings, lambda: found.server.draining, application.control, certificates
            )
        made = Server(
            settings,
            catalog,
            pipeline,
            build(application),
            loaders,
            clock,
            protocol=functools.partial(made_protocol, application.front),
            on_ready=at,
            companions=[*([found.grpc] if found.grpc else []), *beside, certificates],
            certificates=certificates,
            openers=openers,
        )
        found.server = made
        found.loop = asyncio.get_running_loop()
        application.draining = lambda: made.draining
        await made.run()

    def at(port: int) -> None:
        found.port = port
        ready.set()

    def main() -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(serve())
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            found.error = error
        finally:
            ready.set()

    found = Running(None, pipeline)  # type: ignore[arg-type]
    thread = threading.Thread(target=main, name="server")
    thread.start()
    try:
        assert ready.wait(10), "the server did not become ready"
        if found.error:
            raise found.error
        yield found
    finally:
        if thread.is_alive():
            found.stop()
        thread.join(15)
        assert not thread.is_alive(), "the server did not stop"
        assert found.error is None, found.error
