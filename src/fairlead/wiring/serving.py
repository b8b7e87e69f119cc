"""A server for some models: one process, or workers behind a supervisor."""

from __future__ import annotations

import functools
import logging
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairlead.contracts.errors import UsageError
from fairlead.contracts.graph import Graph
from fairlead.contracts.sink import Sink
from fairlead.contracts.target import ARMS
from fairlead.kit import plugins, upstreams
from fairlead.kit.clock import SystemClock
from fairlead.kit.config import Home
from fairlead.package.bundle import Opener
from fairlead.package.sources import parse, split_name
from fairlead.package.triton import repository
from fairlead.serve.access.issuers import Issuers
from fairlead.serve.access.rules import Rules
from fairlead.serve.app import Application, build
from fairlead.serve.catalog import Catalog
from fairlead.serve.chaos.injector import Injector
from fairlead.serve.coarsening import Coarsening
from fairlead.serve.console import Passing
from fairlead.serve.follow import Follower
from fairlead.serve.front import Front
from fairlead.serve.pipeline import Pipeline
from fairlead.serve.process import Command
from fairlead.serve.protocol import protocol
from fairlead.serve.remote.settings import Upstream
from fairlead.serve.renewal import Renewal
from fairlead.serve.repository import Loader, Repository
from fairlead.serve.residency import Residency
from fairlead.serve.resilience.policy import Safety
from fairlead.serve.server import Companion, Quickening, Server
from fairlead.serve.settings import EndpointSettings, ServerSettings, endpoint_name
from fairlead.serve.stalls import Stalls
from fairlead.serve.supervisor import Endpoints, Supervisor
from fairlead.serve.worker import Faults, Worker
from fairlead.wiring import access, auditing, callers, explaining, graphs, identity, looking, watching
from fairlead.wiring import upstreams as elsewhere
from fairlead.wiring.consoling import ConsoleProcess, wanted
from fairlead.wiring.fallbacks import Fallbacks
from fairlead.wiring.identity import Identity
from fairlead.wiring.limiting import Limiting, limiter
from fairlead.wiring.llm.after import After
from fairlead.wiring.loading import Loading
from fairlead.wiring.residing import shared
from fairlead.wiring.stores import sink

if TYPE_CHECKING:
    from fairlead.wiring.budgeting import Ledgering
    from fairlead.wiring.llm.beside import Beside
    from fairlead.wiring.llm.tracing import Tracing
    from fairlead.wiring.llm.wanted import Wanted

BESIDE = "fairlead.wiring.llm.beside:beside"
"""A fifth of the time that a server takes to start: read where there is a language model."""

_log = logging.getLogger("fairlead.serve")


@dataclass(frozen=True, slots=True)
class Target:
    """A model to serve: ``uri`` as the user gave it, ``name`` when they chose one. A graph has no URI.

    ``settings``: this endpoint's own; None takes those that all endpoints of the server share.
    ``upstream``: the other servers that ``uri`` stands for.  ``coarse``: it tells callers less than it knows.
    """

    uri: str
    name: str = ""
    trust_pickle: bool = False
    runtime: str = ""
    settings: EndpointSettings | None = None
    upstream: Upstream | None = None
    graph: Graph | None = None
    explain: explaining.Explained = explaining.Explained()
    safety: Safety = Safety()
    coarse: Coarsening | None = None

    @property
    def model(self) -> str:
        """The URI. Raises UsageError for a graph."""
        if self.graph is not None:
            raise UsageError(
                f"endpoint {self.name!r} is a graph, which only a server answers: `fairlead up` or `fairlead serve`"
            )
        return self.uri


def target(text: str, *, trust_pickle: bool = False, runtime: str = "") -> Target:
    """``URI`` or ``NAME=URI``; ``FILE.py:NAME`` is a graph."""
    name, uri = split_name(text)
    if file := graphs.in_file(uri):
        return Target("", endpoint_name(name or Path(file).stem), graph=graphs.read(uri))
    upstream = Upstream(upstreams.parse(uri)) if uri.startswith(upstreams.MARK) else None
    return Target(uri, endpoint_name(name) if name else "", trust_pickle, runtime, upstream=upstream)


def targets(texts: Sequence[str], *, trust_pickle: bool = False, runtime: str = "") -> list[Target]:
    """The same for several; a Triton model repository becomes one for each model in it, under the model's own name."""
    found = []
    for text in texts:
        one = target(text, trust_pickle=trust_pickle, runtime=runtime)
        folder = None if one.graph else parse(one.uri).path
        held = repository(folder) if folder is not None else []
        if held and one.name:
            raise UsageError(
                f"{text}: a Triton repository names its endpoints itself; leave {one.name}= out, or give one of its "
                f"models, {one.name}={one.uri.rstrip('/')}/{held[0]}"
            )
        found += [replace(one, uri=f"{one.uri.rstrip('/')}/{name}", name=endpoint_name(name)) for name in held] or [one]
    return found


