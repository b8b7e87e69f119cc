"""What a spec makes of the rooms' settings: where things are, what is served, what is kept of it, how it is watched."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fairlead.contracts.errors import MissingExtra, UsageError
from fairlead.contracts.graph import Graph
from fairlead.contracts.scaling import Scaling
from fairlead.contracts.shedding import Shed
from fairlead.kit import config, plugins
from fairlead.kit.config import Home, Located
from fairlead.kit.scopes import scope
from fairlead.kit.secrets import expanded
from fairlead.kit.spec import graph as spec_graph
from fairlead.kit.spec import read as files
from fairlead.kit.spec import shedding as spec_shedding
from fairlead.kit.spec.access import Coarsen
from fairlead.kit.spec.loop import Monitor
from fairlead.kit.spec.read import SpecFile
from fairlead.kit.spec.serving import Replicas
from fairlead.kit.spec.spec import Endpoint, Spec
from fairlead.monitor.findings import DAY_MS, Contract
from fairlead.monitor.seasons import Season
from fairlead.package.sources import Kind, parse
from fairlead.serve.access.rules import Rules
from fairlead.serve.coarsening import Coarsening
from fairlead.serve.columns import Keeping
from fairlead.serve.graph import shape
from fairlead.serve.settings import EndpointSettings
from fairlead.wiring import (
    graphs,
    serving,
    specs_identity,
    specs_limits,
    specs_resilience,
    specs_upstream,
    stores,
    watching,
)
from fairlead.wiring.access import needed
from fairlead.wiring.auditing import Auditing
from fairlead.wiring.callers import Watched
from fairlead.wiring.explaining import Explained
from fairlead.wiring.identity import Identity
from fairlead.wiring.limiting import Limiting
from fairlead.wiring.llm import parts
from fairlead.wiring.specs_server import server as server
from fairlead.wiring.watching import Kept

EXAMPLE: Mapping[str, Any] = {"endpoints": {"churn": {"model": "models:/churn@champion"}}}
"""A spec for a home without models."""

SEASONS: Mapping[str, int] = {"": 0, "day": DAY_MS, "week": 7 * DAY_MS}
"""What ``monitor.season`` may say, in milliseconds."""
_IN_PROCESSES = ("executor", "processes", "hang_seconds", "replicas", "env")
_OF_MODELS = ("runtime", "trust_pickle", "batching", "threads", "providers", *_IN_PROCESSES)
"""Parts of an endpoint that a graph does not have."""
_LOOP = {"rollout": "fairlead.wiring.specs_rollout:check", "retrain": "fairlead.wiring.specs_retrain:check"}
"""Parts of an endpoint that need heavier libraries, and who checks them."""
_TEXTS = "fairlead.wiring.llm.specs"
"""Who checks language models; read where a spec names one."""


def read(path: Path) -> SpecFile:
    """A spec file that can be served. Raises UsageError that names file, line, path and remedy, or MissingExtra.

    What it says of rollouts and retraining is left to ``check``.
    """
    file = files.read(path)
    specs_identity.check(file)
    found: dict[str, Graph | None] = {}
    fallbacks: dict[str, tuple[str, ...]] = {}
    for name, endpoint in file.spec.endpoints.items():
        found[name] = _check_graph(file, name, endpoint)
        (plugins.attribute(f"{_TEXTS}:check") if endpoint.speaks else _check)(file, name, endpoint)
        fallbacks[name] = specs_resilience.checked(file, name, endpoint)
    specs_limits.check(file)
    try:
        graphs.ordered(found, fallbacks)
    except UsageError as error:
        raise UsageError(f"{file.at('endpoints')}: {error}") from None
    return file


def loops(file: SpecFile) -> list[str]:
    """The parts of it that ``check`` looks at, ``rollout`` and ``retrain``."""
    return [part for part in _LOOP if any(part in _asked(one) for one in file.spec.endpoints.values())]


def check(file: SpecFile) -> None:
    """Do the rooms of the loop accept it, and are its files there? Raises UsageError, or MissingExtra for a library.

    Loads 70 MB of libraries: a server leaves it to a process that ends.
    """
    for name, endpoint in file.spec.endpoints.items():
        _check_files(file, name, endpoint)
    check_loop(file)


def check_loop(file: SpecFile) -> None:
    """The same for who serves nothing: files of models may be elsewhere."""
    for part in loops(file):
        plugins.attribute(_LOOP[part])(file)


def _check_files(file: SpecFile, name: str, endpoint: Endpoint) -> None:
    path = parse(endpoint.model).path if endpoint.model else None
    if path is not None and not path.exists():
        raise UsageError(
            f"{file.at('endpoints', name, 'model')} is {endpoint.model}, and there is no such file or folder"
        )
    if endpoint.speaks:
        plugins.attribute(f"{_TEXTS}:check_files")(file, name, endpoint)
    background = endpoint.explain.background
    if background and not Path(background).expanduser().is_file():
        where = file.at("endpoints", name, "explain", "background")
        raise UsageError(f"{where} is {background}, which is no file; name a CSV file of typical rows")


def home(spec: Spec, root: Path | None = None, tracking: str | None = None) -> Home:
    """Flags first, then the environment, then the spec, then what is embedded."""
    return config.home(root, tracking, located=Located(spec.tracking, spec.state, spec.events))


def plan(
    spec: Spec, home: Home, file: SpecFile | None = None, access: bool | None = None, insecure: bool = False
) -> serving.Plan:
    """What the server of this spec is built from. ``access``, ``insecure``: the flags.

    ``file``: where the spec came from, for errors that are found when a model is loaded.
    Raises MissingExtra when it must record and cannot, UsageError for an address that is open to everybody.
    """
    made = serving.Plan(
        home,
        [
            replace(one, safety=specs_resilience.placed(file, one.name, one.safety)) if file else one
            for one in (target(name, endpoint) for name, endpoint in spec.endpoints.items() if not endpoint.speaks)
        ],
        server(spec, insecure=insecure),
        EndpointSettings(),
        records(spec),
        {name: kept(endpoint) for name, endpoint in spec.endpoints.items()},
        Limiting(specs_limits.rules(spec), spec.redis),
        allowed := rules(spec, access, insecure),
        specs_identity.identity(spec.access) if allowed is not None else Identity(),
        Auditing(spec.audit.enabled, spec.audit.days, spec.audit.payloads, spec.audit.key),
        watched(spec, access),
        *(plugins.attribute(f"{_TEXTS}:all_of")(spec) if any(one.speaks for one in spec.endpoints.values()) else ()),
    )
    return replace(made, console=spec.console.enabled and spec.console.port is None)


def watched(spec: Spec, access: bool | None = None) -> dict[str, Watched]:
    """Endpoints whose callers are watched, by name. Raises UsageError where that was asked for and cannot be."""
    possible = (
        (specs_identity.required(spec.access) if access is None else access) and records(spec) and watching.has_state()
    )
    found: dict[str, Watched] = {}
    for name, endpoint in spec.endpoints.items():
        asked = endpoint.abuse
        if not possible and (asked.watch or asked.respond == "delay"):
            raise UsageError(
                f"endpoints.{name}.abuse watches callers, which the server must know: say access: {{required: true}}, "
                "and leave record on"
            )
        if possible and asked.watch is not False:
            found[name] = abuse(endpoint)
    return found


def abuse(endpoint: Endpoint) -> Watched:
    asked = endpoint.abuse
    return Watched(asked.delay if asked.respond == "delay" else 0.0, round(asked.release * 1000))


def rules(spec: Spec, access: bool | None = None, insecure: bool = False) -> Rules | None:
    """Who may call; None: nobody is asked who they are. Raises UsageError and MissingExtra."""
    asked = specs_identity.required(spec.access) if access is None else access
    if not asked and access is None:
        specs_limits.check_unknown(spec)
    named = [name for name, one in spec.endpoints.items() if one.access.scopes]
    if named and not asked and access is None:
        raise UsageError(
            f"endpoints.{named[0]}.access.scopes says who may call, and access.required, that nobody is asked: say "
            "access: {required: true}, or give --access or --no-access"
        )
    if not needed(server(spec, insecure=insecure), asked, insecure, "access: {required: true}"):
        return None
    scopes = {name: tuple(map(scope, one.access.scopes)) for name, one in spec.endpoints.items()}
    return Rules(scopes, spec.access.unseen == 404)


def settings(endpoint: Endpoint) -> EndpointSettings:
    batching = endpoint.batching
    return EndpointSettings(
        max_rows=batching.max_rows,
        max_wait_ms=batching.max_wait_ms,
        queue_rows=batching.queue_rows,
        deadline_ms=endpoint.deadline_ms,
        threads=endpoint.threads,
        executor=endpoint.executor,
        processes=endpoint.processes,
        hang_seconds=endpoint.hang_seconds,
        providers=endpoint.providers,
        env=endpoint.env,
        replicas=scaling(endpoint.replicas),
        shed=shed(endpoint.resilience.shed),
        adaptive=endpoint.resilience.concurrency == "adaptive",
        guarded=bool(endpoint.resilience.fallback),
        call_rows=endpoint.bounds.rows,
        string_bytes=round(endpoint.bounds.string_kb * 1024),
    )


def scaling(asked: Replicas | None) -> Scaling | None:
    if asked is None:
        return None
    return Scaling(asked.min, asked.max, asked.target_concurrency, asked.idle_ttl, asked.wake_deadline)


def shed(asked: spec_shedding.Shed | None) -> Shed | None:
    return None if asked is None else Shed(asked.target_ms / 1000, asked.interval_ms / 1000)


def kept(endpoint: Endpoint) -> Kept:
    """Raises UsageError, also for a secret that is not here."""
    return _kept(endpoint, expanded(endpoint.record.salt, url=False))


def _kept(endpoint: Endpoint, salt: str) -> Kept:
    asked = endpoint.record
    keeping = Keeping(asked.sample, frozenset(asked.exclude), frozenset(asked.hash), salt, asked.key)
    return Kept(keeping, asked.days, asked.window_seconds)


def records(spec: Spec) -> bool:
    """Whether calls are recorded: as the spec says, else when there is a library for it. Raises MissingExtra."""
    possible = watching.has_state() or watching.has_events()
    if spec.record and not possible:
        raise MissingExtra("record: true needs a store: pip install 'fairlead[events,registry]'")
    return possible if spec.record is None else spec.record


def contract(monitor: Monitor) -> Contract:
    """What drift alarms promise. Raises UsageError for a promise that is none, and for windows that fit no season."""
    window = round(monitor.window * 1000)
    Season(window, SEASONS[monitor.season])
    return Contract(
        monitor.false_alarms,
        monitor.days,
        window,
        monitor.least_rows,
        monitor.learn_windows,
        monitor.least_windows,
        monitor.quiet_windows,
    )


def champions(home: Home) -> dict[str, Any]:
    """A first spec: every registered model that has a champion; without one ``EXAMPLE``."""
    database = home.tracking.removeprefix("sqlite:///")
    if not plugins.installed("mlflow") or (database != home.tracking and not Path(database).exists()):
        return dict(EXAMPLE)
    registry = stores.registry(home)
    found = {
        re.sub(r"[^A-Za-z0-9._-]+|^[^A-Za-z0-9]+", "-", name).strip("-"): {"model": f"models:/{name}@champion"}
        for name in registry.models()
        if any("champion" in version.aliases for version in registry.versions(name))
    }
    return {"endpoints": found} if found else dict(EXAMPLE)


def target(name: str, endpoint: Endpoint) -> serving.Target:
    """What an endpoint of a spec serves, and how."""
    asked = endpoint.access.coarsen
    coarse = Coarsening(asked.round, asked.top) if asked != Coarsen() else None
    return replace(_target(name, endpoint), coarse=coarse)


def _target(name: str, endpoint: Endpoint) -> serving.Target:
    asked = endpoint.explain
    explain = Explained(asked.background, asked.samples, asked.output, asked.column)
    also: dict[str, Any] = {"settings": settings(endpoint), "explain": explain}
    also["safety"] = specs_resilience.safety(endpoint)
    if (upstream := specs_upstream.upstream(name, endpoint)) is not None:
        return serving.Target(upstream.uri, name, upstream=upstream, **also)
    if endpoint.graph is not None:
        return serving.Target("", name, graph=graph(endpoint.graph), **also)
    one = serving.target(endpoint.model, trust_pickle=endpoint.trust_pickle, runtime=endpoint.runtime)
    return replace(one, uri=endpoint.model, name=name, **also)


def graph(asked: spec_graph.Graph) -> Graph:
    """The graph that a spec says, or names. Raises UsageError."""
    if not asked.python:
        return spec_graph.record(asked)
    if asked.steps or asked.inputs or asked.outputs:
        raise UsageError(f"python names a graph, {asked.python}; leave inputs, steps and outputs out")
    return graphs.read(asked.python)


def uri(name: str, endpoint: Endpoint) -> str:
    """What the endpoint serves, in one line; an endpoint without a model has a URI too. Raises UsageError."""
    upstream = specs_upstream.upstream(name, endpoint)
    return endpoint.model if upstream is None else upstream.uri


def _asked(endpoint: Endpoint) -> set[str]:
    """The parts that the user wrote down."""
    return {part for part in endpoint.model_fields_set if getattr(endpoint, part) is not None}


def _processes(endpoint: Endpoint) -> str:
    """The field that an error of the endpoint's settings is about."""
    if endpoint.replicas is not None:
        return "replicas"
    return "processes" if endpoint.processes > 1 else "hang_seconds"


