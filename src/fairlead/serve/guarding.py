"""The gate before every route of HTTP that is no call: who comes, and what they may see, before the handler runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from fairlead.contracts.access import Action
from fairlead.contracts.audit import Auditor
from fairlead.contracts.errors import NotFound
from fairlead.serve.access.asking import Visit
from fairlead.serve.access.credentials import mapping, peer_of
from fairlead.serve.access.needs import NEEDS
from fairlead.serve.access.sight import EVERYTHING, Sight, telling
from fairlead.serve.front import Front, request_id

Handler = Callable[[Request], Awaitable[Response]]
ErrorHandler = Callable[[Request, Exception], Response]

_SIGHT: Final = "sight"


def guarded(front: Front, handler: Handler, route: str) -> Handler:
    """The handler of a route, for callers who may come; they find their sight by ``sight_of``."""
    gate = front.gate
    if gate is None:
        return handler if front.audit is None else _noted(front, front.audit, handler, route)

    async def handle(request: Request) -> Response:
        endpoint, version = request.path_params.get("endpoint"), request.path_params.get("version")
        sight = gate.visit(_visit(front, request, route), endpoint, version)
        setattr(request.state, _SIGHT, sight)
        try:
            return await handler(request)
        except NotFound as error:
            raise (error if endpoint is None else sight.missing(error, front.pipeline.catalog, endpoint)) from None

    return handle


def _noted(front: Front, audit: Auditor, handler: Handler, route: str) -> Handler:
    """The same where nobody is asked who they are: what administrators may do is written down all the same."""
    need = NEEDS[route]
    if need.action is not Action.ADMIN:
        return handler

    async def handle(request: Request) -> Response:
        sight = Sight(None, tell=telling(audit, _visit(front, request, route)))
        sight.require(Action.ADMIN, request.path_params["endpoint"], told=need.told)
        setattr(request.state, _SIGHT, sight)
        return await handler(request)

    return handle


def guarded_error(front: Front, handler: ErrorHandler, refuse: ErrorHandler, route: str) -> ErrorHandler:
    """What answers a path that no route takes: those who are known, alone, are told so."""
    gate = front.gate
    if gate is None:
        return handler

    def handle(request: Request, error: Exception) -> Response:
        try:
            gate.visit(_visit(front, request, route))
        except Exception as refusal:  # noqa: BLE001 - the handler knows the errors that are ours
            return refuse(request, refusal)
        return handler(request, error)

    return handle


def sight_of(request: Request) -> Sight:
    """What the caller of this request may see; everything where nobody is asked who they are."""
    found: Sight = getattr(request.state, _SIGHT, EVERYTHING)
    return found


def _visit(front: Front, request: Request, route: str) -> Visit:
    headers = mapping(request.headers.raw)
    return Visit(
        headers, route, front.pipeline.clock.now(), request_id(headers.get(b"x-request-id")), peer_of(request.scope)
    )
