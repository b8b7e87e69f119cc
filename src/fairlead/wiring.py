"""The one composition root: settings and plugins become running parts. Nothing else knows which parts there are."""

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fairlead.contracts.errors import Untrusted, UsageError
from fairlead.contracts.runtime import LoadedModel, RuntimeOptions
from fairlead.contracts.sink import Sink
from fairlead.contracts.stores import AliasHistory, Registry, Tracker
from fairlead.kit import plugins
from fairlead.kit.clock import SystemClock
from fairlead.kit.config import Home
from fairlead.package.bundle import Bundle, Opener
from fairlead.package.registry import Moves
from fairlead.package.sources import parse, split_name
from fairlead.package.trust import TrustBook, remedy
from fairlead.serve import tune
from fairlead.serve.app import Application, build
from fairlead.serve.batcher import Policy
from fairlead.serve.catalog import Catalog
from fairlead.serve.endpoint import Live, Placement
from fairlead.serve.front import Front
from fairlead.serve.pipeline import Pipeline
from fairlead.serve.process import Command
from fairlead.serve.protocol import protocol
from fairlead.serve.server import Loader, Server
from fairlead.serve.settings import EndpointSettings, ServerSettings, endpoint_name
from fairlead.serve.supervisor import Endpoints, Supervisor
from fairlead.serve.worker import Worker

LARGEST_BATCH = 64
"""Rows in a batch when neither the user nor the model sets a limit; the measured curve may choose fewer."""


@dataclass(frozen=True, slots=True)
class Target:
    """A model to serve: ``uri`` as the user gave it, ``name`` when they chose one."""

    uri: str
    name: str = ""
    trust_pickle: bool = False
    runtime: str = ""


def target(text: str, *, trust_pickle: bool = False, runtime: str = "") -> Target:
    """``URI`` or ``NAME=URI``."""
    name, uri = split_name(text)
    return Target(uri, endpoint_name(name) if name else "", trust_pickle, runtime)


@functools.cache
def registry(home: Home) -> Registry:
    """The model registry behind ``home.tracking``."""
    found: Registry = plugins.load("fairlead.stores", "mlflow")(home.tracking)
    return found


def tracker(home: Home) -> Tracker:
    """Where training runs are kept; MLflow is both."""
    found: Tracker = registry(home)  # type: ignore[assignment]  # the MLflow store keeps both contracts
    return found


@functools.cache
def alias_history(home: Home) -> AliasHistory:
    """The alias history in ``home.state``."""
    found: AliasHistory = plugins.load("fairlead.stores", "alias-history")(home.state)
    return found


def moves(home: Home) -> Moves:
    """Alias moves by compare-and-set, with their history."""
    return Moves(registry(home), alias_history(home), SystemClock(), home.user)


def trust_book(home: Home) -> TrustBook:
    """Who vouched for what."""
    return TrustBook(home, lambda: registry(home), SystemClock())


def opener(home: Home) -> Opener:
    """Resolves, verifies and opens model URIs."""
    return Opener(home, lambda: registry(home), trust_book(home))


def load_model(bundle: Bundle, threads: int = 0) -> LoadedModel:
    """Hand the artefact to its runtime. Raises Untrusted that names the command to decide."""
    runtime = plugins.load("fairlead.runtimes", bundle.artefact.format)()
    try:
        model: LoadedModel = runtime.load(bundle.artefact, RuntimeOptions(threads=threads))
    except Untrusted as error:
        raise Untrusted(f"{error}; {remedy(parse(bundle.uri))}") from error
    return model


def sink() -> Sink:
    """Where the request path's measurements go."""
    found: Sink = plugins.load("fairlead.sinks", "prometheus")()
    return found


