"""The shape of a graph before anything is loaded: what its names mean, and in which order its steps can run. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from fairlead.contracts.errors import UsageError
from fairlead.contracts.graph import COMBINES, FIRST, STACK, Graph, Step
from fairlead.kit.config import nearest
from fairlead.serve.graph import condition
from fairlead.serve.graph.condition import Condition


@dataclass(frozen=True, slots=True)
class Source:
    """Where a value comes from: ``step`` empty for an input of the graph, ``name`` empty for the step's one output."""

    step: str
    name: str

    def __str__(self) -> str:
        return ".".join(part for part in (self.step, self.name) if part)


@dataclass(frozen=True, slots=True)
class Link:
    """One step with its names understood. ``when``: each condition, and the value that it looks at (``not``: None)."""

    step: Step
    take: Mapping[str, Source]
    of: tuple[Source, ...]
    when: tuple[tuple[Condition, Source | None], ...]

    @property
    def name(self) -> str:
        return self.step.name

    @property
    def sources(self) -> tuple[Source, ...]:
        """Every value that it needs."""
        return (*self.take.values(), *self.of, *(source for _, source in self.when if source is not None))

    @property
    def needs(self) -> tuple[str, ...]:
        """The steps whose values it takes."""
        return tuple(dict.fromkeys(source.step for source in self.sources if source.step))

    @property
    def unless(self) -> tuple[str, ...]:
        """The steps whose rows it does not get."""
        return tuple(dict.fromkeys(one.unless for one, _ in self.when if one.unless))

    @property
    def stands_in(self) -> str:
        """The step whose outputs stand for this one's when it fails."""
        return self.step.fallback.step if self.step.fallback else ""


def links(graph: Graph) -> tuple[Link, ...]:
    """The steps in an order in which they can run. Raises UsageError that names the step, or the edges of a cycle."""
    names = [step.name for step in graph.steps]
    if not names:
        raise UsageError("the graph has no steps")
    inputs = {spec.name for spec in graph.inputs}
    for name in names:
        if names.count(name) > 1 or name in inputs or "." in name:
            raise UsageError(
                f"{name!r} cannot name a step: names of steps and inputs differ, and have no dot in a step"
            )
    found = {step.name: _link(step, names, inputs) for step in graph.steps}
    for link in found.values():
        for needed in (*link.unless, link.stands_in):
            if needed and needed not in found:
                raise UsageError(f"step {link.name!r} names the step {needed!r}{nearest(needed, names)}; there is none")
    before = {name: [*link.needs, *link.unless, *filter(None, [link.stands_in])] for name, link in found.items()}
    sorter = TopologicalSorter(before)
    try:
        order = list(sorter.static_order())
    except CycleError as error:
        raise _cycle(found, list(error.args[1])) from None
    _check_used(graph, found, names, inputs)
    return tuple(found[name] for name in order)


def source(text: str, names: Iterable[str], inputs: Iterable[str], where: str) -> Source:
    """What a value's name means. Raises UsageError for a name that nothing has."""
    known, given = list(names), list(inputs)
    step, _, output = text.partition(".")
    if text in given:
        return Source("", text)
    if step in known:
        return Source(step, output)
    if given:
        raise UsageError(f"{where} takes {text!r}{nearest(text, [*known, *given])}; there is no such step or input")
    return Source("", text)


def waits(ordered: Iterable[Link]) -> dict[str, tuple[str, ...]]:
    """For each step those that must have given their values before it can start, those that decide on its rows too."""
    found: dict[str, tuple[str, ...]] = {}
    for link in ordered:
        names = [*link.needs, *(name for other in link.unless for name in found[other])]
        found[link.name] = tuple(dict.fromkeys(names))
    return found


def ends(graph: Graph, ordered: tuple[Link, ...]) -> dict[str, Source]:
    """The graph's outputs, as far as they are named; empty: those of the last step as written."""
    names, inputs = [link.name for link in ordered], [spec.name for spec in graph.inputs]
    return {name: source(text, names, inputs, f"output {name!r}") for name, text in graph.outputs.items()}


def _link(step: Step, names: list[str], inputs: set[str]) -> Link:
    where = f"step {step.name!r}"
    kinds = [kind for kind in (step.endpoint, step.combine, step.function) if kind]
    if len(kinds) != 1:
        raise UsageError(
            f"{where} is exactly one of endpoint, combine and python; found {' and '.join(kinds) or 'none'}"
        )
    if step.combine:
        _check_combine(step, where)
    elif step.of or step.weights:
        raise UsageError(f"{where}: of and weights are for combine")
    if step.gives and not step.function:
        raise UsageError(f"{where}: gives is for python; an endpoint says itself what it gives")
    if step.function and not step.gives:
        raise UsageError(f"{where}: say in gives which arrays the function gives, each with datatype and shape")
    back = step.fallback
    if back is not None and [bool(back.value), bool(back.step), bool(back.endpoint)].count(True) != 1:
        raise UsageError(f"{where}: fallback is exactly one of value, step and endpoint")
    if back is not None and back.endpoint and step.function:
        raise UsageError(f"{where}: a function's fallback is a value or a step")
    conditions = [condition.parse(text) for text in step.when]
    return Link(
        step,
        {name: source(text, names, inputs, where) for name, text in step.take.items()},
        tuple(source(text, names, inputs, where) for text in step.of),
        tuple((one, source(one.value, names, inputs, where) if one.value else None) for one in conditions),
    )


def _check_combine(step: Step, where: str) -> None:
    if step.combine not in COMBINES:
        raise UsageError(f"{where}: combine is {step.combine!r}; expected {', '.join(COMBINES)}")
    if len(step.of) < 2:
        raise UsageError(f"{where}: give two values or more to combine in of")
    if step.take or step.when or step.timeout_ms or step.fallback:
        raise UsageError(
            f"{where} combines values: take, when, timeout_ms and fallback are for endpoints and functions"
        )
    if step.weights and step.combine in (STACK, FIRST):
        raise UsageError(f"{where}: weights are for mean and vote")
    if step.weights and (len(step.weights) != len(step.of) or not all(weight > 0 for weight in step.weights)):
        raise UsageError(
            f"{where}: weights has {len(step.weights)} numbers for {len(step.of)} values, or one not above 0"
        )


def _check_used(graph: Graph, found: Mapping[str, Link], names: list[str], inputs: set[str]) -> None:
    """A step that nothing needs is a slip of the pen."""
    used = {link.stands_in for link in found.values()} | {need for link in found.values() for need in link.needs}
    used |= {source(text, names, inputs, f"output {name!r}").step for name, text in graph.outputs.items()}
    used |= set() if graph.outputs else {names[-1]}
    for name in names:
        if name not in used:
            raise UsageError(f"nothing takes what step {name!r} gives; take it, name it in outputs, or leave it out")


def _cycle(found: Mapping[str, Link], path: list[str]) -> UsageError:
    """graphlib gives the path from what is needed to what needs it, the first step again at its end."""
    edges = []
    for needed, by in pairwise(path):
        link = found[by]
        taken = next((str(one) for one in link.sources if one.step == needed), "")
        how = "falls back on" if link.stands_in == needed else "gets what does not go to"
        edges.append(f"{by} takes {taken}" if taken else f"{by} {how} {needed}")
    return UsageError(f"the graph has a cycle: {', '.join(edges)}; a step takes what steps before it give")
