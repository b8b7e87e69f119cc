"""A plan is checked once; two signatures are compared before traffic is."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from fairlead.contracts.errors import UsageError
from fairlead.contracts.types import DataType, Missing, ParamSpec, Signature, TensorSpec
from fairlead.kit.codec.records import from_body, to_body
from fairlead.orchestrate.compatible import compatible
from fairlead.orchestrate.plan import Plan, Strategy, checked
from fairlead.orchestrate.verdict import gate

PLAN = Plan("churn", "churn-classifier", "1", "2")


def test_the_usual_plan_is_fine_and_survives_the_store() -> None:
    assert checked(PLAN) is PLAN
    assert from_body(Plan, to_body(PLAN)) == PLAN
    assert PLAN.comparisons == 16


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"candidate": "1"}, "champion already"),
        ({"candidate": ""}, "candidate is empty"),
        ({"alpha": 0.0}, "alpha"),
        ({"alpha": float("nan")}, "alpha"),
        ({"shadow": 101.0}, "shadow"),
        ({"on_timeout": "wait"}, "on_timeout"),
        ({"sticky": "header:X-Api-Key"}, "sticky header:X-Api-Key is a secret"),
        ({"min_calls": 0}, "min_calls"),
        ({"max_seconds": 5.0}, "max_seconds"),
        ({"gates": ()}, "no gate"),
        ({"gates": (gate("flip_rate"),)}, "no gate can be judged on live"),
        ({"gates": (gate("mean:x", 1.0),), "shadow": 10.0}, "in shadow"),
        ({"gates": (gate("error_rate"), gate("error_rate", 0.1))}, "twice"),
        ({"steps": ()}, "steps"),
        ({"steps": (50.0, 25.0)}, "must grow"),
        ({"steps": (0.0, 100.0)}, "above 0"),
        ({"steps": (100.0,)}, "no calls to compare with"),
        ({"strategy": Strategy.SHADOW}, "needs shadow"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        checked(replace(PLAN, **change))


def column(name: str, datatype: DataType = DataType.FP64, **more: Any) -> TensorSpec:
    return TensorSpec(name, datatype, (-1, 1), column=True, **more)


OLD = Signature((column("age"), column("city", DataType.BYTES)), (TensorSpec("p", DataType.FP32, (-1, 2)),))


def test_same_and_wider_signatures_are_compatible() -> None:
    assert compatible(OLD, OLD) == []
    wider = replace(OLD, inputs=(*OLD.inputs, column("new", required=False)), prediction=("p",))
    assert compatible(OLD, replace(wider, outputs=(*OLD.outputs, TensorSpec("why", DataType.BYTES, (-1,))))) == []
    tunable = replace(OLD, params=(ParamSpec("t", DataType.FP64, 1.0),))
    assert compatible(tunable, replace(tunable, params=(ParamSpec("t", DataType.FP64, 2.0),))) == []
    free = replace(OLD, outputs=(TensorSpec("p", DataType.FP32, (-1, -1)),))
    assert compatible(OLD, free) == []


@pytest.mark.parametrize(
    ("new", "said"),
    [
        (replace(OLD, inputs=(column("age"),)), "input 'city' is no longer taken"),
        (replace(OLD, inputs=(*OLD.inputs, column("plan"))), "input 'plan' is new and required"),
        (replace(OLD, inputs=(column("age", DataType.INT64), OLD.inputs[1])), "input 'age' was FP64 and is INT64"),
        (replace(OLD, inputs=(column("age", missing=Missing.FORBID), OLD.inputs[1])), "no longer takes missing values"),
        (replace(OLD, outputs=()), "output 'p' is gone"),
        (replace(OLD, outputs=(TensorSpec("p", DataType.FP32, (-1, 3)),)), r"output 'p' had shape \[-1, 2\]"),
        (replace(OLD, batched=False), "many rows"),
        (replace(OLD, tensor=True), "unnamed tensor"),
        (replace(OLD, outputs=(*OLD.outputs, TensorSpec("q", DataType.FP32, (-1,)))), "/invocations"),
    ],
)
def test_what_would_break_a_caller_is_named(new: Signature, said: str) -> None:
    (reason,) = compatible(OLD, new)
    assert re.search(said, reason)


def test_optional_inputs_and_parameters() -> None:
    old = replace(OLD, inputs=(column("age", required=False),), params=(ParamSpec("t", DataType.FP64),))
    new = replace(OLD, inputs=(column("age"),), params=(ParamSpec("t", DataType.INT64),))
    assert compatible(old, new) == ["input 'age' was optional and is required", "parameter 't' was FP64 and is INT64"]
    assert "parameter 't' is gone" in compatible(old, replace(new, params=()))
