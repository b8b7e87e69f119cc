"""Graphs brought to life: read from Python, put behind the endpoints that they call, planned over their signatures."""

from __future__ import annotations

import asyncio
import functools
import inspect
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fairlead.contracts import graph as records
from fairlead.contracts.errors import BrokenModel, FairleadError, UsageError
from fairlead.contracts.graph import Graph
from fairlead.contracts.runtime import Traits
from fairlead.contracts.sink import Sink
from fairlead.contracts.types import Signature, Tensors
from fairlead.graph import Graph as Written
from fairlead.kit import plugins
from fairlead.kit.config import nearest
from fairlead.serve import tune
from fairlead.serve.batcher import Policy
from fairlead.serve.catalog import Catalog
from fairlead.serve.endpoint import Live, Placement
from fairlead.serve.executor import Elsewhere
from fairlead.serve.graph.executor import Function, GraphExecutor
from fairlead.serve.graph.plan import Plan, plan
from fairlead.serve.line import Stage
from fairlead.serve.pipeline import Pipeline
from fairlead.serve.settings import EndpointSettings

VERSION: Final = "1"
AT_ONCE: Final = 256
"""Calls of one graph that are on their way through it; more wait."""

_ALL_ROWS: Final = 2**31
_IN_FILE: Final = re.compile(r"(.+\.py):([A-Za-z_]\w*)", re.DOTALL)


def in_file(uri: str) -> str:
    """The file of ``./FILE.py:NAME``; empty for any other URI."""
    match = _IN_FILE.fullmatch(uri)
    return match[1] if match else ""


@functools.cache
def read(target: str) -> Graph:
    """The graph at ``./FILE.py:NAME`` or ``pkg.module:NAME``. Runs the file. Raises UsageError."""
    found = _found(target)
    if found is None:
        raise UsageError(f"{target}: the file has no {target.rpartition(':')[2]!r}; name its fairlead.graph.Graph")
    if isinstance(found, Written):
        return found.record
    if isinstance(found, Graph):
        return found
    raise UsageError(f"{target} is {type(found).__name__}; name a fairlead.graph.Graph")


def _found(target: str) -> Any:
    """What a file or module has under a name; None where a file has no such name. Raises UsageError."""
    try:
        if match := _IN_FILE.fullmatch(target):
            return getattr(plugins.module_from(Path(match[1]).expanduser()), match[2], None)
        return plugins.attribute(target)
    except FairleadError:
        raise
    except Exception as error:
        raise UsageError(f"{target}: reading it raised {type(error).__name__}: {error}") from error


def ordered(graphs: Mapping[str, Graph | None], fallbacks: Mapping[str, Sequence[str]] | None = None) -> list[str]:
    """Endpoints behind those that they call, else as they are. Raises UsageError for one that is not there, or a cycle.

    ``graphs``: of every endpoint; None for one that is a model.  ``fallbacks``: endpoints that it falls back to.
    """
    done: list[str] = []

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            circle = [*path[path.index(name) :], name]
            edges = ", ".join(f"{one} calls {other}" for one, other in itertools.pairwise(circle))
            raise UsageError(f"endpoints call each other in a circle: {edges}; take one of the steps out")
        graph = graphs[name]
        for called in (*(graph.endpoints if graph else ()), *(fallbacks or {}).get(name, ())):
            if called not in graphs:
                near = nearest(called, list(graphs))
                raise UsageError(f"endpoint {name!r}: a step calls the endpoint {called!r}{near}, which is not served")
            visit(called, (*path, name))
        if name not in done:
            done.append(name)

    for name in graphs:
        visit(name, ())
    return done


def live(
    name: str,
    graph: Graph,
    settings: EndpointSettings,
    measurements: Sink,
    pipeline: Pipeline,
    loop: asyncio.AbstractEventLoop,
    first: Callable[[Signature], Sequence[Stage]] = lambda _: (),
) -> Live:
    """A graph that can answer; its steps' endpoints are live. Raises UsageError, BrokenModel naming step and edge."""
    catalog, meter = pipeline.catalog, measurements.endpoint(name, VERSION)
    try:
        planned = plan(graph, lambda endpoint: catalog.resolve(endpoint).signature)
        functions = {step.name: _function(step) for step in graph.steps if step.function}
    except (UsageError, BrokenModel) as error:
        raise type(error)(f"endpoint {name!r}: {error}") from error
    executor = GraphExecutor(name, planned, functions, pipeline, meter, loop)
    return Live(
        name,
        VERSION,
        Elsewhere(planned.signature, Traits(platform="fairlead_graph"), executor),
        policy=Policy(_ALL_ROWS, 0.0, False, settings.queue_rows, settings.queue_calls, settings.shed),
        placement=Placement(workers=AT_ONCE),
        meter=meter,
        clock=pipeline.clock,
        loop=loop,
        deadline=settings.deadline_ms / 1000,
        example=_example(planned, catalog),
        stages=first(planned.signature),
    )


def _function(step: records.Step) -> Function:
    """Raises UsageError for one that does not take what the step gives it."""
    found: Any = _found(step.function)
    if not callable(found):
        raise UsageError(f"step {step.name!r}: {step.function} is {type(found).__name__}; name a function")
    try:
        inspect.signature(found).bind(**dict.fromkeys(step.take))
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"step {step.name!r}: {step.function} cannot be called with {', '.join(step.take)}: {error}"
        ) from None
    if inspect.iscoroutinefunction(found):
        raise UsageError(f"step {step.name!r}: {step.function} is async; make it a plain def, it runs in a thread")
    made: Function = found
    return made


def _example(planned: Plan, catalog: Catalog) -> Tensors | None:
    """A row as the endpoints that take the graph's inputs know one."""
    found: Tensors = {}
    for one in planned.steps.values():
        known = catalog.resolve(one.step.endpoint).example if one.step.endpoint else None
        for name, source in one.take.items():
            if known and not source.step and name in known:
                found.setdefault(source.name, known[name])
    whole = set(found) == {spec.name for spec in planned.signature.inputs}
    return found if whole else tune.example(planned.signature, None)
