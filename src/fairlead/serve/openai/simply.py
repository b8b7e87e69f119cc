"""Routes of this API that answer once and run no engine: who comes, what they may, and errors in its shape."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from fairlead.contracts.access import Caller
from fairlead.contracts.errors import Cancelled, DeadlineExceeded, FairleadError, NotFound
from fairlead.serve.access.asking import Visit
from fairlead.serve.access.credentials import mapping, peer_of
from fairlead.serve.access.gate import Gate, Pass
from fairlead.serve.front import Front, request_id
from fairlead.serve.http import CLIENT_CLOSED_REQUEST
from fairlead.serve.openai import refusals
from fairlead.serve.pipeline import timeout_ms

log = logging.getLogger("fairlead.serve")

T = TypeVar("T")
M = TypeVar("M")


class Guest:
    """One request, and who sends it. ``visit``: as the gate sees it."""

    def __init__(self, front: Front, request: Request, route: str) -> None:
        headers = mapping(request.headers.raw)
        self.front, self.request = front, request
        identity = request_id(headers.get(b"x-request-id"))
        self.visit = Visit(headers, route, front.pipeline.clock.now(), identity, peer_of(request.scope))
        self.caller: Caller | None = None

    def come(self) -> None:
        """Raises Unauthenticated, Forbidden or Unavailable."""
        gate = self.front.gate
        if gate is not None:
            self.caller = gate.visit(self.visit).caller

    def model(self, name: str, known: Mapping[str, M], what: str) -> M:
        """What answers for this model, where the caller may ask it. ``what``: it does.

        Raises Forbidden, NotFound or Unavailable.
        """
        gate, allowed = self.front.gate, None
        if gate is not None:
            try:
                allowed = self.admit(gate, name)
            except NotFound:
                raise refusals.no_model(name) from None
        found = known.get(name)
        if found is None:
            catalog = self.front.pipeline.catalog
            if name in catalog.loading:
                catalog.resolve(name)  # says so
            if catalog.versions(name) or name in catalog.others:
                raise refusals.no_model(name, f"does not {what}.")
            raise refusals.no_model(name)
        if gate is not None and allowed is not None:
            gate.let_in(allowed, name)
        return found

    def admit(self, gate: Gate, name: str) -> Pass:
        return gate.admit(self.visit, name)

    async def wait(self, work: Awaitable[T], seconds: float) -> T:
        """The outcome; a caller who hangs up, or whose time is over, cancels it. A server that drains waits for it."""
        given = self.visit.headers.get(b"x-request-timeout-ms")
        if given is not None:
            seconds = min(seconds, timeout_ms(given.decode("latin-1")) / 1000)
        task = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(_until_gone(self.request))
        self.front.pipeline.in_flight += 1
        try:
            await asyncio.wait((task, gone), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            if gone.done():
                raise Cancelled("the caller closed the connection before the answer was ready")
            raise DeadlineExceeded("the time of this request is over before its answer was ready")
        finally:
            self.front.pipeline.in_flight -= 1
            for one in (task, gone):
                one.cancel()
                with suppress(BaseException):
                    await one


Handler = Callable[[Guest], Awaitable[Response]]


class Simply:
    """ASGI application of a route. ``handlers``: by method.  ``prompt``: what a prompt is called there."""

    def __init__(self, front: Front, route: str, handlers: Mapping[str, Handler], prompt: str = "input") -> None:
        self._front, self._route, self._handlers, self._prompt = front, route, handlers, prompt

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        guest = Guest(self._front, Request(scope, receive), self._route)
        response = await self._answer(guest)
        response.headers["x-request-id"] = guest.visit.request_id
        await response(scope, receive, send)

    async def _answer(self, guest: Guest) -> Response:
        try:
            guest.come()
            return await self._handlers.get(guest.request.method, self._wrong)(guest)
        except ClientDisconnect:
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        except Exception as error:  # noqa: BLE001 - told to the caller and, when it is not ours, to the log
            return self._refused(error, guest.visit.request_id)

    async def _wrong(self, guest: Guest) -> Response:
        path, method, allowed = guest.request.url.path, guest.request.method, ", ".join(self._handlers)
        raise refusals.WrongMethod(f"{path} does not take {method}; it takes {allowed}", allowed)

    def _refused(self, error: Exception, identity: str) -> Response:
        if not isinstance(error, FairleadError):
            log.error(
                "request failed", exc_info=error, extra={"fields": {"route": self._route, "request_id": identity}}
            )
            error = FairleadError(f"the server failed; its log has the cause under request id {identity}")
        self._front.sink.edge_error(self._route, error.code)
        response = told(refusals.document(error, self._prompt), refusals.status(error))
        response.raw_headers += refusals.headers(error)
        return response


def told(body: bytes, status: int = 200) -> Response:
    return Response(body, status, media_type="application/json")


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
