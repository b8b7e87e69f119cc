"""Inference over Starlette: read the body under the limits, wait for the answer, notice who hung up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from fairlead.contracts.access import Action
from fairlead.contracts.errors import BodyTooLarge, FairleadError, QueueFull, Unavailable
from fairlead.contracts.events import Accepted
from fairlead.kit.codec import json
from fairlead.kit.threads import Threads
from fairlead.serve.access.credentials import Certificate, mapping, peer_of
from fairlead.serve.edges.edge import Edge, pairs
from fairlead.serve.front import Front, HttpExchange
from fairlead.serve.guarding import sight_of
from fairlead.serve.inflating import inflater
from fairlead.serve.limits.limiter import Limiter, Permit
from fairlead.serve.reading import ABORT
from fairlead.serve.repository import refuse_parameters

Handler = Callable[[Request], Awaitable[Response]]

CLIENT_CLOSED_REQUEST = 499

KEEPERS: Final = 4
"""Requests with labels that are kept at once."""
LABELS_WAIT: Final = 64
"""Those that are kept or wait for it, at most."""
KEEP_SECONDS: Final = 10.0
"""Seconds for labels to be durable."""


def inference(front: Front, edge: Edge, route: str) -> Handler:
    """The handler of an inference route."""

    async def handle(request: Request) -> Response:
        exchange = Waited(front, edge, route, mapping(request.headers.raw), peer_of(request.scope))
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


def labels(keep: Labels | None, limit: int, limiter: Limiter | None = None) -> Handler:
    """The handler of ``POST /v1/feedback``: it answers once the labels are durable. They are no rows of a model."""

    threads = Threads(KEEPERS, "fairlead-labels")  # a store that hangs holds up nothing else
    waiting: set[asyncio.Future[Accepted]] = set()

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

        if len(waiting) >= LABELS_WAIT:
            raise QueueFull("the state store does not take the labels that wait already; try again", retry_after=1)
        permit = Permit() if limiter is None else await limiter.admit(sight.caller, "", 0, len(body))
        try:
            kept = await _in_time(threads.ask(partial(keep, body, check)), waiting)
        finally:
            permit.release()
        response = Response(json.encode(kept), media_type="application/json")
        if permit.allowance is not None:
            response.raw_headers += pairs(permit.allowance.lines())
        return response

    return handle


async def _in_time(keeping: asyncio.Future[Accepted], waiting: set[asyncio.Future[Accepted]]) -> Accepted:
    """What was kept. Raises Unavailable where that is not known in time; it stays among those that wait meanwhile."""
    waiting.add(keeping)
    keeping.add_done_callback(waiting.discard)
    done, _ = await asyncio.wait((keeping,), timeout=KEEP_SECONDS)
    if not done:
        keeping.cancel()
        raise Unavailable(
            f"the state store did not answer in {KEEP_SECONDS:g} seconds; the labels may be kept or not: send them "
            "again, the same ones change nothing",
            retry_after=1,
        )
    return keeping.result()


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

    __slots__ = ("_answered", "_shows")

    def __init__(
        self, front: Front, edge: Edge, route: str, headers: Mapping[bytes, bytes], shows: Certificate | None = None
    ) -> None:
        super().__init__(front, edge, route, headers)
        self._shows = shows
        self._answered: asyncio.Future[Response | None] = asyncio.get_running_loop().create_future()

    def drop(self) -> None:
        if not self._answered.done():
            self._answered.set_result(None)

    def certificate(self) -> Certificate | None:
        return self._shows

    def respond(self, status: int, head: bytes, body: bytes) -> None:
        if not self._answered.done():
            response = Response(body, status)
            response.raw_headers = pairs(head)
            self._answered.set_result(response)

    async def answer(self, request: Request) -> Response:
        """The answer; a client that hangs up meanwhile cancels the call."""
        response = await self._answer(request)
        if response is None:
            request.scope[ABORT]()
            return Response(status_code=CLIENT_CLOSED_REQUEST)  # which nobody gets
        return response

    async def _answer(self, request: Request) -> Response | None:
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
    inflate = inflater(request.headers.get("content-encoding", ""), limit)
    chunks: list[bytes] = []
    size = 0
    async for raw in request.stream():
        size += len(raw)
        if size > limit:
            raise _too_large(f"more than {limit} bytes", limit)
        chunks.append(inflate.feed(raw) if inflate else raw)
    if inflate:
        inflate.end()
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(what: str, limit: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"the body has {what}; the limit is {limit} bytes (serve --max-body-mb): send fewer rows at once"
    )


async def _until_gone(request: Request) -> None:
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            return