def server(
    home: Home,
    targets: Sequence[Target],
    settings: ServerSettings,
    endpoints: EndpointSettings,
    on_ready: Callable[[int, list[Live]], None] = lambda _port, _live: None,
) -> Server:
    """A server for these models. Building it opens nothing: binding and loading happen when it runs."""
    catalog, measurements = Catalog(), sink()
    application = Application(Front(Pipeline(catalog, SystemClock()), measurements, settings.max_body))
    running = Server(
        settings,
        catalog,
        application.front.pipeline,
        build(application),
        _loaders(home, targets, endpoints, measurements),
        SystemClock(),
        on_ready=lambda port: on_ready(port, catalog.endpoints()),
        protocol=functools.partial(protocol, application.front),
    )
    application.draining = lambda: running.draining
    return running


def worker(
    home: Home,
    targets: Sequence[Target],
    settings: ServerSettings,
    endpoints: EndpointSettings,
    link: socket.socket,
    name: str,
) -> Server:
    """The same, whose connections come from a supervisor over ``link``. ``name``: the worker's place."""
    catalog, measurements = Catalog(), sink()
    door = Worker(link, name, catalog, measurements)
    front = Front(Pipeline(catalog, SystemClock()), measurements, settings.max_body)
    application = Application(front, door.exposition)
    running = Server(
        settings,
        catalog,
        front.pipeline,
        build(application),
        _loaders(home, targets, endpoints, measurements),
        SystemClock(),
        on_ready=lambda _: door.ready(),
        protocol=lambda *given: door.counted(protocol(front, *given)),
        door=door,
    )
    application.draining = lambda: running.draining
    return running


def supervisor(settings: ServerSettings, command: Command, on_ready: Callable[[int, Endpoints], None]) -> Supervisor:
    """What stands in front of ``settings.workers`` processes, each started by ``command``. It loads no model."""
    return Supervisor(settings, command, sink(), SystemClock(), on_ready)


def _named(targets: Sequence[Target]) -> list[Target]:
    """Every target with its endpoint name. Raises UsageError when two would share one."""
    named: dict[str, Target] = {}
    for one in targets:
        name = one.name or endpoint_name(Opener.default_name(one.uri))
        if name in named:
            raise UsageError(
                f"two models would be endpoint {name!r} ({named[name].uri}, {one.uri}); name one: NAME={one.uri}"
            )
        named[name] = Target(one.uri, name, one.trust_pickle, one.runtime)
    return list(named.values())


def _loaders(home: Home, targets: Sequence[Target], settings: EndpointSettings, measurements: Sink) -> list[Loader]:
    def loader(one: Target) -> Loader:
        def load(loop: asyncio.AbstractEventLoop) -> Live:
            bundle = opener(home).open(one.uri, trust_pickle=one.trust_pickle, runtime=one.runtime)
            return live_version(one.name, bundle, settings, measurements, SystemClock(), loop)

        return Loader(one.name, load)

    return [loader(one) for one in _named(targets)]


def live_version(
    endpoint: str,
    bundle: Bundle,
    settings: EndpointSettings,
    measurements: Sink,
    clock: SystemClock,
    loop: asyncio.AbstractEventLoop,
) -> Live:
    """Load, warm up, measure, decide how to batch: a version that can answer."""
    model = load_model(bundle, settings.threads)
    limit = min(settings.max_rows or LARGEST_BATCH, model.traits.max_rows or 1_000_000)
    row = tune.example(model.signature, bundle.example)
    curve = tune.measure(model, row, limit, clock.now)
    plan = tune.decide(curve, limit, batched=model.signature.batched, chosen_rows=min(settings.max_rows, limit))
    notes = (*bundle.notes, curve.problem) if curve.problem else bundle.notes
    live = Live(
        endpoint,
        bundle.version,
        model,
        policy=Policy(
            plan.max_rows, settings.max_wait_ms / 1000, plan.coalesce, settings.queue_rows, settings.queue_calls
        ),
        placement=Placement(plan.inline, settings.workers),
        meter=measurements.endpoint(endpoint, bundle.version),
        clock=clock,
        loop=loop,
        deadline=settings.deadline_ms / 1000,
        example=row,
        notes=notes,
    )
    measurements.ready(endpoint, bundle.version, True)
    return live
