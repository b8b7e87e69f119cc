"""Where a model runs: on the event loop, in a thread, or in processes of its own."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from fairlead.contracts.errors import UsageError
from fairlead.contracts.runtime import LoadedModel
from fairlead.contracts.types import Signature, Tensors
from fairlead.kit import memory
from fairlead.kit.clock import SystemClock
from fairlead.package.bundle import Bundle
from fairlead.serve import tune
from fairlead.serve.endpoint import Placement
from fairlead.serve.executor import Elsewhere
from fairlead.serve.isolated.executor import ProcessExecutor
from fairlead.serve.isolated.messages import Loaded
from fairlead.serve.isolated.process import Order, Process
from fairlead.serve.isolated.seats import Seats
from fairlead.serve.settings import EndpointSettings
from fairlead.serve.tune import Curve, Plan
from fairlead.wiring import residing
from fairlead.wiring.residing import Asleep, House, size_of
from fairlead.wiring.stores import deciding, load_model

LARGEST_BATCH = 64
"""Rows in a batch when neither the user nor the model sets a limit; the measured curve may choose fewer."""

_UNLIMITED = 1_000_000


@dataclass(frozen=True, slots=True)
class Placed:
    """A model that is loaded and measured. ``row``: what it was warmed up with.  ``asleep``: how it sleeps."""

    model: LoadedModel | Elsewhere
    curve: Curve
    plan: Plan
    placement: Placement
    row: Tensors | None
    asleep: Asleep = Asleep()


def placed(house: House, bundle: Bundle) -> Placed:
    """Load, warm up, measure, decide. Raises ModelError or MissingExtra.

    Left to itself, a model whose loading runs code that came with it (a pickle) is never loaded in this process, and
    one that holds the GIL for longer than ``tune.ISOLATE`` leaves it again.
    """
    asked = house.settings.executor
    several = house.settings.replicas is not None and house.settings.replicas.most > 1
    own = house.environment is not None
    if not own and asked != "process" and not (asked == "auto" and (bundle.runs_code or several)):
        before = memory.resident()
        found = _here(bundle, house.settings, house.clock)
        if asked != "auto" or not found.plan.isolate:
            return _sleeping(house, bundle, found, memory.resident() - before) if house.sleeps else found
        found.model.close()
    return _in_processes(house, bundle)


def _sleeping(house: House, bundle: Bundle, found: Placed, grown: int) -> Placed:
    """``grown``: bytes by which this process did while the model was loaded and measured."""
    settings, row = house.settings, found.row
    assert not isinstance(found.model, Elsewhere)  # noqa: S101 - it is here

    def load() -> LoadedModel:
        model = load_model(bundle, settings.threads, settings.providers)
        tune.warm_up(model, row)
        return model

    size = max(grown, size_of(bundle.artefact.path))
    model, asleep = residing.resident(house, found.model, found.placement, load, size)
    return replace(found, model=model, asleep=asleep)


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
    inline = settings.executor == "inline" if fixed else plan.inline and not settings.guarded
    return Placed(model, curve, plan, Placement(inline, settings.workers, fixed), row)


def _in_processes(house: House, bundle: Bundle) -> Placed:
    endpoint, settings, clock, loop = house.name, house.settings, house.clock, house.loop
    scaling = house.scaling
    order = Order(
        endpoint,
        bundle.version,
        bundle.artefact,
        settings.threads,
        min(settings.max_rows or LARGEST_BATCH, bundle.max_rows or _UNLIMITED),
        bundle.example,
        logging.getLogger("fairlead.serve").getEffectiveLevel(),
        settings.providers,
        house.environment.start if house.environment else (),
        house.environment.modules if house.environment else None,
    )
    with deciding(bundle):
        processes, loaded = _started(order, max(1, scaling.least) if house.scales else settings.processes)
    try:
        residing.fits(house, processes[0].resident)
    except UsageError:
        for process in processes:
            process.close()
        raise
    signature: Signature = loaded.signature
    limit = min(order.rows, loaded.traits.max_rows or _UNLIMITED)
    plan = tune.decide(
        tune.handed_over(loaded.curve), limit, batched=signature.batched, chosen_rows=min(settings.max_rows, limit)
    )
    seats = Seats(order, processes, house.meter, clock, loop, most=scaling.most if house.scales else 0)
    executor = ProcessExecutor(endpoint, seats, batched=signature.batched, hang=settings.hang, clock=clock, loop=loop)
    model = Elsewhere(signature, loaded.traits, executor)
    row = tune.example(signature, bundle.example)
    asleep = residing.replicas(house, executor) if house.scales else Asleep()
    return Placed(model, loaded.curve, plan, Placement(workers=len(processes)), row, asleep)


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
