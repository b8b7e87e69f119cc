"""The short way: an inference request answered from the HTTP parser's callbacks, without an ASGI scope or a task.

Given to uvicorn through its public ``http=`` setting. It takes a request only when the connection is idle and the
request has the plain shape: a known inference route, POST, HTTP/1.1, keep-alive, a content-length under the limit, no
body encoding, no expectation. Every other request goes the long way, through Starlette, on the same connection:
pipelined, chunked, compressed and closing requests are therefore handled in one place, and in order. Both ways make
their answers with the same ``Exchange``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from fairlead.contracts.errors import FairleadError
from fairlead.serve.connection import Connection
from fairlead.serve.edges.edge import Answer
from fairlead.serve.front import Exchange, Front
from fairlead.serve.routes import Target, match
from fairlead.serve.settings import ServerSettings

_LONG_WAY: Final = frozenset({b"expect", b"transfer-encoding", b"content-encoding", b"upgrade", b"connection"})
"""Headers that send a request the long way."""

TARGETS_KEPT: Final = 1024
"""Paths whose target is remembered; more are matched each time."""


class Fast:
    """Stands where uvicorn has its cycle of one request and one response; it reads these attributes of it.

    ``disconnected``: the answer, if one comes, is not written.
    """

    __slots__ = ("_link", "body", "disconnected", "exchange", "keep_alive", "response_complete")

    def __init__(self, link: InferenceProtocol, exchange: Exchange) -> None:
        self._link = link
        self.exchange = exchange
        self.body: bytes | bytearray = b""
        self.keep_alive = True
        self.response_complete = False
        self.disconnected = False

    @property
    def message_event(self) -> Fast:
        return self

    def set(self) -> None:
        """What uvicorn calls to wake a task whose connection was lost."""
        if self.disconnected and not self.response_complete:
            self.exchange.cancel()

    def __call__(self, answer: Answer) -> None:
        """Write the one answer; a caller who is gone gets none."""
        self.response_complete = True
        link = self._link
        if self.disconnected or link.transport.is_closing():
            return
        closing = not self.keep_alive or link.draining()
        lines = [STATUS_LINE[answer.status]]
        for name, value in (*link.server_state.default_headers, *answer.headers):
            lines += (name, b": ", value, b"\r\n")
        lines += (b"connection: close\r\n\r\n" if closing else b"\r\n", answer.body)
        link.transport.write(b"".join(lines))
        if closing:
            link.transport.close()
        link.on_response_complete()


class InferenceProtocol(Connection):
    """See ``protocol``, which makes the class for a server."""

    front: Front
    draining: Callable[[], bool]
    touched: Callable[[], None]
    targets: dict[bytes, Target]

    def _take(self) -> None:
        if not self.pipeline and not self._answering():
            exchange = self._exchange()
            if exchange is not None:
                self.touched()
                self.cycle = self.running = Fast(self, exchange)
                return
        super()._take()

    def on_body(self, body: bytes) -> None:
        cycle = self.cycle
        if type(cycle) is not Fast:
            super().on_body(body)
        elif not cycle.body:
            cycle.body = body
        else:
            if type(cycle.body) is bytes:
                cycle.body = bytearray(cycle.body)
            cycle.body += body

    def on_message_complete(self) -> None:
        cycle = self.cycle
        if type(cycle) is not Fast:
            super().on_message_complete()
            return
        self._in_body = False
        body, cycle.body = cycle.body, b""
        cycle.exchange.submit(bytes(body), cycle)

    def _exchange(self) -> Exchange | None:
        """The exchange of a request that may go the short way, else None."""
        target = self.targets.get(self.url) or self._target()
        headers = self._plain_headers() if target else None
        if target is None or headers is None:
            return None
        exchange = Exchange(self.front, target.route.edge, target.route.pattern, headers)
        try:
            exchange.resolve(target.endpoint, target.version)
        except FairleadError:
            return None  # the long way finds the same, and tells it
        return exchange

    def _target(self) -> Target | None:
        target = match(self.url)
        if target is not None and len(self.targets) < TARGETS_KEPT:
            self.targets[self.url] = target
        return target

    def _plain_headers(self) -> dict[bytes, bytes] | None:
        """The headers of a request that may go the short way, else None."""
        if self.parser.get_method() != b"POST" or self.parser.get_http_version() != "1.1" or self.flow.write_paused:
            return None
        headers = dict(self.headers)
        if not _LONG_WAY.isdisjoint(headers):
            only_keep_alive = headers.get(b"connection", b"").lower() == b"keep-alive"
            if not only_keep_alive or len(_LONG_WAY.intersection(headers)) > 1:
                return None
        length = headers.get(b"content-length", b"")
        if not length.isdigit() or int(length) > self.front.max_body:
            return None
        return headers


def protocol(
    front: Front, settings: ServerSettings, draining: Callable[[], bool], touched: Callable[[], None]
) -> type[asyncio.Protocol]:
    """The protocol class of one server. ``touched`` is told of every request that goes the short way."""
    parts: dict[str, Any] = {
        "front": front,
        "settings": settings,
        "sink": front.sink,
        "draining": staticmethod(draining),
        "touched": staticmethod(touched),
        "targets": {},
    }
    return type("ServerProtocol", (InferenceProtocol,), parts)