def _check_graph(file: SpecFile, name: str, endpoint: Endpoint) -> Graph | None:
    """The graph of an endpoint that is one. Raises UsageError for one that cannot be, or a part that no graph has."""
    if endpoint.graph is None:
        return None
    for part in _OF_MODELS:
        if part in endpoint.model_fields_set:
            raise UsageError(
                f"{file.at('endpoints', name, part)} is for a model; a graph has none of its own: say it at the "
                "endpoints of its steps"
            )
    try:
        found = graph(endpoint.graph)
        shape.links(found)
    except UsageError as error:
        raise UsageError(f"{file.at('endpoints', name, 'graph')}: {error}") from None
    known = list(file.spec.endpoints)
    for step in found.steps:
        for called in (step.endpoint, step.fallback.endpoint if step.fallback else ""):
            if called and called not in known:
                where = file.at("endpoints", name, "graph", "steps", step.name)
                raise UsageError(f"{where} calls the endpoint {called!r}{config.nearest(called, known)}; there is none")
    return found


def _check(file: SpecFile, name: str, endpoint: Endpoint) -> None:
    """What the spec's own types cannot know. Raises UsageError."""
    asked = _asked(endpoint)
    parts.refuse(file, name, endpoint)
    (specs_upstream.check if endpoint.upstream is not None else specs_upstream.check_here)(file, name, endpoint)
    try:
        source = None if endpoint.graph is not None else parse(uri(name, endpoint))
    except UsageError as error:
        raise UsageError(f"{file.at('endpoints', name, 'model')}: {error}") from None
    if endpoint.runtime and endpoint.runtime not in plugins.names("fairlead.runtimes"):
        known = ", ".join(plugins.names("fairlead.runtimes"))
        raise UsageError(f"{file.at('endpoints', name, 'runtime')} is {endpoint.runtime!r}; installed are {known}")
    for part in ("rollout", "retrain"):
        if part in asked and (source is None or source.kind is not Kind.ALIAS):
            raise UsageError(
                f"{file.at('endpoints', name, part)} needs a model that has other versions: a registered one, by "
                f"alias, models:/NAME@ALIAS; {source.uri if source else 'this'} is none"
            )
    if "concurrency" in endpoint.resilience.model_fields_set and specs_upstream.upstream(name, endpoint) is None:
        where = file.at("endpoints", name, "resilience", "concurrency")
        raise UsageError(f"{where} is for a model on other servers (upstream), and {name} runs here; leave it out")
    if file.spec.record is False and (told := asked & {"record", "monitor", "rollout", "retrain"}):
        where = file.at("endpoints", name, min(told))
        raise UsageError(f"{where} needs what is recorded, and the spec says record: false; leave one of them out")
    if "record" in asked and not watching.has_events():
        raise MissingExtra(f"{file.at('endpoints', name, 'record')} needs a library: pip install 'fairlead[events]'")
    season = SEASONS[endpoint.monitor.season]
    if endpoint.record.days and endpoint.record.days * DAY_MS < season:
        where = file.at("endpoints", name, "record", "days")
        raise UsageError(
            f"{where} is {endpoint.record.days:g}, and a season of a {endpoint.monitor.season} is learned from what is "
            f"kept; keep {2 * season // DAY_MS} days"
        )
    for part, check in (
        (_processes(endpoint), lambda: settings(endpoint)),
        ("monitor", lambda: contract(endpoint.monitor)),
        ("record", lambda: _kept(endpoint, "")),  # its secrets are where it is served
    ):
        try:
            check()
        except UsageError as error:
            raise UsageError(f"{file.at('endpoints', name, part)}: {error}") from None
