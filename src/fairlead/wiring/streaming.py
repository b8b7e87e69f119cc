"""A worker that answers the messages of a broker: the same models, pipeline and recording as a server, without HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import os
import re
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from fairlead.contracts.broker import Broker, Place, Since
from fairlead.contracts.errors import FairleadError, UsageError
from fairlead.contracts.sink import Sink
from fairlead.kit import plugins
from fairlead.kit.clock import SystemClock
from fairlead.kit.config import Home
from fairlead.kit.places import covers
from fairlead.kit.places import place as read_place
from fairlead.kit.secrets import expanded
from fairlead.package.sources import parse
from fairlead.serve.catalog import Catalog
from fairlead.serve.endpoint import Live
from fairlead.serve.follow import Follower
from fairlead.serve.metrics_page import MetricsPage
from fairlead.serve.pipeline import Pipeline
from fairlead.serve.server import Companion
from fairlead.serve.settings import EndpointSettings, ServerSettings
from fairlead.serve.streams.settings import Ends, StreamSettings
from fairlead.serve.streams.worker import StreamWorker
from fairlead.wiring import serving, watching
from fairlead.wiring.loading import Loading
from fairlead.wiring.stores import sink

log = logging.getLogger("fairlead.stream")

CLOSE_SECONDS: Final = 5.0
_GROUP: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_OTHER: Final = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a worker is built from. ``dead``: where dead letters go; None: who waits for the answer is told.

    ``group``: empty takes the endpoint's name.  ``since``: replay from there, and end.
    ``metrics``: host and port of the metrics, 0 for a free port; None for nowhere.
    """

    home: Home
    target: serving.Target
    input: Place
    output: Place
    settings: StreamSettings
    endpoints: EndpointSettings
    dead: Place | None = None
    group: str = ""
    since: Since | None = None
    record: bool = False
    metrics: tuple[str, int] | None = None

    def __post_init__(self) -> None:
        parse(self.target.model)  # a graph has none
        if self.group and not _GROUP.fullmatch(self.group):
            raise UsageError(f"--group {self.group!r} cannot be used: letters, digits, '_' and '-', at most 64")
        for option, written in (("--output", self.output), ("--dead-letter", self.dead)):
            if written is not None and covers(self.input, written):
                raise UsageError(f"{option} {written} is read by --input {self.input}: answers would be answered again")


def place(url: str, option: str) -> Place:
    """The place behind a URL of the command line; ``${env:NAME}`` in it is a secret. Raises UsageError."""
    return read_place(expanded(url), option, plugins.names("fairlead.brokers"))


def of_version(target: serving.Target, version: str) -> serving.Target:
    """The same registered model in another version. Raises UsageError for one that is not registered."""
    model = parse(target.model).model
    if not model:
        raise UsageError(f"--version needs a registered model such as models:/churn@champion; {target.uri} is none")
    return replace(target, uri=f"models:/{model}/{version}")


async def run(plan: Plan, on_ready: Callable[[Live, int], None] = lambda _live, _port: None) -> dict[str, Any]:
    """Load the model, open the brokers, answer until SIGTERM or SIGINT or the end of a replay; gives the counts.

    ``on_ready`` gets the port of the metrics, 0 without one.

    Raises FairleadError for what cannot be opened or loaded, CancelledError at a second signal.
    """
    one = serving.named([plan.target])[0]
    measurements, clock = sink(), SystemClock()
    pipeline = Pipeline(Catalog(), clock)
    interrupted = _Interrupted()
    group = plan.group or _OTHER.sub("-", one.name)[:64]
    at_work: list[StreamWorker] = []
    async with (
        _shown(plan, pipeline.catalog, measurements, interrupted, at_work) as port,
        _opened(plan, group) as ends,
    ):
        companions = await _load(plan, one, pipeline, measurements)
        live = pipeline.catalog.resolve(one.name)
        worker = StreamWorker(pipeline, one.name, ends, plan.settings, clock)
        at_work.append(worker)
        measurements.stream(one.name, group, worker.streamed)
        interrupted.then(worker.stop)
        try:
            for companion in companions:
                companion.start()
            on_ready(live, port)
            return await worker.run()
        finally:
            for live in pipeline.catalog.all():
                live.close()
            for companion in reversed(companions):
                await companion.stop()
            interrupted.forget()


