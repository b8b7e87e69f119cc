"""Everything that is not inference: health, metadata, metrics, the docs page."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from fairlead import __version__
from fairlead.contracts.access import Action
from fairlead.contracts.errors import FairleadError, RateLimited, Unauthenticated, Unavailable
from fairlead.contracts.sink import Sink
from fairlead.kit.config import nearest
from fairlead.serve.access.sight import Sight
from fairlead.serve.catalog import Catalog
from fairlead.serve.docs import page
from fairlead.serve.edges import metadata
from fairlead.serve.edges.edge import pairs
from fairlead.serve.edges.status import status_of
from fairlead.serve.endpoint import Live
from fairlead.serve.examples import Described
from fairlead.serve.guarding import sight_of
from fairlead.serve.openapi import Document, openapi

Handler = Callable[[Request], Awaitable[Response]]

Exposition = Callable[[], Awaitable[tuple[bytes, str]]]
"""Gives what was measured, and its content type."""


def measured(catalog: Catalog, sink: Sink) -> tuple[bytes, str]:
    """What this process measured."""
    for live in catalog.all():
        live.report()
    return sink.render()


class Pages:
    """Handlers over the catalog. ``draining`` tells whether the server is on its way out; ``exposition`` gives the
    metrics; ``texts`` the paths and schemas of language models, by their names.
    """

    def __init__(
        self,
        catalog: Catalog,
        draining: Callable[[], bool],
        exposition: Exposition,
        troubles: Callable[[], list[str]] = list,
        explained: Callable[[Live], bool] = lambda _live: False,
        texts: Callable[[Sequence[str]], tuple[Document, Document]] = lambda _names: ({}, {}),
    ) -> None:
        self._catalog = catalog
        self._draining = draining
        self._exposition = exposition
        self._troubles = troubles
        self._explained = explained
        self._texts = texts
        self._started = int(time.time())

    async def home(self, _: Request) -> Response:
        return RedirectResponse("/docs")

    async def alive(self, _: Request) -> Response:
        return _json(metadata.live())

    async def ready(self, request: Request) -> Response:
        """200 when every endpoint is live and the server is not draining, else 503 that says which are loading."""
        flag = self._catalog.ready and not self._draining()
        document, told = metadata.ready(flag), sight_of(request).troubled
        if told and (troubles := self._troubles()):
            document |= {"troubles": troubles}
        if not flag:
            document |= {"draining": self._draining()} | ({"loading": self._catalog.loading} if told else {})
        return _json(document, 200 if flag else 503)

    async def metrics(self, _: Request) -> Response:
        text, content_type = await self._exposition()
        return Response(text, headers={"content-type": content_type})

    async def docs(self, request: Request) -> Response:
        sight, base = sight_of(request), str(request.base_url).rstrip("/")
        text = page(self._described(sight), base, sight.caller is not None, sight.names(self._catalog.others))
        return Response(text, media_type="text/html")

    async def openapi(self, request: Request) -> Response:
        sight = sight_of(request)
        others = sight.names(self._catalog.others)
        return _json(openapi(self._described(sight), sight.caller is not None, others, self._texts(others)))

    async def server(self, _: Request) -> Response:
        return _json(metadata.server(__version__))

    async def version(self, _: Request) -> Response:
        return Response(__version__, media_type="text/plain")

    async def model(self, request: Request) -> Response:
        live = self._resolve(request)
        versions = sight_of(request).versions(self._catalog, live.endpoint)
        return _json(metadata.model(live.endpoint, versions, live.model.traits.platform, live.signature))

    async def model_ready(self, request: Request) -> Response:
        try:
            live = self._resolve(request)
        except FairleadError as error:
            if not isinstance(error, Unavailable):
                raise
            return _json(metadata.model_ready(request.path_params["endpoint"], False), 503)
        ready = not self._draining()
        return _json(metadata.model_ready(live.endpoint, ready), 200 if ready else 503)

    async def v1_models(self, request: Request) -> Response:
        names = sight_of(request).names([*(live.endpoint for live in self._catalog.endpoints()), *self._catalog.others])
        return _json(metadata.v1_models(names, self._started))

    async def v1_model(self, request: Request) -> Response:
        name = request.path_params["endpoint"]
        if name in self._catalog.others:
            sight_of(request).require(Action.DESCRIBE, name)
        else:
            name = self._resolve(request).endpoint
        return _json(metadata.v1_model(name, True, self._started))

    async def index(self, request: Request) -> Response:
        """Triton's repository index: every live version, language models, what still loads, and what was unloaded."""
        sight, catalog = sight_of(request), self._catalog
        live = (one for one in catalog.all() if sight.sees(one.endpoint, one.version))
        known = [{"name": one.endpoint, "version": one.version, "state": "READY"} for one in live]
        loading = ({"name": name, "state": "LOADING"} for name in sight.names(catalog.loading))
        unloaded = sight.names(catalog.unloaded)
        gone = ({"name": name, "state": "UNAVAILABLE", "reason": "unloaded"} for name in unloaded)
        others = ({"name": name, "version": "", "state": "READY"} for name in sight.names(catalog.others))
        return _json([*known, *others, *loading, *gone])

    def _resolve(self, request: Request) -> Live:
        asked = request.path_params
        return sight_of(request).resolve(self._catalog, asked["endpoint"], asked.get("version"))

    def _described(self, sight: Sight) -> list[Described]:
        return [
            Described(
                name=live.endpoint,
                version=live.version,
                versions=tuple(sight.versions(self._catalog, live.endpoint)),
                platform=live.model.traits.platform,
                signature=live.signature,
                example=live.example,
                explained=self._explained(live),
            )
            for live in sight.seen(self._catalog)
        ]


def refuse(_: Request, error: Exception) -> Response:
    """A FairleadError of a route that belongs to no inference protocol."""
    assert isinstance(error, FairleadError)  # noqa: S101 - registered for nothing else
    headers = {"www-authenticate": "Bearer"} if error.code == Unauthenticated.code else {}
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
    response = _json({"error": str(error), "code": error.code}, status_of(error.code), headers)
    if isinstance(error, RateLimited):
        response.raw_headers += pairs(error.told)
    return response


def unknown_route(routes: list[str]) -> Callable[[Request, Exception], Response]:
    """404 for a path that no route has, naming the nearest one."""

    def handle(request: Request, _: Exception) -> Response:
        message = f"there is no route {request.url.path}{nearest(request.url.path, routes)} (see /docs)"
        return _json({"error": message, "code": "not_found"}, 404)

    return handle


def wrong_method(request: Request, error: Exception) -> Response:
    """405, with what is allowed."""
    allowed = getattr(error, "headers", None) or {}
    methods = allowed.get("Allow", "another method")
    message = f"{request.url.path} does not take {request.method}; it takes {methods}"
    return _json({"error": message, "code": "method_not_allowed"}, 405, allowed)


def _json(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(document), status, headers, media_type="application/json")
