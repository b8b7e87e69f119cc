"""Graphs and signatures that these tests share."""

from __future__ import annotations

from collections.abc import Callable

from fairlead.contracts.graph import Fallback, Graph, Step
from fairlead.contracts.types import DataType, Signature, TensorSpec

FP32, INT64, BYTES = DataType.FP32, DataType.INT64, DataType.BYTES


def spec(name: str, datatype: DataType = FP32, shape: tuple[int, ...] = (-1,)) -> TensorSpec:
    return TensorSpec(name, datatype, shape)


SCALER = Signature((spec("X", shape=(-1, 2)),), (spec("Y", shape=(-1, 2)),))
MODEL = Signature((spec("X", shape=(-1, 2)),), (spec("score"), spec("label", INT64)))
SIGNATURES = {"scaler": SCALER, "risk-a": MODEL, "risk-b": MODEL}

SCALED = Step("scaled", "scaler", {"X": "features"})
A = Step("a", "risk-a", {"X": "scaled.Y"})
B = Step("b", "risk-b", {"X": "scaled.Y"})
BOTH = Step("both", combine="mean", of=("a.score", "b.score"))
RISK = Graph((SCALED, A, B, BOTH), outputs={"score": "both"})
"""transform -> two models -> mean."""


def known(**more: Signature) -> Callable[[str], Signature]:
    return lambda name: {**SIGNATURES, **more}[name]


def back(**value: float | str) -> Fallback:
    return Fallback(value)
