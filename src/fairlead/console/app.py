"""The console as one ASGI application: pages that others made, the frame around them, and what browsers are told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import quote, unquote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fairlead.console.assets import Assets
from fairlead.console.live import Live
from fairlead.console.pages import login
from fairlead.console.shell import Shell
from fairlead.contracts.errors import FairleadError, NotFound

CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: Final = (
    (b"content-security-policy", CSP.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)


class Secured:
    """Puts ``HEADERS`` on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *HEADERS]
            await send(message)

        await self._app(scope, receive, told)


class AsSent:
    """Routes see the path as it was sent: a slash that is escaped is part of a name, and parts no path.

    ``Shell.guarded`` gives handlers the parts as they are meant.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            sent = scope.get("raw_path")
            parts = sent.decode("utf-8", "replace").split("/") if sent else map(quote, scope["path"].split("/"))
            scope = {**scope, "path": "/".join(quote(unquote(part), safe="") for part in parts)}  # one form of each
        await self._app(scope, receive, send)


def build(shell: Shell, live: Live, assets: Assets, routes: Sequence[BaseRoute]) -> Starlette:
    """``routes``: of the pages."""

    async def events(request: Request) -> Response:
        await shell.door.enter(request)
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(live.watch(), media_type="text/event-stream", headers=headers)

    async def home(_: Request) -> Response:
        return RedirectResponse("/console")

    async def missing(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for nothing else
        path = unquote(request.scope["path"])[:200]
        if error.status_code == 404:
            return await shell.refused(request, NotFound(f"there is no page {path}; see /console"))
        known = FairleadError(f"{request.method} is not for {path}")
        response = await shell.refused(request, known, error.status_code)
        response.headers.update(error.headers or {})
        return response

    every = [
        Route("/", home),
        Route("/console/", home),
        Route("/console/assets/{file}", assets.serve, methods=["GET"]),
        Route("/console/events", shell.guarded(events), methods=["GET"]),
        *login.routes(shell),
        *routes,
    ]
    handlers = {404: missing, 405: missing}
    wrapped = [Middleware(Secured), Middleware(AsSent), Middleware(GZipMiddleware, minimum_size=1000, compresslevel=4)]
    made = Starlette(routes=every, exception_handlers=handlers, middleware=wrapped)
    made.router.redirect_slashes = False
    return made
