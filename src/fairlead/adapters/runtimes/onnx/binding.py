"""Between the public signature and the tensors of the graph: names, types, columns to a matrix. Pure numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fairlead.contracts.errors import BrokenModel
from fairlead.contracts.types import DataType, Tensors, TensorSpec

Convert = Callable[[Any], np.ndarray[Any, Any]]
Feed = Callable[[Tensors], Tensors]
Specs = tuple[TensorSpec, ...]


def feeder(public: Specs, graph: Specs, file: str) -> Feed | None:
    """Turns public tensors into the graph's; None where they are the same.

    By name, rounding floats and turning [n, 1] into [n] where the graph wants that. A graph with one matrix gets the
    columns side by side, in the signature's order. Raises BrokenModel where the two cannot be reconciled.
    """
    by_name = {spec.name: spec for spec in public}
    if len(graph) == 1 and graph[0].name not in by_name:
        only = graph[0]
        if len(public) == 1 and _fits(public[0], only):
            by_name = {only.name: public[0]}
        elif len(only.shape) == 2 and all(spec.column and _castable(spec, only) for spec in public):
            return _side_by_side([spec.name for spec in public], only, file)
    for spec in graph:
        given = by_name.get(spec.name)
        if given is None:
            raise BrokenModel(f"{file} has the input {spec.name!r}, which the signature does not name")
        if not _fits(given, spec):
            raise BrokenModel(
                f"{file} takes {spec.name!r} as {spec.datatype} {list(spec.shape)},"
                f" the signature says {given.datatype} {list(given.shape)}"
            )
    plan = [(spec.name, by_name[spec.name].name, _cast(by_name[spec.name], spec)) for spec in graph]
    if len(public) == len(graph) and all(name == source and cast is None for name, source, cast in plan):
        return None

    def feed(inputs: Tensors) -> Tensors:
        return {name: inputs[source] if cast is None else cast(inputs[source]) for name, source, cast in plan}

    return feed


def choose_outputs(public: Specs, graph: Specs) -> list[int] | None:
    """Which output of the graph each public one is: by name, else by place; None where they cannot be the same."""
    places = {spec.name: index for index, spec in enumerate(graph)}
    chosen = [places.get(spec.name, -1) for spec in public]
    if -1 in chosen:
        chosen = list(range(len(graph)))
    same = bool(public) and len(public) == len(chosen)
    return chosen if same and all(_fits(graph[i], spec) for i, spec in zip(chosen, public, strict=True)) else None


def picker(unzip: Convert | None, graph: TensorSpec, public: TensorSpec) -> Convert | None:
    """Turns one output of the graph into the public one; None where it is the same."""
    cast = _cast(graph, public)
    if unzip is None or cast is None:
        return unzip or cast
    return lambda rows: cast(unzip(rows))


def _side_by_side(names: list[str], only: TensorSpec, file: str) -> Feed:
    if only.shape[1] not in (-1, len(names)):
        raise BrokenModel(f"{file} takes {only.shape[1]} columns in {only.name!r}, the signature has {len(names)}")
    dtype = only.datatype.numpy

    def feed(inputs: Tensors) -> Tensors:
        columns = [inputs[name] for name in names]
        return {only.name: np.concatenate(columns, axis=1, dtype=dtype, casting="same_kind")}

    return feed


def _castable(given: TensorSpec, wanted: TensorSpec) -> bool:
    if DataType.BYTES in (given.datatype, wanted.datatype):
        return given.datatype is wanted.datatype
    return np.can_cast(given.datatype.numpy, wanted.datatype.numpy, "same_kind")


def _fits(given: TensorSpec, wanted: TensorSpec) -> bool:
    """Arrays of one spec can be handed over as the other: the same values, rounded at most, in the same order."""
    if not _castable(given, wanted):
        return False
    if len(given.shape) != len(wanted.shape):
        return {given.shape, wanted.shape} == {(-1,), (-1, 1)}
    return all(-1 in pair or pair[0] == pair[1] for pair in zip(given.shape, wanted.shape, strict=True))


def _cast(given: TensorSpec, wanted: TensorSpec) -> Convert | None:
    dtype = wanted.datatype.numpy
    if len(given.shape) != len(wanted.shape):
        shape = wanted.shape
        return lambda array: array.reshape(shape).astype(dtype, copy=False)
    return None if given.datatype.numpy == dtype else lambda array: array.astype(dtype)
