"""Where everything is kept, and what is opened from it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

from fairlead.contracts.errors import Untrusted
from fairlead.contracts.events import EventStore
from fairlead.contracts.runtime import LoadedModel, RuntimeOptions
from fairlead.contracts.sink import Sink
from fairlead.contracts.state import StateStore
from fairlead.contracts.stores import AliasHistory, Registry, Tracker
from fairlead.kit import plugins
from fairlead.kit.clock import SystemClock
from fairlead.kit.config import Home
from fairlead.package.bundle import Bundle, Opener
from fairlead.package.registry import Moves
from fairlead.package.sources import parse
from fairlead.package.trust import TrustBook, remedy


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


@functools.cache
def state(home: Home) -> StateStore:
    """The state store in ``home.state``, where the stages meet."""
    found: StateStore = plugins.load("fairlead.state", "sql")(home.state)
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


def load_model(bundle: Bundle, threads: int = 0, providers: tuple[str, ...] = ()) -> LoadedModel:
    """Hand the artefact to its runtime. Raises Untrusted that names the command to decide."""
    runtime = plugins.load("fairlead.runtimes", bundle.artefact.format)()
    with deciding(bundle):
        model: LoadedModel = runtime.load(bundle.artefact, RuntimeOptions(threads, providers))
    return model


@contextlib.contextmanager
def deciding(bundle: Bundle) -> Iterator[None]:
    """Untrusted that is raised in the block names the command to decide."""
    try:
        yield
    except Untrusted as error:
        raise Untrusted(f"{error}; {remedy(parse(bundle.uri))}") from error


def sink() -> Sink:
    """Where the request path's measurements go."""
    found: Sink = plugins.load("fairlead.sinks", "prometheus")()
    return found


@functools.cache
def events(home: Home) -> EventStore:
    """The event store in ``home.events``."""
    found: EventStore = plugins.load("fairlead.events", "parquet")(home.events)
    return found
