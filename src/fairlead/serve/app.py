"""Routes, and nothing else: which path goes to which edge or page."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.routing import Route

from fairlead.contracts.errors import FairleadError
from fairlead.kit import plugins
from fairlead.serve.access.needs import UNKNOWN_ROUTE
from fairlead.serve.admin import Exposition, Pages, measured, refuse, unknown_route, wrong_method
from fairlead.serve.chaos.faults import Chaos, Denied
from fairlead.serve.chaos.route import ROUTE as CHAOS
from fairlead.serve.chaos.route import injecting
from fairlead.serve.console import ROUTES as CONSOLE
from fairlead.serve.console import Passing
from fairlead.serve.endpoint import Live
from fairlead.serve.explain.asking import Explainer
from fairlead.serve.explaining import ROUTE as EXPLAIN
from fairlead.serve.explaining import explaining
from fairlead.serve.front import Front
from fairlead.serve.guarding import Handler, guarded, guarded_error
from fairlead.serve.http import Labels, inference, labels, loading
from fairlead.serve.limits.limiter import Limiter
from fairlead.serve.llm.chats import Chats
from fairlead.serve.openai.api import BEAT, KEPT
from fairlead.serve.openai.late import Late
from fairlead.serve.repository import Control, Locked
from fairlead.serve.routes import INFERENCE
from fairlead.serve.schemas import Document

if TYPE_CHECKING:
    from fairlead.contracts.tokens import Tokenizer
    from fairlead.serve.llm.batches.runner import Runner
    from fairlead.serve.openai.embeddings import Embedder
    from fairlead.serve.openai.routes import OpenAI

OPENAI = "fairlead.serve.openai.routes:OpenAI"
DESCRIBED = "fairlead.serve.openai.described:described"
"""A twentieth of the time that a server takes to start: read before it answers where there is a language model."""


@dataclass(slots=True)
class Application:
    """What the routes need. ``draining`` is set by whoever owns the server's life, ``exposition`` by who knows of more
    processes than this one. ``troubles``: what does not work beside serving.  ``feedback``: keeps labels, whose
    endpoints it has checked; None where there is nothing to keep them in.  ``control``: loads and unloads.
    ``chaos``: injects faults.
    ``explainers``: of a version, by endpoint and version.  ``limiter``: None where nothing has limits.
    ``chats``: language models.  ``embedders``, ``tokenizers``: of those that have one, by name.
    ``console``: passes its pages on; None: it is not here.
    ``kept``: responses of OpenAI's API that are kept, 0 where several processes answer.  ``beat``: seconds of silence
    after which a stream gets a comment.  ``batches``: works on them; None: there are none here.
    ``speaks``: there may be language models; else the routes of OpenAI's API are read at their first request.
    """

    front: Front
    exposition: Exposition | None = None
    draining: Callable[[], bool] = field(default=lambda: False)
    troubles: Callable[[], list[str]] = field(default=list)
    feedback: Labels | None = None
    control: Control = field(default_factory=Locked)
    chaos: Chaos = field(default_factory=Denied)
    explainers: Mapping[tuple[str, str], Explainer] = field(default_factory=dict)
    limiter: Limiter | None = None
    chats: Chats = field(default_factory=Chats)
    embedders: dict[str, Embedder] = field(default_factory=dict)
    tokenizers: dict[str, Tokenizer] = field(default_factory=dict)
    kept: int = KEPT
    beat: float = BEAT
    batches: Runner | None = None
    console: Passing | None = None
    speaks: bool = True

    def openai(self) -> list[Route]:
        """The routes of OpenAI's API over what is there."""
        made: OpenAI = plugins.attribute(OPENAI)(
            self.front,
            self.chats,
            embedders=self.embedders,
            tokenizers=self.tokenizers,
            kept=self.kept,
            beat=self.beat,
            batches=self.batches,
        )
        return made.routes()

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
        front.pipeline.catalog,
        application.is_draining,
        exposition,
        application.in_trouble,
        application.explained,
        _described,
    )
    control, get, post = application.control, ["GET"], ["POST"]
    inject, calm = injecting(application.chaos, front.pipeline.clock, front.max_body)

    def one(path: str, handler: Handler, methods: list[str]) -> Route:
        return Route(path, guarded(front, handler, path), methods=methods)

    # Inference first: /v1/models/{endpoint} would take {endpoint}:predict for a name.
    routes = [Route(each.pattern, inference(front, each.edge, each.pattern), methods=post) for each in INFERENCE]
    late = Late(functools.partial(plugins.attribute, OPENAI), application.openai)
    routes += application.openai() if application.speaks else late.routes()
    routes += [
        Route(EXPLAIN, explaining(front, application.explainer, application.limiter), methods=post),
        one("/", pages.home, get),
        one("/healthz", pages.alive, get),
        one("/readyz", pages.ready, get),
        one("/metrics", pages.metrics, get),
        one("/docs", pages.docs, get),
        one("/openapi.json", pages.openapi, get),
        one("/v2", pages.server, get),
        one("/v2/health/live", pages.alive, get),
        one("/v2/health/ready", pages.ready, get),
        one("/v2/repository/index", pages.index, post),
        one("/v2/repository/models/{endpoint}/load", loading(control.load, front.max_body), post),
        one("/v2/repository/models/{endpoint}/unload", loading(control.unload, front.max_body), post),
        one("/v2/models/{endpoint}", pages.model, get),
        one("/v2/models/{endpoint}/ready", pages.model_ready, get),
        one("/v2/models/{endpoint}/versions/{version}", pages.model, get),
        one("/v2/models/{endpoint}/versions/{version}/ready", pages.model_ready, get),
        one("/v1/models", pages.v1_models, get),
        one("/v1/models/{endpoint}", pages.v1_model, get),
        one("/v1/feedback", labels(application.feedback, front.max_body, application.limiter), post),
        one("/ping", pages.ready, get),
        one("/health", pages.ready, get),
        one("/version", pages.version, get),
        one(CHAOS, inject, post),
        one(CHAOS, calm, ["DELETE"]),
    ]
    if application.console is not None:
        routes += [one(path, application.console.handle, ["GET", "POST"]) for path in CONSOLE]
    paths = [route.path for route in routes]
    no_route = guarded_error(front, unknown_route(paths), refuse, UNKNOWN_ROUTE)
    no_method = guarded_error(front, wrong_method, refuse, UNKNOWN_ROUTE)
    made = Starlette(routes=routes, exception_handlers={404: no_route, 405: no_method, FairleadError: refuse})
    made.router.redirect_slashes = front.gate is None  # a redirect would tell strangers which paths there are
    return made


def _described(names: Sequence[str]) -> tuple[Document, Document]:
    """Paths and schemas of what is no model of tensors."""
    if not names:
        return {}, {}
    found: tuple[Document, Document] = plugins.attribute(DESCRIBED)(names)
    return found
