"""HTTP on Starlette: take a request in under the limits, hand it to the pipeline, put the answer out."""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import Awaitable, Callable
from contextlib import suppress

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from fairlead.contracts.errors import BodyTooLarge, FairleadError, InvalidParameter, MalformedBody
from fairlead.contracts.sink import Sink
from fairlead.contracts.types import Parameters, Reply, Tensors
from fairlead.kit.ids import request_id as fresh_id
from fairlead.serve.edges.edge import Answer, Edge
from fairlead.serve.endpoint import Live
from fairlead.serve.pipeline import Pipeline, timeout_ms

log = logging.getLogger("fairlead.serve")

Handler = Callable[[Request], Awaitable[Response]]

CLIENT_CLOSED_REQUEST = 499


class Inference:
    """Makes the handler of an inference route from an edge. ``max_body``: bytes, after decompression too."""

    def __init__(self, pipeline: Pipeline, sink: Sink, max_body: int) -> None:
        self.pipeline = pipeline
        self.sink = sink
        self.max_body = max_body

    def handler(self, edge: Edge, route: str) -> Handler:
        async def handle(request: Request) -> Response:
            arrived = self.pipeline.clock.now()
            request_id = _request_id(request)
            live: Live | None = None
            try:
                live = self._resolve(request)
                timeout = request.headers.get("x-request-timeout-ms")
                limit = timeout_ms(timeout) if timeout else None
                body = await read_body(request, self.max_body)
                asked = edge.read(body, dict(request.headers.raw), live.signature)
                outcome = await self._run(request, live, asked.inputs, asked.parameters, request_id, arrived, limit)
                if isinstance(outcome, Reply):
                    answer = edge.write(outcome, asked, live.signature)
                    return _respond(answer, request_id, _reply_headers(outcome))
            except ClientDisconnect:
                return Response(status_code=CLIENT_CLOSED_REQUEST)
            except FairleadError as error:
                outcome = error
                if live is None:
                    self.sink.edge_error(route, error.code)
                else:
                    live.meter.failed(error.code, self.pipeline.clock.now() - arrived)
            except Exception:
                log.exception("request failed", extra={"fields": {"route": route, "request_id": request_id}})
                outcome = FairleadError(f"the server failed; its log has the cause under request id {request_id}")
            return _respond(edge.refuse(outcome, request_id), request_id, _error_headers(outcome))

        return handle

    def _resolve(self, request: Request) -> Live:
        params = request.path_params
        name = params.get("endpoint")
        catalog = self.pipeline.catalog
        return catalog.sole() if name is None else catalog.resolve(name, params.get("version"))

    async def _run(
        self,
        request: Request,
        live: Live,
        inputs: Tensors,
        parameters: Parameters,
        request_id: str,
        arrived: float,
        limit: float | None,
    ) -> Reply | FairleadError:
        """Submit and wait; a client that hangs up cancels its call."""
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Reply | FairleadError] = loop.create_future()

        def done(outcome: Reply | FairleadError) -> None:
            if not answered.done():
                answered.set_result(outcome)

        call = self.pipeline.submit(
            live,
            inputs,
            parameters,
            done,
            request_id=request_id,
            arrived=arrived,
            timeout_ms=limit,
        )
        if answered.done():
            return answered.result()
        gone = loop.create_task(_until_gone(request))
        try:
            await asyncio.wait((answered, gone), return_when=asyncio.FIRST_COMPLETED)
            if not answered.done():
                live.cancel(call)
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
    inflate = _inflater(request.headers.get("content-encoding", ""))
    chunks: list[bytes] = []
    size = 0
    async for raw in request.stream():
        try:
            chunk = inflate.decompress(raw, limit - size + 1) if inflate else raw
        except zlib.error as error:
            raise MalformedBody(f"the body is not valid {request.headers['content-encoding']}: {error}") from None
        size += len(chunk)
        if size > limit:
            raise _too_large("more than that" if inflate is None else "more than that once inflated", limit)
        chunks.append(chunk)
    if inflate and not inflate.eof:
        raise MalformedBody(f"the {request.headers['content-encoding']} body ends early")
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


def _request_id(request: Request) -> str:
    given = request.headers.get("x-request-id", "")
    return given if 0 < len(given) <= 128 and given.isascii() and given.isprintable() else fresh_id()


def _reply_headers(reply: Reply) -> list[tuple[bytes, bytes]]:
    timing = reply.timing
    shown = b'queue;dur=%.3f, compute;dur=%.3f, batch;desc="%d rows"' % (
        timing.queue * 1000,
        timing.compute * 1000,
        timing.rows,
    )
    return [(b"server-timing", shown), (b"fairlead-version", reply.version.encode())]


def _error_headers(error: FairleadError) -> list[tuple[bytes, bytes]]:
    if error.retry_after is None:
        return []
    return [(b"retry-after", b"%d" % max(1, round(error.retry_after)))]


def _respond(answer: Answer, request_id: str, more: list[tuple[bytes, bytes]]) -> Response:
    response = Response(answer.body, answer.status)
    response.raw_headers = [
        (b"content-length", b"%d" % len(answer.body)),
        *answer.headers,
        *more,
        (b"x-request-id", request_id.encode()),
    ]
    return response
