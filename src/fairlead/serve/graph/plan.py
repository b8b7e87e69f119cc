"""A graph over endpoints whose signatures are known: what crosses each edge, checked once. Pure.

A value holds for all rows of a call, or for some (what a step with ``when`` gives). Only values for all rows leave the
graph; ``first`` makes one of several that together have every row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fairlead.contracts.errors import BrokenModel
from fairlead.contracts.graph import FIRST, Graph, Step
from fairlead.contracts.types import Signature, TensorSpec
from fairlead.kit.config import nearest
from fairlead.serve.graph.condition import Condition
from fairlead.serve.graph.kinds import Kind, alike, combined, constant, fits, kinds, rowwise
from fairlead.serve.graph.shape import Link, Source, ends, links, waits


@dataclass(frozen=True, slots=True)
class Planned:
    """One step, ready to run. ``take``: by the endpoint's input.  ``gives``: outputs that somebody takes.

    ``whole``: whether it holds for all rows.
    """

    name: str
    step: Step
    take: Mapping[str, Source]
    of: tuple[Source, ...]
    when: tuple[tuple[Condition, Source | None], ...]
    taken: Mapping[str, Kind]
    gives: Mapping[str, Kind]
    whole: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """``steps``: in an order in which they can run.  ``outputs``: of the graph.  ``waits``: step to those before it.

    ``after``: step to those behind it.
    """

    signature: Signature
    steps: Mapping[str, Planned]
    outputs: Mapping[str, Source]
    waits: Mapping[str, tuple[str, ...]]
    after: Mapping[str, tuple[str, ...]]


def plan(graph: Graph, signature_of: Callable[[str], Signature]) -> Plan:
    """Raises UsageError for what is wrong with the graph itself, BrokenModel that names the edge where types differ."""
    return _Planning(graph, signature_of).plan()


def misfit(planned: Planned, endpoint: str, signature: Signature) -> str:
    """Why a signature does not do for a step, as the end of a sentence; empty where it does."""
    specs = {spec.name: spec for spec in signature.inputs}
    for name, kind in planned.taken.items():
        origin, spec = planned.take[name], specs.get(name)
        if spec is None:
            return f"{origin} -> {name}: {endpoint!r} takes no {name!r}{nearest(name, list(specs))}"
        if not fits(kind, spec):
            wanted = Kind(spec.datatype, spec.shape)
            return f"{origin} -> {name}: {origin} is {kind}, and {endpoint!r} takes {wanted}"
    for spec in signature.inputs:
        if spec.required and spec.name not in planned.taken:
            return f"{endpoint!r} takes {spec.name!r}, which nothing gives it"
    outputs = kinds(signature)
    for name, kind in planned.gives.items():
        there = outputs.get(name)
        if there is None or there.datatype is not kind.datatype or not alike(there.shape, kind.shape):
            return f"{name} of {endpoint!r} is {there or 'not there'}, and {kind} is taken from it"
    return ""


class _Planning:
    def __init__(self, graph: Graph, signature_of: Callable[[str], Signature]) -> None:
        self._graph = graph
        self._links = links(graph)
        self._signatures = {name: signature_of(name) for name in graph.endpoints}
        self._batched = all(signature.batched for signature in self._signatures.values())
        self._inputs: dict[str, TensorSpec] = {spec.name: spec for spec in graph.inputs}
        self._declared = bool(graph.inputs)
        self._gives: dict[str, dict[str, Kind]] = {}
        self._whole: dict[str, bool] = {}
        self._used: dict[str, dict[str, Kind]] = {link.name: {} for link in self._links}

    def plan(self) -> Plan:
        if not self._batched and any(link.when for link in self._links):
            odd = next(name for name, signature in self._signatures.items() if not signature.batched)
            raise BrokenModel(f"when chooses rows, and endpoint {odd!r} knows no rows; leave when out")
        takes = {link.name: self._take(link) for link in self._links if link.step.endpoint}
        self._join_inputs(takes)
        found = [self._planned(link, takes.get(link.name, dict(link.take))) for link in self._links]
        outputs = self._outputs()
        for one in found:
            self._check_fallback(one)
        signature = Signature(
            tuple(self._inputs.values()),
            tuple(TensorSpec(name, *self._kind(origin, f"output {name!r}")) for name, origin in outputs.items()),
            batched=self._batched,
        )
        waiting = waits(self._links)
        after = {name: tuple(other for other in waiting if name in waiting[other]) for name in waiting}
        return Plan(signature, {one.name: one for one in found}, outputs, waiting, after)

    def _take(self, link: Link) -> dict[str, Source]:
        """What is named, and what the endpoint takes besides from inputs of the same names."""
        take = dict(link.take)
        for spec in self._signatures[link.step.endpoint].inputs:
            if spec.name not in take and (not self._declared or spec.name in self._inputs):
                take[spec.name] = Source("", spec.name)
        return take

    def _join_inputs(self, takes: Mapping[str, Mapping[str, Source]]) -> None:
        """Inputs that the graph does not declare are those of the first step that takes them."""
        if self._declared:
            for spec in self._inputs.values():
                if self._batched and (not spec.shape or spec.shape[0] != -1):
                    raise BrokenModel(f"input {spec.name!r} is {list(spec.shape)}; its first dimension counts rows: -1")
            return
        for link in self._links:
            if not link.step.endpoint:
                continue
            specs = {spec.name: spec for spec in self._signatures[link.step.endpoint].inputs}
            for name, origin in takes[link.name].items():
                if not origin.step and name in specs and origin.name not in self._inputs:
                    like = specs[name]
                    self._inputs[origin.name] = TensorSpec(
                        origin.name, like.datatype, like.shape, like.column, like.required, like.missing,
                        like.missing_value,
                    )  # fmt: skip

    def _kind(self, origin: Source, where: str) -> Kind:
        """What a value is; whoever asks takes it."""
        if not origin.step:
            spec = self._inputs.get(origin.name)
            if spec is None:
                raise BrokenModel(f"{where} takes {origin.name!r}, and nothing says what that is; declare it in inputs")
            return Kind(spec.datatype, rowwise(spec.shape, self._batched))
        gives = self._gives[origin.step]
        name = self._output(origin, where)
        self._used[origin.step][name] = gives[name]
        return gives[name]

    def _output(self, origin: Source, where: str) -> str:
        gives = self._gives[origin.step]
        if not gives:
            raise BrokenModel(
                f"{where} takes {origin}, and its endpoint does not say what it gives; declare its outputs"
            )
        if origin.name in gives:
            return origin.name
        if not origin.name and len(gives) == 1:
            return next(iter(gives))
        if not origin.name:
            raise BrokenModel(
                f"{where} takes {origin.step}, which gives {', '.join(gives)}; name one: {origin.step}.NAME"
            )
        raise BrokenModel(f"{where} takes {origin}{nearest(origin.name, list(gives))}; it gives {', '.join(gives)}")

    def _resolved(self, origin: Source, where: str) -> Source:
        return Source(origin.step, self._output(origin, where)) if origin.step else origin

    def _planned(self, link: Link, take: Mapping[str, Source]) -> Planned:
        where = f"step {link.name!r}"
        taken = {name: self._kind(origin, where) for name, origin in take.items()}
        of = [self._kind(origin, where) for origin in link.of]
        for one, origin in link.when:
            if origin is None:
                continue
            kind = self._kind(origin, where)
            if not (one.fits(kind.datatype) and kind.shape[1:] in ((), (1,))):
                raise BrokenModel(f"{where}: when compares {origin}, which is {kind}; expected one such value a row")
        if link.step.combine:
            self._gives[link.name] = {self._combined_name(link): combined(link, of, where)}
        elif link.step.function:
            self._gives[link.name] = {
                spec.name: Kind(spec.datatype, rowwise(spec.shape, self._batched)) for spec in link.step.gives
            }
        else:
            self._gives[link.name] = kinds(self._signatures[link.step.endpoint])
        self._whole[link.name] = self._is_whole(link, take)
        planned = Planned(
            link.name,
            link.step,
            {name: self._resolved(origin, where) for name, origin in take.items()},
            tuple(self._resolved(origin, where) for origin in link.of),
            tuple((one, self._resolved(origin, where) if origin else None) for one, origin in link.when),
            taken,
            self._used[link.name],
            self._whole[link.name],
        )
        if link.step.endpoint and (why := misfit(planned, link.step.endpoint, self._signatures[link.step.endpoint])):
            raise BrokenModel(f"{where}: {why}")
        return planned

    def _combined_name(self, link: Link) -> str:
        origin = link.of[0]
        return self._output(origin, f"step {link.name!r}") if origin.step else origin.name

    def _is_whole(self, link: Link, take: Mapping[str, Source]) -> bool:
        partial = [origin for origin in (*take.values(), *link.of) if origin.step and not self._whole[origin.step]]
        if link.step.combine == FIRST:
            return len(partial) < len(link.of) or self._covered(link)
        if link.step.combine and partial:
            raise BrokenModel(
                f"step {link.name!r}: {partial[0]} is there for some rows only; join the branches with combine: first"
            )
        return not link.when and not partial

    def _covered(self, link: Link) -> bool:
        """Some branch gets exactly the rows that others of these do not: together they have them all."""
        joined = {origin.step for origin in link.of}
        for one in self._links:
            if one.name in joined and one.when and {each.unless for each, _ in one.when} <= joined:
                return all(not origin.step or self._whole[origin.step] for origin in one.take.values())
        return False

    def _outputs(self) -> dict[str, Source]:
        named = ends(self._graph, self._links)
        last = self._graph.steps[-1].name
        if not named:
            if not self._gives[last]:
                raise BrokenModel(f"step {last!r} is the last, and its endpoint does not say what it gives")
            named = {name: Source(last, name) for name in self._gives[last]}
        for name, origin in named.items():
            self._kind(origin, f"output {name!r}")
            if origin.step and not self._whole[origin.step]:
                raise BrokenModel(
                    f"output {name!r} is {origin}, which is there for some rows only; join the branches with "
                    "combine: first, one of them with when: not STEP"
                )
        return {name: self._resolved(origin, f"output {name!r}") for name, origin in named.items()}

    def _check_fallback(self, one: Planned) -> None:
        back, where = one.step.fallback, f"step {one.name!r}"
        if back is None:
            return
        if back.endpoint and (why := misfit(one, back.endpoint, self._signatures[back.endpoint])):
            raise BrokenModel(f"{where}, fallback: {why}")
        if back.step:
            there = self._gives[back.step]
            if not self._whole[back.step]:
                raise BrokenModel(f"{where}: its fallback {back.step!r} is there for some rows only")
            for name, kind in one.gives.items():
                other = there.get(name)
                if other is None or other.datatype is not kind.datatype or not alike(other.shape, kind.shape):
                    raise BrokenModel(
                        f"{where}: {name} is {kind}, and {name} of its fallback {back.step!r} is {other or 'not there'}"
                    )
                self._used[back.step].setdefault(name, other)
        if back.value:
            self._check_constants(one, where)

    def _check_constants(self, one: Planned, where: str) -> None:
        value = one.step.fallback.value if one.step.fallback else {}
        for name in (*one.gives, *value):
            kind = self._gives[one.name].get(name)
            if kind is None or name not in value:
                raise BrokenModel(f"{where}: fallback.value names {', '.join(value)}; taken are {', '.join(one.gives)}")
            if not constant(value[name], kind):
                raise BrokenModel(f"{where}: fallback.value.{name} is {value[name]!r}, and {name} is {kind}")