@dataclass(frozen=True, slots=True)
class Plan:
    """What a server is built from. ``kept``: what is recorded of an endpoint, by name; ``record``: whether at all.

    ``access``: who may call; None: nobody is asked who they are.  ``identity``: how, beside by a key.
    ``chats``: language models.
    ``tracing``: where their traces go.  ``ledgering``: what is counted of what they cost.  None: nothing is said of it.
    ``arm``: of rollouts, which this server answers for; empty: all.
    ``console``: whether it is on the port of the server.
    """

    home: Home
    targets: Sequence[Target]
    settings: ServerSettings
    endpoints: EndpointSettings
    record: bool = False
    kept: Mapping[str, watching.Kept] = field(default_factory=dict)
    limiting: Limiting = Limiting()
    access: Rules | None = None
    identity: Identity = field(default_factory=Identity)
    audit: auditing.Auditing = auditing.Auditing()
    callers: Mapping[str, callers.Watched] = field(default_factory=dict)
    chats: Sequence[Wanted] = ()
    tracing: Tracing | None = None
    ledgering: Ledgering | None = None
    arm: str = ""
    console: bool = True

    def __post_init__(self) -> None:
        workers = self.settings.workers
        if self.arm and self.arm not in ARMS:
            raise UsageError(f"--arm {self.arm!r} is not known; expected {' or '.join(ARMS)}")
        if self.arm and not self.record:
            raise UsageError("--arm says which part of a rollout this server is, and it follows none: let it record")
        if self.targets and all(one.upstream and one.settings is None for one in self.targets):
            elsewhere.refuse(self.endpoints)
        for one in self.targets:
            asked = (one.settings or self.endpoints).replicas
            if asked is not None and asked.most < workers:
                raise UsageError(
                    f"{one.name or one.uri} has {asked.most} replicas at most, and each of the {workers} workers has "
                    "some of its own; allow as many replicas as there are workers"
                )

    def named(self, worker: str) -> str:
        """A worker's name among those of this machine, where servers of both arms may be."""
        return f"{self.arm}-{worker}" if self.arm else worker

    def placed(self, settings: EndpointSettings, place: int) -> EndpointSettings:
        """Settings of an endpoint in the worker of this place: replicas are shared out among the workers."""
        if settings.replicas is None:
            return settings
        return replace(settings, replicas=shared(settings.replicas, place, self.settings.workers))


def server(plan: Plan, on_ready: Callable[[int, Catalog], None] = lambda _port, _catalog: None) -> Server:
    """A server for these models. Building it opens nothing: binding and loading happen when it runs."""
    catalog, measurements = Catalog(), sink()
    front = _front(plan, catalog, measurements)
    return _server(
        plan,
        Application(front, beat=plan.settings.stream_keep_alive),
        on_ready=lambda port: on_ready(port, catalog),
        protocol=functools.partial(protocol, front),
    )


def worker(plan: Plan, link: socket.socket, name: str) -> Server:
    """The same, whose connections come from a supervisor over ``link``. ``name``: the worker's place.

    It keeps no responses: another worker would not find them.
    """
    catalog, measurements = Catalog(), sink()
    door = Worker(link, name, catalog, measurements)
    front = _front(plan, catalog, measurements, name)
    return _server(
        plan,
        Application(front, door.exposition, kept=0, beat=plan.settings.stream_keep_alive),
        name,
        on_ready=lambda _: door.ready(),
        protocol=lambda *given: door.counted(protocol(front, *given)),
        door=door,
    )


def _front(plan: Plan, catalog: Catalog, measurements: Sink, name: str = "0") -> Front:
    audit = None
    if plan.audit.on(access=plan.access is not None):
        endpoints = [one.name for one in named(plan.targets)]
        audit = auditing.journal(plan.home, plan.audit, name, endpoints, measurements)
    pipeline, gate = Pipeline(catalog, SystemClock()), access.gate(plan.access, plan.identity, audit)
    return Front(pipeline, measurements, plan.settings.max_body, gate, audit)


