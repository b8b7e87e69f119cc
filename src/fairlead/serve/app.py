"""Routes, and nothing else: which path goes to which edge or page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.routing import Route

from fairlead.contracts.errors import FairleadError
from fairlead.contracts.events import Accepted
from fairlead.serve.admin import Exposition, Pages, measured, refuse, unknown_route, wrong_method
from fairlead.serve.endpoint import Live
from fairlead.serve.explain.asking import Explainer
from fairlead.serve.explaining import ROUTE as EXPLAIN
from fairlead.serve.explaining import explaining
from fairlead.serve.front import Front
from fairlead.serve.http import inference, labels, loading
from fairlead.serve.limits.limiter import Limiter
from fairlead.serve.repository import Control, Locked
from fairlead.serve.routes import INFERENCE


@dataclass(slots=True)
class Application:
    """What the routes need. ``draining`` is set by whoever owns the server's life, ``exposition`` by who knows of more
    processes than this one. ``troubles``: what does not work beside serving.  ``feedback``: keeps labels; None where
    there is nothing to keep them in.  ``control``: loads and unloads.
    ``explainers``: of a version, by endpoint and version.  ``limiter``: None where nothing has limits.
    """

    front: Front
    exposition: Exposition | None = None
    draining: Callable[[], bool] = field(default=lambda: False)
    troubles: Callable[[], list[str]] = field(default=list)
    feedback: Callable[[bytes], Accepted] | None = None
    control: Control = field(default_factory=Locked)
    explainers: Mapping[tuple[str, str], Explainer] = field(default_factory=dict)
    limiter: Limiter | None = None

    def explainer(self, live: Live) -> Explainer:
        return self.explainers.get((live.endpoint, live.version), Explainer())

    def explained(self, live: Live) -> bool:
        """Whether its rows can be explained."""
        return self.explainer(live).background is not None

    def is_draining(self) -> bool:
        return self.draining()

    def in_trouble(self) -> list[str]:
        return self.troubles()

    async def own(self) -> tuple[bytes, str]:
        """The metrics of this process."""
        return measured(self.front.pipeline.catalog, self.front.sink)


def build(application: Application) -> Starlette:
    """The ASGI application."""
    front = application.front
    exposition = application.exposition or application.own
    pages = Pages(
        front.pipeline.catalog, application.is_draining, exposition, application.in_trouble, application.explained
    )
    control, get, post = application.control, ["GET"], ["POST"]
    # Inference first: /v1/models/{endpoint} would take {endpoint}:predict for a name.
    routes = [Route(one.pattern, inference(front, one.edge, one.pattern), methods=post) for one in INFERENCE]
    routes += [
        Route(EXPLAIN, explaining(front, application.explainer, application.limiter), methods=post),
        Route("/", pages.home, methods=get),
        Route("/healthz", pages.alive, methods=get),
        Route("/readyz", pages.ready, methods=get),
        Route("/metrics", pages.metrics, methods=get),
        Route("/docs", pages.docs, methods=get),
        Route("/openapi.json", pages.openapi, methods=get),
        Route("/v2", pages.server, methods=get),
        Route("/v2/health/live", pages.alive, methods=get),
        Route("/v2/health/ready", pages.ready, methods=get),
        Route("/v2/repository/index", pages.index, methods=post),
        Route("/v2/repository/models/{endpoint}/load", loading(control.load, front.max_body), methods=post),
        Route("/v2/repository/models/{endpoint}/unload", loading(control.unload, front.max_body), methods=post),
        Route("/v2/models/{endpoint}", pages.model, methods=get),
        Route("/v2/models/{endpoint}/ready", pages.model_ready, methods=get),
        Route("/v2/models/{endpoint}/versions/{version}", pages.model, methods=get),
        Route("/v2/models/{endpoint}/versions/{version}/ready", pages.model_ready, methods=get),
        Route("/v1/models", pages.v1_models, methods=get),
        Route("/v1/models/{endpoint}", pages.v1_model, methods=get),
        Route("/v1/feedback", labels(application.feedback, front.max_body, application.limiter), methods=post),
        Route("/ping", pages.ready, methods=get),
        Route("/health", pages.ready, methods=get),
        Route("/version", pages.version, methods=get),
    ]
    paths = [route.path for route in routes]
    return Starlette(
        routes=routes,
        exception_handlers={404: unknown_route(paths), 405: wrong_method, FairleadError: refuse},
    )
