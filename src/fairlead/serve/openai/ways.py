"""The two ways of a request for text: from the parser's callbacks straight to the transport, or over ASGI."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from starlette.requests import ClientDisconnect, Request
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from fairlead.contracts.errors import FairleadError
from fairlead.serve.access.credentials import Certificate, mapping, peer_of
from fairlead.serve.cycle import Begin, Cycle, Link
from fairlead.serve.edges.edge import pairs
from fairlead.serve.http import read_body
from fairlead.serve.openai.desk import Desk, Way
from fairlead.serve.openai.refusals import WrongMethod
from fairlead.serve.openai.talk import Talk

Message = dict[str, Any]
Send = Callable[[Message], Any]

_CHUNKED = b"transfer-encoding: chunked\r\n"
_CLOSE = b"connection: close\r\n\r\n"


class Direct(Talk, Cycle):
    """The short way. A stream is chunked; what a caller does not take at once waits in the transport, and one who takes
    nothing for too long is hung up on, as everywhere (``Connection.look``).
    """

    __slots__ = ("body", "disconnected", "keep_alive", "link", "response_complete")

    def __init__(self, desk: Desk, way: Way, link: Link, headers: Mapping[bytes, bytes]) -> None:
        super().__init__(desk, way, headers)
        self.prepare(link)

    def certificate(self) -> Certificate | None:
        return self.shown()

    def put(self, status: int, head: bytes, body: bytes) -> None:
        self.response_complete = True
        if self.deaf:
            return
        link = self.link
        closing = not self.keep_alive or link.draining()
        length = b"content-length: %d\r\n" % len(body)
        end = _CLOSE if closing else b"\r\n"
        link.transport.write(b"".join((STATUS_LINE[status], link.always(), head, length, end, body)))
        self._end(closing)

    def stream(self, head: bytes, data: bytes, last: bool) -> None:
        if last:
            self.response_complete = True
        if self.deaf:
            return
        link, parts = self.link, []
        closing = not self.keep_alive or link.draining()
        if head:
            parts = [STATUS_LINE[200], link.always(), head, _CHUNKED, _CLOSE if closing else b"\r\n"]
        parts += (b"%x\r\n" % len(data), data, b"\r\n0\r\n\r\n" if last else b"\r\n")
        link.transport.write(b"".join(parts))
        if last:
            self._end(closing)

    def _end(self, closing: bool) -> None:
        if closing:
            self.link.transport.close()
        self.link.on_response_complete()


def direct(desk: Desk, way: Way) -> Begin:
    """Begins the short way of a route; who is not known goes the long one, which tells them."""

    def begin(link: Link, headers: Mapping[bytes, bytes]) -> Direct | None:
        talk, gate = Direct(desk, way, link, headers), desk.front.gate
        if gate is not None:
            talk.tells = False
            try:
                talk.caller = gate.caller(talk)
            except FairleadError:
                return None
            talk.tells = True
        return talk

    return begin


class Long:
    """ASGI application of a route: the long way, which takes every form of a request."""

    def __init__(self, desk: Desk, way: Way) -> None:
        self._desk, self._way = desk, way

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        request = Request(scope, receive)
        talk = Relayed(self._desk, self._way, request)
        try:
            self._admit(talk, request)
            body = await read_body(request, self._desk.front.max_body)
        except ClientDisconnect:
            talk.cancel()
            return
        except Exception as error:  # noqa: BLE001 - told to the caller and, when it is not ours, to the log
            talk.refuse(error)
        else:
            talk.submit(body)
        await talk.relay(receive, send)

    def _admit(self, talk: Talk, request: Request) -> None:
        """Before the body is read. Raises Unauthenticated, Unavailable or WrongMethod."""
        gate = self._desk.front.gate
        if gate is not None:
            gate.visit(talk)
        if request.method != "POST":
            raise WrongMethod(f"{request.url.path} does not take {request.method}; it takes POST", "POST")


class Relayed(Talk):
    """The long way: what is told waits until it is sent."""

    __slots__ = ("_ended", "_messages", "_shows", "_woken")

    def __init__(self, desk: Desk, way: Way, request: Request) -> None:
        super().__init__(desk, way, mapping(request.headers.raw))
        self._shows = peer_of(request.scope)
        self._messages: list[Message] = []
        self._woken: asyncio.Future[None] | None = None
        self._ended = False

    def certificate(self) -> Certificate | None:
        return self._shows

    def put(self, status: int, head: bytes, body: bytes) -> None:
        self._start(status, head + b"content-length: %d\r\n" % len(body))
        self._more(body, True)

    def stream(self, head: bytes, data: bytes, last: bool) -> None:
        if head:
            self._start(200, head)
        self._more(data, last)

    def _start(self, status: int, head: bytes) -> None:
        self._messages.append({"type": "http.response.start", "status": status, "headers": pairs(head)})

    def _more(self, data: bytes, last: bool) -> None:
        self._messages.append({"type": "http.response.body", "body": data, "more_body": not last})
        self._ended = self._ended or last
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    async def relay(self, receive: Any, send: Send) -> None:
        """Send it until it is over; who hangs up cancels it."""
        gone: asyncio.Task[None] | None = None
        try:
            while True:
                messages, self._messages = self._messages, []
                for message in messages:
                    await send(message)
                if self._messages:
                    continue
                if self._ended:
                    return
                gone = gone or asyncio.get_running_loop().create_task(_until_gone(receive))
                self._woken = asyncio.get_running_loop().create_future()
                await asyncio.wait((self._woken, gone), return_when=asyncio.FIRST_COMPLETED)
                if gone.done():
                    return
        finally:
            self.cancel()
            if gone is not None:
                gone.cancel()
                with suppress(asyncio.CancelledError):
                    await gone


async def _until_gone(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
