"""The console's pages on the server's port: passed on to a process of its own, over a Unix socket, as they come.

Nothing of the console runs in the server: what it shows stands on heavy libraries. Requests are bounded, answers are
streamed, and where the console is not there the answer is a page that says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from html import escape
from typing import Final, Protocol

import httptools
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from fairlead.contracts.errors import BodyTooLarge, FairleadError, MalformedBody, MissingExtra, Unavailable
from fairlead.serve.http import CLIENT_CLOSED_REQUEST, read_body

ROUTES: Final = ("/console", "/console/{path:path}", "/console.json")
MAX_BODY: Final = 2 * 2**20 + 64 * 1024
"""Bytes of a form, with room for its other fields."""
MAX_HEAD: Final = 64 * 1024
AT_ONCE: Final = 128
"""Requests that are passed on at the same time, streams among them."""
ANSWERED_SECONDS: Final = 30.0
"""Until the head of an answer."""
_PIECE: Final = 64 * 1024
_OWN: Final = (b"connection", b"keep-alive", b"transfer-encoding", b"upgrade", b"te", b"trailer", b"content-length")
_SAID: Final = (b"x-forwarded-for", b"x-forwarded-proto", b"forwarded", b"expect", b"content-encoding")
_POLICY: Final = "default-src 'none'; style-src 'none'; frame-ancestors 'none'"


class Consoles(Protocol):
    """Where the console's process is."""

    async def reached(self, scheme: str, host: str, port: int) -> str:
        """The path of its socket; it is started when it does not run. ``scheme``, ``host``, ``port``: of this server.

        Raises MissingExtra where its libraries are not here, and Unavailable while it does not answer.
        """


class _Head:
    """What ``httptools`` tells of an answer."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.body: list[bytes] = []
        self.known = self.over = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.known = True

    def on_body(self, body: bytes) -> None:
        self.body.append(body)

    def on_message_complete(self) -> None:
        self.over = True


class Passing:
    """Handlers of ``ROUTES``."""

    def __init__(self, consoles: Consoles) -> None:
        self._consoles = consoles
        self._open = 0

    async def handle(self, request: Request) -> Response:
        if self._open >= AT_ONCE:
            return _page(Unavailable(f"{AT_ONCE} pages of the console are asked for at once; try again"), 503)
        self._open += 1
        try:
            return await self._passed(request)
        except BaseException as error:  # nothing is passed on, whoever gave up
            self._open -= 1
            response = _refused(error)
            if response is None:
                raise
            return response

    async def _passed(self, request: Request) -> Response:
        body = await read_body(request, MAX_BODY)
        host, port = request.scope.get("server") or ("127.0.0.1", 0)
        path = await self._consoles.reached(request.url.scheme, host, port or 0)
        reader, writer = await asyncio.open_unix_connection(path)
        try:
            writer.write(_asked(request, body))
            await writer.drain()
            head = _Head()
            parser = httptools.HttpResponseParser(head)
            async with asyncio.timeout(ANSWERED_SECONDS):
                read = 0
                while not head.known:
                    piece = await reader.read(_PIECE)
                    read += len(piece)
                    if not piece or read > MAX_HEAD + _PIECE:
                        raise Unavailable("the console ended while it answered; it is started again")  # noqa: TRY301
                    parser.feed_data(piece)
        except BaseException:
            writer.close()
            raise
        response = _Streamed(self._pieces(reader, parser, head), parser.get_status_code(), lambda: self._over(writer))
        response.raw_headers = [pair for pair in head.headers if pair[0] not in _OWN]
        response.raw_headers += [pair for pair in head.headers if pair[0] == b"content-length"]
        return response

    async def _pieces(
        self, reader: asyncio.StreamReader, parser: httptools.HttpResponseParser, head: _Head
    ) -> AsyncIterator[bytes]:
        while True:
            while head.body:
                yield head.body.pop(0)
            piece = b"" if head.over else await reader.read(_PIECE)
            if not piece:
                return
            parser.feed_data(piece)

    def _over(self, writer: asyncio.StreamWriter) -> None:
        self._open -= 1
        writer.close()


class _Streamed(StreamingResponse):
    """An answer that tells when it is over, however it ends."""

    def __init__(self, pieces: AsyncIterator[bytes], status: int, over: Callable[[], None]) -> None:
        super().__init__(pieces, status)
        self._ends = over

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._ends()


def _refused(error: BaseException) -> Response | None:
    """What the visitor gets; None for what is no answer: a cancelled request, a fault of ours."""
    match error:
        case ClientDisconnect():
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        case MissingExtra():
            return _page(error, 501)
        case BodyTooLarge():
            return _page(error, 413)
        case MalformedBody():
            return _page(error, 400)
        case FairleadError():
            return _page(error, 503)
        case OSError() | TimeoutError() | httptools.HttpParserError():
            return _page(Unavailable("the console does not answer just now"), 503)
    return None


def _asked(request: Request, body: bytes) -> bytes:
    """The request as the console gets it: who asked, by which scheme, is said by us alone."""
    scope = request.scope
    target: bytes = scope.get("raw_path") or scope["path"].encode()
    if scope["query_string"]:
        target += b"?" + scope["query_string"]
    lines = [request.method.encode() + b" " + target + b" HTTP/1.1"]
    lines += [name + b": " + value for name, value in request.headers.raw if name not in (*_OWN, *_SAID)]
    client = request.client.host if request.client else ""
    lines += [b"x-forwarded-proto: " + request.url.scheme.encode(), b"connection: close"]
    lines += [b"x-forwarded-for: " + client.encode()] if client else []
    lines += [b"content-length: %d" % len(body)] if body or request.method == "POST" else []
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def _page(error: FairleadError, status: int) -> Response:
    """An error where the console itself cannot say it; it asks again by itself where that helps."""
    again = '<meta http-equiv="refresh" content="2">' if status == 503 else ""
    text = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{again}'
        '<meta name="color-scheme" content="light dark">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>Fairlead console</title></head>'
        f"<body><h1>The console is not here{' just now' if status == 503 else ''}</h1><p>{escape(str(error))}</p>"
        f"<p><small>{status}, {error.code}. The server itself goes on: "
        '<a href="/docs">its documentation</a>.</small></p>'
        "</body></html>"
    )
    headers = {"cache-control": "no-store", "content-security-policy": _POLICY}
    if status == 503:
        headers["retry-after"] = "2"
    return Response(text, status, headers, media_type="text/html")
