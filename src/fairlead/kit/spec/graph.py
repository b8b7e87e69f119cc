"""What the spec says of a graph: an endpoint that is made of other endpoints."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints

from fairlead.contracts import graph as records
from fairlead.contracts.types import DataType, TensorSpec
from fairlead.kit.spec.part import Part

StepName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
"""What can stand before the dot of a value's name, and in a metric label."""


class Tensor(Part):
    """One array."""

    datatype: Literal[
        "BOOL",
        "UINT8",
        "UINT16",
        "UINT32",
        "UINT64",
        "INT8",
        "INT16",
        "INT32",
        "INT64",
        "FP16",
        "FP32",
        "FP64",
        "BYTES",
    ]
    """Of the Open Inference Protocol."""
    shape: tuple[int, ...] = Field(min_length=1)
    """-1 is a free dimension; the first one counts rows."""


class Fallback(Part):
    """What stands for a step that fails: exactly one of these."""

    value: dict[str, bool | int | float | str] = Field(default_factory=dict)
    """Constants by output."""
    step: str = ""
    """Another step, whose outputs stand for this one's."""
    endpoint: str = ""
    """Another endpoint, given the same inputs."""


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


class Step(Part):
    """Exactly one of endpoint, combine and python."""

    endpoint: str = ""
    """The endpoint that is called."""
    take: dict[str, str] = Field(default_factory=dict)
    """Its input: a value (`INPUT`, `STEP.OUTPUT`, `STEP`). What is not named is taken from the graph's inputs."""
    when: Annotated[tuple[str, ...], BeforeValidator(_several, json_schema_input_type=str | tuple[str, ...])] = ()
    """Only the rows for which this holds go there: `VALUE > 0.5`, `VALUE == 'text'`, `not STEP`; of a list, all."""
    timeout_ms: float = Field(default=0.0, ge=0, le=86_400_000)
    """Time of this step, within the call's deadline; 0: only that deadline."""
    fallback: Fallback | None = Field(default=None, examples=[{"value": {"score": 0.5}}])
    """What stands for the step when it fails or takes too long; null: the call fails."""
    combine: Literal["", "mean", "vote", "stack", "first"] = ""
    """Make one value of several: mean of floats, vote of labels, stack as columns, first that is there."""
    of: tuple[str, ...] = ()
    """The values that are combined."""
    weights: tuple[float, ...] = ()
    """For each of them, for mean and vote; empty: all alike."""
    python: str = ""
    """A function, `pkg.module:function` or `./FILE.py:function`: arrays by argument in, a dict of arrays out."""
    gives: dict[str, Tensor] = Field(default_factory=dict)
    """What the function gives."""


def _text(value: Any) -> Any:
    return {"python": value} if isinstance(value, str) else _tuples(value)


def _tuples(value: Any) -> Any:
    """Lists as tuples: behind a validator of ours what was JSON is taken for Python, where they differ."""
    if isinstance(value, dict):
        return {key: _tuples(one) for key, one in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


class Graph(Part):
    """Steps over other endpoints, or the Python object that says them."""

    python: str = ""
    """Instead of the rest: `./FILE.py:NAME` or `pkg.module:NAME`, a `fairlead.graph.Graph`."""
    inputs: dict[str, Tensor] = Field(default_factory=dict)
    """What the graph takes; empty: what the steps that take it say."""
    steps: dict[StepName, Step] = Field(default_factory=dict)
    """Each takes what others give."""
    outputs: dict[str, str] = Field(default_factory=dict)
    """What the graph gives: name to value; empty: what the last step gives."""


AsGraph = Annotated[Graph | None, BeforeValidator(_text, json_schema_input_type=str | Graph | None)]
"""A graph, or text that stands for ``python``."""


def record(graph: Graph) -> records.Graph:
    """The same for everybody else."""
    steps = []
    for name, one in graph.steps.items():
        back = one.fallback
        found = None if back is None else records.Fallback(dict(back.value), back.step, back.endpoint)
        steps.append(
            records.Step(
                name, one.endpoint, dict(one.take), one.when, one.timeout_ms, found, one.combine, one.of, one.weights,
                one.python, _specs(one.gives),
            )
        )  # fmt: skip
    return records.Graph(tuple(steps), _specs(graph.inputs), dict(graph.outputs))


def _specs(tensors: dict[str, Tensor]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, DataType(one.datatype), one.shape) for name, one in tensors.items())