def _server(plan: Plan, application: Application, name: str = "0", **parts: Any) -> Server:
    """``parts``: what a server and a worker differ in."""
    front, targets = application.front, named(plan.targets)
    catalog = front.pipeline.catalog
    catalog.told = front.sink.ready
    front.coarse.update({one.name: one.coarse for one in targets if one.coarse})
    watched = watching.Watched({one.name: one.uri for one in targets if not one.graph}, plan.kept)
    recording = watching.recording(plan.home, watched, plan.named(name), front.sink) if plan.record else None
    residency = Residency(plan.settings.memory // plan.settings.workers, SystemClock())
    fallbacks = Fallbacks(catalog, SystemClock())
    application.limiter, counting = limiter(
        plan.limiting, plan.home, plan.settings.workers, int(name), front.sink, named=front.gate is not None
    )
    before, beside = looking.before(plan.home, plan.audit, plan.callers, front, watched, name)
    loading = Loading(
        plan, front.sink, recording, residency, int(name), front.pipeline, before, fallbacks, application.limiter
    )
    application.explainers = loading.explainers
    following = [
        found
        for one in targets
        if recording is not None and (found := loading.following(one, watched, plan.named(name)))
    ]
    loaders = [Loader(one.name, functools.partial(loading.first, one)) for one in targets]
    certificates = Renewal(plan.settings, front.sink, SystemClock())
    companions: list[Companion] = [*auditing.companions(front.audit), Stalls(front.sink, SystemClock()), residency]
    openers, paying = _beside(plan, application, int(name))
    companions += [fallbacks, *counting, *paying, *beside, *_knowing(plan, front, loaders, openers)]
    repository = Repository(catalog, {one.endpoint: one for one in loaders}, SystemClock())
    if recording is not None:
        companions += [recording, follower := Follower(following, catalog, recording, front.sink, SystemClock())]
        companions += watching.shown(plan.home, [one.name for one in targets], front.sink)
        repository.records(recording.retire, follower.close_split)
        application.feedback = watching.feedback(plan.home) if watching.has_state() else None
    door: Worker | None = parts.get("door")
    companions += _ordered(plan, application, repository, door, int(name))
    if plan.settings.grpc_port is not None:
        listener = plugins.attribute("fairlead.serve.grpc.listener:Listener")
        companions.append(
            made := listener(front, plan.settings, lambda: running.draining, application.control, certificates)
        )
        if door is not None:
            door.listens = made.take
    companions += [*_console(plan, application, targets), certificates]  # behind the listener, which asks it
    running: Server = Server(
        plan.settings,
        catalog,
        front.pipeline,
        build(application),
        loaders,
        SystemClock(),
        openers=openers,
        companions=companions,
        certificates=certificates,
        **parts,
    )
    application.draining = lambda: running.draining
    application.troubles = lambda: [*_troubles(catalog, loading, companions), *application.chats.troubles()]
    return running


def _console(plan: Plan, application: Application, targets: Sequence[Target]) -> list[Companion]:
    """What has the console's process, where it is on the port of the server."""
    if not plan.console:
        return []
    asks = plan.access is not None or plan.settings.public
    names = (*(one.name for one in targets), *(one.name for one in plan.chats))
    chats, budgets = bool(plan.chats), plan.ledgering.budgets if plan.ledgering else ()
    told = wanted(plan.home, names, asks, plan.settings.tls_cert, chats, budgets, plan.audit.key)
    beside = ConsoleProcess(plan.home, SystemClock(), told)
    application.console = Passing(beside)
    return [beside]


def _beside(plan: Plan, application: Application, place: int) -> tuple[list[Quickening], list[Companion]]:
    """What opens language models, and what lives beside the server for them."""
    application.speaks = bool(plan.chats)
    if not plan.chats:
        return [], []
    found: Beside = plugins.attribute(BESIDE)(plan, application, place)
    return found.openers, found.companions


def _troubles(catalog: Catalog, loading: Loading, companions: Sequence[Companion]) -> Iterator[str]:
    """What does not work now, of models and of what is beside them."""
    for one in companions:
        yield from one.troubles()
    for live in catalog.all():
        yield from loading.misfits(live)
        yield from live.executor.troubles()


def _knowing(plan: Plan, front: Front, loaders: list[Loader], openers: list[Quickening]) -> list[Companion]:
    """What keeps the gate informed. The first endpoint is loaded when keys and issuers were asked once."""
    if front.gate is None:
        return []
    keys, issuers = access.follower(plan.home, front.gate), Issuers(plan.identity.verifiers)
    if not loaders:
        openers[0] = After((keys.prime, issuers.prime), openers[0])
        return [keys, issuers]
    first = loaders[0]
    loaders[0] = Loader(first.endpoint, identity.first(issuers, access.first(keys, first.load)))
    return [keys, issuers]


def _ordered(
    plan: Plan, application: Application, repository: Repository, door: Worker | None, place: int
) -> list[Companion]:
    """What callers may order: models loaded and unloaded, faults. ``door``: of a worker, who tells others."""
    front = application.front
    if plan.settings.controlled or (front.gate is not None and plan.settings.model_control is None):
        application.control = repository if door is None else door
        if door is not None:
            door.control = repository
    if not plan.settings.chaos:
        return []
    injector = Injector(front.pipeline.catalog, front.sink, SystemClock(), place)
    application.chaos = injector if door is None else Faults(door)
    if door is not None:
        door.chaos = injector
    return [injector]


def supervisor(settings: ServerSettings, command: Command, on_ready: Callable[[int, Endpoints], None]) -> Supervisor:
    """What stands in front of ``settings.workers`` processes, each started by ``command``. It loads no model."""
    return Supervisor(settings, command, sink(), SystemClock(), on_ready)


def named(targets: Sequence[Target]) -> list[Target]:
    """Every target with its endpoint name, graphs behind what they call. Raises UsageError when two would share one."""
    found: dict[str, Target] = {}
    for one in targets:
        name = one.name or endpoint_name(Opener.default_name(one.uri))
        if name in found:
            raise UsageError(
                f"two models would be endpoint {name!r} ({found[name].uri}, {one.uri}); name one: NAME={one.uri}"
            )
        found[name] = replace(one, name=name)
    fallbacks = {name: one.safety.endpoints for name, one in found.items()}
    return [found[name] for name in graphs.ordered({name: one.graph for name, one in found.items()}, fallbacks)]
