"""A batch job from its parts: the model, the tables, the driver, and what each worker is."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from fairlead.contracts.errors import DigestMismatch, UsageError
from fairlead.contracts.object_store import ObjectStore
from fairlead.contracts.runtime import LoadedModel
from fairlead.contracts.tables import Tables
from fairlead.contracts.types import Signature, Tensors
from fairlead.kit import plugins
from fairlead.kit.clock import SystemClock
from fairlead.kit.config import Home, variables
from fairlead.package.bundle import Bundle
from fairlead.package.sources import Kind, parse
from fairlead.serve import tune
from fairlead.serve.catalog import Catalog
from fairlead.serve.endpoint import Live, Placement
from fairlead.serve.jobs import columns, inputs, score
from fairlead.serve.jobs.checkpoint import Manifest, Places, Totals
from fairlead.serve.jobs.delivery import Delivery
from fairlead.serve.jobs.drive import Driver, Plan, Progress
from fairlead.serve.jobs.messages import Job
from fairlead.serve.jobs.worker import Scored, work
from fairlead.serve.pipeline import Pipeline
from fairlead.serve.process import Command
from fairlead.wiring.serving import Target
from fairlead.wiring.stores import load_model, opener, sink

_ALONE = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""A worker has one core, whatever library asks."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a user asked for. ``rows``: of a batch (0: by the size of a row).  ``workers``: 0 for every core.

    ``form``: of an output folder's files.  ``most``: rows that may be rejected.
    """

    target: Target
    source: str
    output: str
    version: str = ""
    form: str = ""
    keep: Sequence[str] = ()
    columns: Sequence[str] = ()
    rows: int = 0
    shard_rows: int = 100_000
    workers: int = 0
    most: float = float("inf")


@dataclass(slots=True)
class Begun:
    """A job that is ready to run. ``places``, ``manifest``: what it writes, and what it was told.

    ``delivery``: where the output goes then; None: it stays in ``places``.
    """

    driver: Driver
    places: Places
    manifest: Manifest
    notes: tuple[str, ...] = field(default=())
    delivery: Delivery | None = None

    def run(self, resume: bool) -> Totals:
        """To its end, as ``Driver.run``. Raises Unavailable too, when the output cannot be delivered."""
        if self.delivery is None:
            return self.driver.run(resume)
        complete = self.delivery.complete(resume, self.manifest)
        if complete is None:
            complete = self.driver.run(resume or self.delivery.kept)
            self.delivery.deliver()
        return complete

    @property
    def output(self) -> str:
        return str(self.places.out) if self.delivery is None else self.delivery.url

    @property
    def rejected(self) -> str:
        return str(self.places.rejected) if self.delivery is None else self.delivery.rejected


def tables(form: str) -> Tables:
    """The plugin that reads and writes files of a form. Raises MissingExtra."""
    found: Tables = plugins.load("fairlead.tables", form)()
    return found


def object_store(scheme: str) -> ObjectStore:
    """Where output goes that is on no disk. Raises UsageError for a scheme that nobody knows, MissingExtra."""
    plugins.known("fairlead.object_stores", scheme)
    found: ObjectStore = plugins.load("fairlead.object_stores", scheme)()
    return found


