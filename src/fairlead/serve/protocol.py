"""The short way: an inference request answered from the HTTP parser's callbacks, without an ASGI scope or a task.

Given to uvicorn through its public ``http=`` setting. It takes a request only when the connection is idle and the
request has the plain shape: a known inference route or one of ``Front.direct``, POST, HTTP/1.1, keep-alive, a
content-length under the limit, no body encoding, no expectation. Every other request goes the long way, through
Starlette, on the same connection: pipelined, chunked, compressed and closing requests are therefore handled in one
place, and in order. Both ways make their answers with the same ``Exchange``, or the same ``Talk``.

A head that was parsed before is not parsed again: clients on a kept connection send the same bytes up to the body, and
the parser has already said what they mean. It is asked again for anything else, and it only ever sees whole messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from fairlead.contracts.errors import FairleadError
from fairlead.serve.access.credentials import EXTENSION, Certificate, peer, single
from fairlead.serve.callers import Callers, room
from fairlead.serve.connection import Connection
from fairlead.serve.cycle import Begin, Cycle
from fairlead.serve.front import Front, HttpExchange
from fairlead.serve.reading import PIECE
from fairlead.serve.routes import Target, match
from fairlead.serve.settings import ServerSettings

_LONG_WAY: Final = frozenset({b"expect", b"transfer-encoding", b"content-encoding", b"upgrade", b"connection"})
"""Headers that send a request the long way."""

_EACH_ITS_OWN: Final = frozenset({b"x-request-id", b"traceparent"})
"""Headers that make a head not worth remembering."""

TARGETS_KEPT: Final = 1024
"""Paths whose target is remembered; more are matched each time."""

HEADS_KEPT: Final = 512
HEAD_KEPT: Final = 2048
"""Heads that are remembered, and the most bytes of one head or path; when there are more, all are forgotten."""

DIGITS: Final = 20
"""Most digits of a content-length that may go the short way; what has more has leading zeros."""

_BLANK: Final = b"\r\n\r\n"


class Plain(NamedTuple):
    """What a head says that may go the short way. ``length``: bytes of the body."""

    target: Target | Begin
    headers: dict[bytes, bytes]
    length: int


class Fast(HttpExchange, Cycle):
    """An exchange that stands where uvicorn has its cycle."""

    tells = False  # what is refused here goes the long way, which tells it

    __slots__ = ("body", "disconnected", "keep_alive", "link", "response_complete")

    def __init__(self, link: InferenceProtocol, target: Target, headers: dict[bytes, bytes]) -> None:
        super().__init__(link.front, target.route.edge, target.route.pattern, headers)
        self.prepare(link)

    def certificate(self) -> Certificate | None:
        return self.shown()

    def drop(self) -> None:
        self.response_complete = True
        self.link.transport.abort()

    def respond(self, status: int, head: bytes, body: bytes) -> None:
        """Write the one answer; a caller who is gone gets none."""
        self.response_complete = True
        link = self.link
        transport = link.transport
        if self.disconnected or transport.is_closing():
            return
        closing = not self.keep_alive or link.draining()
        end = b"connection: close\r\n\r\n" if closing else b"\r\n"
        transport.write(b"".join((STATUS_LINE[status], link.always(), head, end, body)))
        if closing:
            transport.close()
        link.on_response_complete()


class InferenceProtocol(Connection):
    """See ``protocol``, which makes the class for a server."""

    front: Front
    draining: Callable[[], bool]
    targets: dict[bytes, Target | Begin]
    heads: dict[bytes, Plain]
    always_of: list[Any]

    _wanted: int = 0
    """Bytes still to come of the body whose head the parser was not asked about."""
    _raw_head: bytes = b""
    """The bytes of the head that the parser is given next, where they came whole."""

    def data_received(self, data: bytes) -> None:
        while data:
            if self._wanted:
                data = self._more(data)
            elif self._in_head or self._in_body or self._refusal is not None or data[:5] != b"POST ":
                super().data_received(data)
                return
            else:
                end = data.find(_BLANK) + 4
                head = data[:end] if end > 3 else b""
                known = self.heads.get(head)
                if self._answering():
                    super().data_received(data)
                    return
                if known is None or self.flow.write_paused or not self._start(known):
                    self._raw_head = head
                    super().data_received(data)
                    return
                whole = end + known.length
                if len(data) < whole:
                    self._wanted, self._got, self._began = known.length, 0, self.loop.time()
                    data = self._more(data[end:])
                else:
                    self._submit(data[end:whole])
                    data = data[whole:]
                    if data and self.transport.is_closing():
                        return

    def always(self) -> bytes:
        """The lines of the headers that uvicorn adds to every answer; it makes a new list when they change."""
        headers = self.server_state.default_headers
        if headers is not self.always_of[0]:
            self.always_of[:] = headers, b"".join(b"%b: %b\r\n" % pair for pair in headers)
        lines: bytes = self.always_of[1]
        return lines

    def _more(self, data: bytes) -> bytes:
        """Take what belongs to the body that is being read; the rest is given back."""
        self._seen = self.loop.time()
        piece = data[: self._wanted]
        self._in_body = True
        self._wanted -= len(piece)
        self._got += len(piece)
        self.cycle.gather(piece)
        if not self._wanted:
            self._submit(self.cycle.take())
        return data[len(piece) :]

    def _take(self) -> None:
        head, self._raw_head = self._raw_head, b""
        if not self.pipeline and not self._answering():
            plain = self._plain()
            if plain is not None and self._start(plain):
                self._remember(head, plain)
                return
        super()._take()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        if self.front.gate is not None and (shows := peer(self.transport)) is not None:
            cycle.scope.setdefault("extensions", {})[EXTENSION] = shows
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        if isinstance(self.cycle, Cycle):
            self._barren = -self._piece
            self._got += len(body)
            self.cycle.gather(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if isinstance(self.cycle, Cycle) and self._in_body:
            self._submit(self.cycle.take())
        else:
            super().on_message_complete()

    def _start(self, plain: Plain) -> bool:
        """Begin the exchange of a request that goes the short way; False when it must go the long one."""
        target = plain.target
        exchange: Cycle | None
        if isinstance(target, Target):
            exchange = fast = Fast(self, target, plain.headers)
            try:
                fast.resolve(target.endpoint, target.version)
            except FairleadError:
                return False  # the long way finds the same, and tells it
        else:
            exchange = target(self, plain.headers)
            if exchange is None:
                return False
        self.cycle = self.running = exchange
        return True

    def _submit(self, body: bytes) -> None:
        self._in_body = False
        self.cycle.submit(body)

    def _remember(self, head: bytes, plain: Plain) -> None:
        if not head or len(head) > HEAD_KEPT or not _EACH_ITS_OWN.isdisjoint(plain.headers):
            return
        if head.count(b"\n") != head.count(b"\r\n"):
            return  # where lines end otherwise, the parser may see the head end elsewhere
        if len(self.heads) >= HEADS_KEPT:
            self.heads.clear()
        self.heads[head] = plain

    def _target(self) -> Target | None:
        target = match(self.url)
        if target is not None and len(self.targets) < TARGETS_KEPT and len(self.url) <= HEAD_KEPT:
            self.targets[self.url] = target
        return target

    def _plain(self) -> Plain | None:
        """What the head says if the request may go the short way, else None."""
        target = self.targets.get(self.url) or self._target()
        if target is None or self.flow.write_paused:
            return None
        parser = self.parser
        if parser.get_method() != b"POST" or parser.get_http_version() != "1.1":
            return None
        headers = dict(self.headers)
        if self.front.gate is not None and len(headers) != len(self.headers) and not single(self.headers):
            return None
        if not _LONG_WAY.isdisjoint(headers):
            # The parser has seen every connection header, the mapping only the last.
            only_keep_alive = headers.get(b"connection", b"").lower() == b"keep-alive" and parser.should_keep_alive()
            if not only_keep_alive or len(_LONG_WAY.intersection(headers)) > 1:
                return None
        length = headers.get(b"content-length", b"")
        if not length.isdigit() or len(length) > DIGITS or int(length) > self.front.max_body:
            return None
        return Plain(target, headers, int(length))


def protocol(front: Front, settings: ServerSettings, draining: Callable[[], bool]) -> type[asyncio.Protocol]:
    """The protocol class of one server."""
    parts: dict[str, Any] = {
        "front": front,
        "settings": settings,
        "piece": min(PIECE, settings.max_head),
        "sink": front.sink,
        "callers": None
        if settings.workers > 1
        else Callers(room(settings.max_connections), settings.max_connections_per_address),
        "draining": staticmethod(draining),
        "targets": dict(front.direct),
        "heads": {},
        "always_of": [None, b""],
    }
    return type("ServerProtocol", (InferenceProtocol,), parts)
