"""Inference over Starlette: read the body under the limits, wait for the answer, notice who hung up."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from fairlead.contracts.access import Action
from fairlead.contracts.errors import BodyTooLarge, FairleadError, InvalidParameter, MalformedBody, Unavailable
from fairlead.contracts.events import Accepted
from fairlead.kit.codec import json
from fairlead.serve.access.credentials import mapping
from fairlead.serve.edges.edge import Edge
from fairlead.serve.front import Front, HttpExchange
from fairlead.serve.guarding import sight_of
from fairlead.serve.repository import refuse_parameters

Handler = Callable[[Request], Awaitable[Response]]

CLIENT_CLOSED_REQUEST = 499


def inference(front: Front, edge: Edge, route: str) -> Handler:
    """The handler of an inference route."""

    async def handle(request: Request) -> Response:
        exchange = Waited(front, edge, route, mapping(request.headers.raw))
        try:
            exchange.resolve(request.path_params.get("endpoint"), request.path_params.get("version"))
            body = await read_body(request, front.max_body)
        except ClientDisconnect:
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        except FairleadError as error:
            exchange.refuse(error)
        else:
            exchange.submit(body)
        return await exchange.answer(request)

    return handle


Labels = Callable[[bytes, Callable[[str], None]], Accepted]
"""Keeps the labels of a body. The second argument raises for an endpoint whose labels the caller may not give."""


def labels(keep: Labels | None, limit: int) -> Handler:
    """The handler of ``POST /v1/feedback``: it answers once the labels are durable."""

    async def handle(request: Request) -> Response:
        if keep is None:
            raise Unavailable("labels are not kept here: install 'fairlead[registry]', and serve with --record")
        body, sight = await read_body(request, limit), sight_of(request)
        loop = asyncio.get_running_loop()

        def check(endpoint: str) -> None:  # in the thread that keeps them
            error = sight.refusal(Action.FEEDBACK, endpoint)
            if error is not None:
                loop.call_soon_threadsafe(sight.refused, error, Action.FEEDBACK, endpoint)
                raise error

        kept = await loop.run_in_executor(None, keep, body, check)
        return Response(json.encode(kept), media_type="application/json")

    return handle


class _Asked(msgspec.Struct):
    parameters: dict[str, Any] | None = None


_ASKED: Final = msgspec.json.Decoder(_Asked)


def loading(do: Callable[[str], Awaitable[None]], limit: int) -> Handler:
    """The handler of Triton's load or unload: an empty answer when it is done."""

    async def handle(request: Request) -> Response:
        body = await read_body(request, limit)
        asked = json.decode(_ASKED, body) if body else _Asked()
        refuse_parameters(asked.parameters or {})
        await do(request.path_params["endpoint"])
        return Response(b"{}", media_type="application/json")

    return handle


class Waited(HttpExchange):
    """An exchange whose answer a coroutine waits for."""

    __slots__ = ("_answered",)

    def __init__(self, front: Front, edge: Edge, route: str, headers: Mapping[bytes, bytes]) -> None:
        super().__init__(front, edge, route, headers)
        self._answered: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

    def respond(self, status: int, head: bytes, body: bytes) -> None:
        if not self._answered.done():
            response = Response(body, status)
            names_and_values = (line.partition(b": ") for line in head.splitlines())
            response.raw_headers = [(name, value) for name, _, value in names_and_values]
            self._answered.set_result(response)

    async def answer(self, request: Request) -> Response:
        """The answer; a client that hangs up meanwhile cancels the call."""
        if self._answered.done():
            return self._answered.result()
        gone = asyncio.get_running_loop().create_task(_until_gone(request))
        try:
            await asyncio.wait((self._answered, gone), return_when=asyncio.FIRST_COMPLETED)
            if not self._answered.done():
                self.cancel()
            return await self._answered
        finally:
            gone.cancel()
            with suppress(asyncio.CancelledError):
                await gone


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body, inflated when it came compressed. Raises BodyTooLarge before it reads more than ``limit``."""
    declared = request.headers.get("content-length", "").strip().lstrip("0")  # the parser has seen to the rest
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(f"{declared} bytes", limit)
    encoding = request.headers.get("content-encoding", "")
    inflate = _inflater(encoding)
    chunks: list[bytes] = []
    size = 0
    async for raw in request.stream():
        try:
            chunk = inflate.decompress(raw, limit - size + 1) if inflate else raw
        except zlib.error as error:
            raise MalformedBody(f"the body is not valid {encoding}: {error}") from None
        size += len(chunk)
        if size > limit:
            raise _too_large(
                f"more than {limit} bytes" if inflate is None else f"more than {limit} bytes once inflated", limit
            )
        chunks.append(chunk)
    if inflate and not inflate.eof:
        raise MalformedBody(f"the {encoding} body ends early")
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _inflater(encoding: str) -> zlib._Decompress | None:
    match encoding.strip().lower():
        case "" | "identity":
            return None
        case "gzip":
            return zlib.decompressobj(wbits=31)
        case "deflate":
            return zlib.decompressobj()
        case other:
            raise InvalidParameter(f"content-encoding {other!r} is not supported; send identity, gzip or deflate")


def _too_large(what: str, limit: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"the body has {what}; the limit is {limit} bytes (serve --max-body-mb): send fewer rows at once"
    )


async def _until_gone(request: Request) -> None:
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            return