def job(home: Home, asked: Asked, command: Command, tell: Callable[[Progress], None]) -> Begun:
    """Find everything and check it; nothing is written. Raises UsageError, ModelError, InputError, MissingExtra."""
    delivery = Delivery.of(asked.output, asked.form, home.root / "batch", object_store)
    places = Places.of(asked.output, asked.form) if delivery is None else delivery.places
    reads, files = inputs.find(asked.source, tables)
    source, target = tables(reads), tables(places.form)
    uri = _versioned(asked.target.model, asked.version)
    bundle = opener(home).open(uri, trust_pickle=asked.target.trust_pickle, runtime=asked.target.runtime)
    signature, limit, answer = _described(bundle)
    fields = source.fields(files[0])
    names = columns.kept(fields, asked.keep, files[0].path)
    chosen = columns.choose(signature, fields, files[0].path, names, asked.columns)
    for file in files[1:]:
        others = source.fields(file)
        columns.kept(others, names, file.path)
        if columns.choose(signature, others, file.path, names, asked.columns) != chosen and reads != "jsonl":
            raise UsageError(f"{file.path} has other columns than {files[0].path}; give files of one kind")
    rows = asked.rows or columns.batch_rows(signature, limit)
    task = Job(
        _fixed(uri, bundle),
        bundle.version,
        bundle.digest,
        min(rows, limit) if limit else rows,
        reads,
        places.form,
        chosen,
        columns.layout(signature, answer, names, source.kept(files[0], names) if names else b""),
        str(places.parts),
        str(places.work),
        asked.target.trust_pickle,
        asked.target.runtime,
    )
    options = {"keep": list(names), "columns": list(asked.columns), "rows": asked.rows, "shard-rows": asked.shard_rows}
    manifest = Manifest(tuple(files), _named(uri), bundle.version, bundle.digest, options, task)
    env = {**variables(), **dict.fromkeys(_ALONE, "1")}
    plan = Plan(places, manifest, asked.shard_rows, asked.workers or cores(), command, env, asked.most)
    driver = Driver(plan, source, target, SystemClock(), tell)
    return Begun(driver, places, manifest, bundle.notes, delivery)


def worker(home: Home, link: socket.socket) -> None:
    """Be a worker of a job at the other end of ``link``, to its end."""

    async def run() -> None:
        await work(link, lambda job: _loaded(home, job), tables)

    asyncio.run(run())


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _loaded(home: Home, job: Job) -> tuple[Signature, Scored]:
    """The model of a job, live, in front of the one pipeline."""
    bundle = opener(home).open(job.uri, trust_pickle=job.trust_pickle, runtime=job.runtime)
    if bundle.digest != job.digest:
        raise DigestMismatch(f"{job.uri} changed while the job ran; begin anew, with another output")
    clock, catalog = SystemClock(), Catalog()
    live = Live(
        bundle.name,
        bundle.version,
        load_model(bundle, threads=1),
        policy=score.policy(job.rows),
        placement=Placement(inline=True),
        meter=sink().endpoint(bundle.name, bundle.version),
        clock=clock,
        loop=asyncio.get_running_loop(),
    )
    catalog.put(live)
    return live.signature, score.Scorer(Pipeline(catalog, clock), live, clock, job.rows).score


def _described(bundle: Bundle) -> tuple[Signature, int, Tensors | None]:
    """What the model takes, its most rows at once, and what it answers to an example."""
    model: LoadedModel = load_model(bundle, threads=1)
    try:
        row = tune.example(model.signature, bundle.example)
        answer = None
        if row is not None:
            try:
                answer = {name: np.asarray(array) for name, array in model.predict(row, {}).items()}
            except Exception:  # noqa: BLE001 - made-up values may be outside what it takes: its signature must do
                answer = None
        return model.signature, model.traits.max_rows, answer
    finally:
        model.close()


def _versioned(uri: str, version: str) -> str:
    """Raises UsageError where the model has no versions."""
    if not version:
        return uri
    source = parse(uri)
    if not source.registered:
        raise UsageError(f"--version {version}: {uri} is no registered model (models:/NAME@ALIAS), and has one version")
    return f"models:/{source.model}/{version}"


def _fixed(uri: str, bundle: Bundle) -> str:
    """An alias may move while the job runs; a version does not. A path is the same from every folder."""
    source = parse(uri)
    if source.kind is Kind.ALIAS:
        return f"models:/{source.model}/{bundle.version}"
    return str(source.path.absolute()) if source.path is not None else uri


def _named(uri: str) -> str:
    """The model without its version, for the manifest."""
    source = parse(uri)
    return f"models:/{source.model}" if source.registered else str(source.path.absolute()) if source.path else uri
