"""Inference over Starlette: read the body under the limits, wait for the answer, notice who hung up."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable
from contextlib import suppress

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from fairlead.contracts.errors import BodyTooLarge, FairleadError, InvalidParameter, MalformedBody
from fairlead.serve.edges.edge import Answer, Edge
from fairlead.serve.front import Exchange, Front

Handler = Callable[[Request], Awaitable[Response]]

CLIENT_CLOSED_REQUEST = 499


def inference(front: Front, edge: Edge, route: str) -> Handler:
    """The handler of an inference route."""

    async def handle(request: Request) -> Response:
        exchange = Exchange(front, edge, route, dict(request.headers.raw))
        try:
            exchange.resolve(request.path_params.get("endpoint"), request.path_params.get("version"))
            body = await read_body(request, front.max_body)
        except ClientDisconnect:
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        except FairleadError as error:
            return _response(exchange.refuse(error))
        return _response(await _answer(exchange, body, request))

    return handle


async def _answer(exchange: Exchange, body: bytes, request: Request) -> Answer:
    """Submit and wait; a client that hangs up cancels its call."""
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[Answer] = loop.create_future()

    def respond(answer: Answer) -> None:
        if not answered.done():
            answered.set_result(answer)

    exchange.submit(body, respond)
    if answered.done():
        return answered.result()
    gone = loop.create_task(_until_gone(request))
    try:
        await asyncio.wait((answered, gone), return_when=asyncio.FIRST_COMPLETED)
        if not answered.done():
            exchange.cancel()
        return await answered
    finally:
        gone.cancel()
        with suppress(asyncio.CancelledError):
            await gone


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body, inflated when it came compressed. Raises BodyTooLarge before it reads more than ``limit``."""
    declared = request.headers.get("content-length", "")
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
            raise _too_large("more than that" if inflate is None else "more than that once inflated", limit)
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


def _response(answer: Answer) -> Response:
    response = Response(answer.body, answer.status)
    response.raw_headers = answer.headers
    return response
