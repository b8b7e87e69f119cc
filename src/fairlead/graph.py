"""Graphs in Python: the same record as ``graph`` in a spec, with values that know where they come from.

::

    from fairlead.graph import Graph

    graph = Graph()
    features = graph.input("features", "FP32", [-1, 16])
    scaled = graph.endpoint("scaled", "scaler", take={"X": features})
    a = graph.endpoint("a", "risk-a", take={"X": scaled["Y"]}, timeout_ms=50, fallback={"score": 0.5})
    b = graph.endpoint("b", "risk-b", take={"X": scaled["Y"]})
    both = graph.mean("both", [a["score"], b["score"]], weights=[0.7, 0.3])
    graph.output(score=both)

``fairlead serve scaler=... risk-a=... risk-b=... risk=./risk_graph.py:graph`` serves it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fairlead.contracts import graph as records
from fairlead.contracts.errors import UsageError
from fairlead.contracts.graph import Fallback, Scalar
from fairlead.contracts.types import DataType, TensorSpec

Tensor = tuple[str, Sequence[int]]
"""Datatype and shape; -1 is a free dimension, the first one counts rows."""


@dataclass(frozen=True, slots=True)
class Value:
    """A value of a graph. Compared to a constant it is a condition for ``when``."""

    name: str

    def __gt__(self, other: float) -> str:
        return f"{self.name} > {other!r}"

    def __ge__(self, other: float) -> str:
        return f"{self.name} >= {other!r}"

    def __lt__(self, other: float) -> str:
        return f"{self.name} < {other!r}"

    def __le__(self, other: float) -> str:
        return f"{self.name} <= {other!r}"

    def equals(self, other: Scalar) -> str:
        """``==`` is left to Python."""
        return f"{self.name} == {_literal(other)}"

    def differs(self, other: Scalar) -> str:
        return f"{self.name} != {_literal(other)}"


@dataclass(frozen=True, slots=True)
class Step(Value):
    """A step; where it has one output, that output too."""

    def __getitem__(self, output: str) -> Value:
        return Value(f"{self.name}.{output}")

    @property
    def others(self) -> str:
        """The condition of the rows that do not go there."""
        return f"not {self.name}"


Back = Mapping[str, Scalar] | Step | str
"""A fallback: constants by output, another step, or the name of an endpoint."""


class Graph:
    """Steps in the order in which they are added. Names are checked when it is served."""

    def __init__(self) -> None:
        self._inputs: list[TensorSpec] = []
        self._steps: list[records.Step] = []
        self._outputs: dict[str, str] = {}

    @property
    def record(self) -> records.Graph:
        """What a spec would say."""
        return records.Graph(tuple(self._steps), tuple(self._inputs), dict(self._outputs))

    def input(self, name: str, datatype: str, shape: Sequence[int]) -> Value:
        """An input of the graph. Without any they are what the steps that take them say. Raises UsageError."""
        self._inputs.append(_spec(name, datatype, shape))
        return Value(name)

    def endpoint(
        self,
        name: str,
        endpoint: str,
        *,
        take: Mapping[str, Value] | None = None,
        when: str | Sequence[str] = (),
        timeout_ms: float = 0.0,
        fallback: Back | None = None,
    ) -> Step:
        """Call an endpoint. ``take``: its input to a value; what is not named is taken from the graph's inputs."""
        return self._add(records.Step(name, endpoint, _names(take), _all(when), float(timeout_ms), _fallback(fallback)))

    def function(
        self,
        name: str,
        function: Callable[..., Any],
        *,
        take: Mapping[str, Value],
        gives: Mapping[str, Tensor],
        when: str | Sequence[str] = (),
        timeout_ms: float = 0.0,
        fallback: Back | None = None,
    ) -> Step:
        """Call a function of a module with arrays by argument; it gives a dict of arrays. Raises UsageError for one
        without a name of its own.
        """
        target = f"{function.__module__}:{function.__qualname__}"
        if not function.__qualname__.isidentifier():
            raise UsageError(f"step {name!r}: {target} is found by no name; give a function of a module")
        specs = tuple(_spec(output, *kind) for output, kind in gives.items())
        step = records.Step(name, "", _names(take), _all(when), float(timeout_ms), _fallback(fallback))
        return self._add(replace(step, function=target, gives=specs))

    def mean(self, name: str, of: Sequence[Value], weights: Sequence[float] = ()) -> Step:
        """Of floats, element by element."""
        return self._combine(name, records.MEAN, of, weights)

    def vote(self, name: str, of: Sequence[Value], weights: Sequence[float] = ()) -> Step:
        """The label that most say; of several the one that comes first."""
        return self._combine(name, records.VOTE, of, weights)

    def stack(self, name: str, of: Sequence[Value]) -> Step:
        """Side by side, as columns."""
        return self._combine(name, records.STACK, of)

    def first(self, name: str, of: Sequence[Value]) -> Step:
        """Row by row the first value that is there."""
        return self._combine(name, records.FIRST, of)

    def output(self, **values: Value) -> None:
        """What the graph gives, by name; without any, what its last step gives."""
        self._outputs |= _names(values)

    def _combine(self, name: str, how: str, of: Sequence[Value], weights: Sequence[float] = ()) -> Step:
        named = tuple(value.name for value in of)
        return self._add(records.Step(name, combine=how, of=named, weights=tuple(map(float, weights))))

    def _add(self, step: records.Step) -> Step:
        self._steps.append(step)
        return Step(step.name)


def _names(values: Mapping[str, Value] | None) -> dict[str, str]:
    return {name: value.name for name, value in (values or {}).items()}


def _all(when: str | Sequence[str]) -> tuple[str, ...]:
    return (when,) if isinstance(when, str) else tuple(when)


def _fallback(back: Back | None) -> Fallback | None:
    if back is None:
        return None
    if isinstance(back, Step):
        return Fallback(step=back.name)
    return Fallback(endpoint=back) if isinstance(back, str) else Fallback(dict(back))


def _spec(name: str, datatype: str, shape: Sequence[int]) -> TensorSpec:
    if datatype not in list(DataType):
        raise UsageError(f"{name!r} has the datatype {datatype!r}; expected one of {', '.join(DataType)}")
    return TensorSpec(name, DataType(datatype), tuple(shape))


def _literal(value: Scalar) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}'" if isinstance(value, str) else repr(value)