@contextlib.asynccontextmanager
async def _shown(
    plan: Plan, catalog: Catalog, measurements: Sink, interrupted: _Interrupted, at_work: list[StreamWorker]
) -> AsyncIterator[int]:
    """The metrics page, from before the model is loaded to after the last message; gives its port, 0 without one."""
    if plan.metrics is None:
        yield 0
        return
    page = MetricsPage(
        *plan.metrics,
        catalog,
        measurements,
        draining=lambda: interrupted.asked,
        troubles=lambda: [trouble for worker in at_work for trouble in worker.troubles()],
    )
    page.start()
    try:
        yield page.port
    finally:
        await page.stop()


async def _load(plan: Plan, one: serving.Target, pipeline: Pipeline, measurements: Sink) -> list[Companion]:
    """Bring the model to life; what lives beside it."""
    loop, catalog = asyncio.get_running_loop(), pipeline.catalog
    catalog.told = measurements.ready
    watched = watching.Watched({one.name: one.uri}, {})
    recording = watching.recording(plan.home, watched, "stream", measurements) if plan.record else None
    asked = serving.Plan(plan.home, [one], ServerSettings(), plan.endpoints, plan.record)
    loading = Loading(asked, measurements, recording)
    began = pipeline.clock.now()
    live = await loop.run_in_executor(None, loading.first, one, loop)
    catalog.put(live)
    seconds = round(pipeline.clock.now() - began, 3)
    log.info("loaded", extra={"fields": {"endpoint": live.endpoint, "version": live.version, "seconds": seconds}})
    for note in live.notes:
        log.warning("note", extra={"fields": {"endpoint": live.endpoint, "note": note}})
    gc.collect()
    gc.freeze()  # what is loaded stays: the collector need not walk it
    if recording is None:
        return []
    follows = watching.following(plan.home, watched, one.name, "stream", functools.partial(loading.version, one))
    following = [] if follows is None or plan.since is not None else [follows]
    return [recording, Follower(following, catalog, recording, loading.sink, pipeline.clock)]


@contextlib.asynccontextmanager
async def _opened(plan: Plan, group: str) -> AsyncIterator[Ends]:
    """Everything that the worker reads and writes, closed in the end in the order of things."""
    closing: list[_Closable] = []

    def broker(at: Place) -> Broker:
        made: Broker = plugins.load("fairlead.brokers", at.scheme)(at)
        closing.append(made)
        return made

    member = _OTHER.sub("-", f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}")
    try:
        reading = broker(plan.input)
        answers = await broker(plan.output).target()
        closing.append(answers)
        dead = None if plan.dead is None else await broker(plan.dead).target()
        closing += [] if dead is None else [dead]
        name = group if plan.since is None else f"{group}-replay"
        source = await reading.source(name, member, plan.since)
        closing.append(source)
        said = name if plan.since is None else f"{name}-{member}"  # a replay's answers are no repetition of others
        yield Ends(plan.input, said, source, plan.output, answers, dead, plan.dead)
    finally:
        for one in reversed(closing):
            with contextlib.suppress(FairleadError, TimeoutError):
                await asyncio.wait_for(one.close(), CLOSE_SECONDS)


class _Closable(Protocol):
    async def close(self) -> None: ...


class _Interrupted:
    """The first signal asks for a stop, the second ends everything at once."""

    def __init__(self) -> None:
        self.asked = False
        self._then: Callable[[], None] = lambda: None
        self._loop = asyncio.get_running_loop()
        self._main = asyncio.current_task()
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(number, self._arrived)

    def then(self, stop: Callable[[], None]) -> None:
        self._then = stop
        if self.asked:
            stop()

    def forget(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.remove_signal_handler(number)

    def _arrived(self) -> None:
        if self.asked and self._main is not None:
            self._main.cancel()
        self.asked = True
        self._then()
