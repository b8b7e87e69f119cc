"""Where a model runs: on the event loop, in a thread, or in processes of its own."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from fairlead.contracts.runtime import LoadedModel
from fairlead.contracts.sink import EndpointMeter
from fairlead.contracts.types import Signature, Tensors
from fairlead.kit.clock import SystemClock
from fairlead.package.bundle import Bundle
from fairlead.package.environment import Environment
from fairlead.serve import tune
from fairlead.serve.endpoint import Placement
from fairlead.serve.executor import Elsewhere
from fairlead.serve.isolated.executor import ProcessExecutor
from fairlead.serve.isolated.messages import Loaded
from fairlead.serve.isolated.process import Order, Process
from fairlead.serve.isolated.seats import Seats
from fairlead.serve.settings import EndpointSettings
from fairlead.serve.tune import Curve, Plan
from fairlead.wiring.stores import deciding, load_model

LARGEST_BATCH = 64
"""Rows in a batch when neither the user nor the model sets a limit; the measured curve may choose fewer."""

_UNLIMITED = 1_000_000


@dataclass(frozen=True, slots=True)
class Placed:
    """A model that is loaded and measured. ``row``: what it was warmed up with."""

    model: LoadedModel | Elsewhere
    curve: Curve
    plan: Plan
    placement: Placement
    row: Tensors | None


def placed(
    endpoint: str,
    bundle: Bundle,
    settings: EndpointSettings,
    meter: EndpointMeter,
    clock: SystemClock,
    loop: asyncio.AbstractEventLoop,
    environment: Environment | None = None,
) -> Placed:
    """Load, warm up, measure, decide. ``environment``: its own libraries. Raises ModelError or MissingExtra.

    Left to itself, a model whose loading runs code that came with it (a pickle) is never loaded in this process, and
    one that holds the GIL for longer than ``tune.ISOLATE`` leaves it again.
    """
    asked = settings.executor
    if environment is None and asked != "process" and not (asked == "auto" and bundle.runs_code):
        found = _here(bundle, settings, clock)
        if asked != "auto" or not found.plan.isolate:
            return found
        found.model.close()
    return _in_processes(endpoint, bundle, settings, meter, clock, loop, environment)


def _here(bundle: Bundle, settings: EndpointSettings, clock: SystemClock) -> Placed:
    model = load_model(bundle, settings.threads, settings.providers)
    rows = bundle.max_rows or _UNLIMITED
    limit = min(settings.max_rows or LARGEST_BATCH, model.traits.max_rows or _UNLIMITED, rows)
    row = tune.example(model.signature, bundle.example)
    curve = tune.measure(model, row, limit, clock.now)
    plan = tune.decide(
        curve,
        limit,
        batched=model.signature.batched,
        chosen_rows=min(settings.max_rows, limit),
        releases_gil=model.traits.releases_gil,
    )
    fixed = settings.executor != "auto"
    inline = settings.executor == "inline" if fixed else plan.inline
    return Placed(model, curve, plan, Placement(inline, settings.workers, fixed), row)


def _in_processes(
    endpoint: str,
    bundle: Bundle,
    settings: EndpointSettings,
    meter: EndpointMeter,
    clock: SystemClock,
    loop: asyncio.AbstractEventLoop,
    environment: Environment | None,
) -> Placed:
    order = Order(
        endpoint,
        bundle.version,
        bundle.artefact,
        settings.threads,
        min(settings.max_rows or LARGEST_BATCH, bundle.max_rows or _UNLIMITED),
        bundle.example,
        logging.getLogger("fairlead.serve").getEffectiveLevel(),
        settings.providers,
        environment.start if environment else (),
        environment.modules if environment else None,
    )
    with deciding(bundle):
        processes, loaded = _started(order, settings.processes)
    signature: Signature = loaded.signature
    limit = min(order.rows, loaded.traits.max_rows or _UNLIMITED)
    plan = tune.decide(
        tune.handed_over(loaded.curve), limit, batched=signature.batched, chosen_rows=min(settings.max_rows, limit)
    )
    seats = Seats(order, processes, meter, clock, loop)
    executor = ProcessExecutor(endpoint, seats, batched=signature.batched, hang=settings.hang, clock=clock, loop=loop)
    model = Elsewhere(signature, loaded.traits, executor)
    row = tune.example(signature, bundle.example)
    return Placed(model, loaded.curve, plan, Placement(workers=settings.processes), row)


def _started(order: Order, count: int) -> tuple[list[Process], Loaded]:
    """All at once; the first one is measured when it is alone."""
    processes: list[Process] = []
    try:
        processes.append(Process(order, 0))
        loaded = processes[0].load(measure=True)
        processes += [Process(order, place) for place in range(1, count)]
        with ThreadPoolExecutor(max(1, count - 1)) as pool:
            list(pool.map(lambda process: process.load(measure=False), processes[1:]))
    except BaseException:
        for process in processes:
            process.close()
        raise
    return processes, loaded
