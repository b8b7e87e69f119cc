"""What a server tells the other stages and hears from them: events, windows, labels, and the split of its traffic."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fairlead.contracts.errors import Conflict, MissingExtra
from fairlead.contracts.events import Accepted, Recorder
from fairlead.contracts.plans import TrafficSplit
from fairlead.contracts.sink import Sink
from fairlead.contracts.state import StateStore
from fairlead.kit import ids, plugins
from fairlead.kit.clock import SystemClock
from fairlead.kit.codec import records
from fairlead.kit.config import Home
from fairlead.monitor import feedback as feedbacks
from fairlead.monitor.binning import Reference
from fairlead.monitor.collect import Collector
from fairlead.monitor.keep import Keeper
from fairlead.package.sources import Kind, parse
from fairlead.serve.columns import Keeping
from fairlead.serve.endpoint import Live
from fairlead.serve.follow import Following
from fairlead.serve.recording import Recording
from fairlead.wiring.modelplane import ModelPlane
from fairlead.wiring.stores import events, state

WINDOW_SECONDS = 60.0

Load = Callable[[str, asyncio.AbstractEventLoop], Live]


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of one endpoint. ``days``: for how long; 0: for ever.  ``window_seconds``: of its windows."""

    keeping: Keeping = field(default_factory=Keeping)
    days: float = 30.0
    window_seconds: float = WINDOW_SECONDS


@dataclass(frozen=True, slots=True)
class Watched:
    """The endpoints of a server, by name: their model URI and what is kept of each."""

    uris: Mapping[str, str]
    kept: Mapping[str, Kept]

    def of(self, endpoint: str) -> Kept:
        return self.kept.get(endpoint, Kept())

    def model(self, endpoint: str) -> str:
        """The registered model behind an endpoint, empty for one that is not registered."""
        return parse(self.uris[endpoint]).model if endpoint in self.uris else ""


def place_of(worker: str) -> str:
    """A worker's place among those of all machines. Its windows add the process: what one that died put must stay."""
    return f"{socket.gethostname()}.{worker}"


def has_state() -> bool:
    """Whether the libraries of the state store are here."""
    return plugins.installed("sqlalchemy", "alembic")


def has_loop() -> bool:
    """Whether the libraries of the controller are here."""
    return has_state() and plugins.installed("scipy", "cronsim", "mlflow")


def has_events() -> bool:
    """Whether the libraries of the event store are here."""
    return plugins.installed("pyarrow", "duckdb")


def recording(home: Home, watched: Watched, worker: str, sink: Sink) -> Recording:
    """Records what the server answers, with what is installed. Raises MissingExtra when none of it is."""
    clock = SystemClock()
    if not (has_state() or has_events()):
        raise MissingExtra("recording needs a store: pip install 'fairlead[events,registry]'")

    def recorders() -> Mapping[str, Recorder]:
        found: dict[str, Recorder] = {}
        if has_events():
            kept = lambda endpoint: round(watched.of(endpoint).days * 86_400_000)  # noqa: E731 - read where it is used
            found["events"] = Keeper(events(home), kept, clock)
        if has_state():
            name = f"{place_of(worker)}.{ids.process()}"
            length = lambda endpoint: round(watched.of(endpoint).window_seconds * 1000)  # noqa: E731 - as above
            found["windows"] = Collector(state(home), references(lambda: state(home), watched), name, length, clock)
        return found

    return Recording(recorders, sink, clock, lambda endpoint: watched.of(endpoint).keeping)


def references(store: Callable[[], StateStore], watched: Watched) -> Callable[[str, str], Reference | None]:
    """By endpoint and version, what its calls are counted on: what the endpoint is watched against, else its own."""
    seen: dict[tuple[str, str], Reference | None] = {}

    def find(endpoint: str, version: str) -> Reference | None:
        model = watched.model(endpoint) or endpoint
        against = store().get("watch", endpoint)
        wanted = ""
        if against is not None:
            version, wanted = against.body["version"], against.body.get("reference", "")
        known = seen.get((model, version))
        if known is None or (wanted and known.id != wanted):  # kept since, or made anew
            known = seen[model, version] = reference(store(), model, version)
        return known

    return find


def shown(home: Home, endpoints: Sequence[str], sink: Sink) -> list[ModelPlane]:
    """What shows the model plane of these endpoints; nothing without a state store."""
    return [ModelPlane(endpoints, lambda: state(home), sink)] if has_state() else []


def reference(store: StateStore, model: str, version: str) -> Reference | None:
    """What drift of a version is measured against, if it was kept."""
    found = store.get("reference", f"{model}/{version}")
    return None if found is None else records.from_body(Reference, found.body)


def following(home: Home, watched: Watched, endpoint: str, worker: str, load: Load) -> Following | None:
    """How an endpoint follows the store; None for one that cannot: only registered models have other versions."""
    uri = watched.uris.get(endpoint)
    if uri is None or parse(uri).kind is not Kind.ALIAS or not has_state():
        return None

    def read() -> tuple[int, TrafficSplit] | None:
        found = state(home).get("split", endpoint)
        return None if found is None else (found.revision, records.from_body(TrafficSplit, found.body))

    def tell(said: Mapping[str, Any]) -> None:
        key = f"{endpoint}/{place_of(worker)}"
        body = {**said, "at_ms": SystemClock.wall_ms()}
        found = state(home).get("applied", key)
        try:
            state(home).put("applied", key, body, found.revision if found else 0)
        except Conflict:
            if found and state(home).get("applied", key) is None:  # cleared away as old just now
                state(home).put("applied", key, body, 0)
            return  # else a newer process in the same place has told already

    return Following(endpoint, read, load, tell)


def feedback(home: Home) -> Callable[[bytes, Callable[[str], None]], Accepted]:
    """Keeps the labels of a request's body whose endpoints the second argument lets pass. Durable when it returns."""

    def keep(body: bytes, check: Callable[[str], None]) -> Accepted:
        labels = feedbacks.parse_json(body, now_ms=SystemClock.wall_ms())
        for endpoint in dict.fromkeys(one.endpoint for one in labels):
            check(endpoint)
        return state(home).label(labels)

    return keep
