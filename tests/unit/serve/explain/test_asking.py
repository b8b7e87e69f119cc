"""Explanations through a live endpoint."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy as np
import pytest

from fairlead.contracts.access import Caller
from fairlead.contracts.errors import (
    DeadlineExceeded,
    InvalidParameter,
    InvalidTensor,
    ModelFailed,
    Unavailable,
)
from fairlead.contracts.types import DataType, Reply, Signature, Tensors, TensorSpec
from fairlead.kit.clock import SystemClock
from fairlead.serve.batcher import Policy
from fairlead.serve.call import Call
from fairlead.serve.endpoint import Live, Placement
from fairlead.serve.explain.asking import MOST_ROWS, Explainer, Explanations, explain
from fairlead.testing.models import Model
from fairlead.testing.sinks import MemoryMeter

FP32, FP64, BYTES, INT64 = DataType.FP32, DataType.FP64, DataType.BYTES, DataType.INT64


def column(name: str, datatype: DataType) -> TensorSpec:
    return TensorSpec(name, datatype, (-1, 1), column=True)


TABLE = Signature(
    (column("age", INT64), column("city", BYTES), column("income", FP64)),
    (TensorSpec("label", INT64, (-1,)), TensorSpec("probabilities", FP64, (-1, 2))),
)
MATRIX = Signature((TensorSpec("x", FP64, (-1, 12)),), (TensorSpec("y", FP64, (-1, 1)),))
WEIGHTS = np.arange(12.0)


def table_model(inputs: Tensors) -> Tensors:
    rich = (inputs["city"][:, 0] == "berne") * 0.5
    p = inputs["age"][:, 0] / 100 + rich + inputs["income"][:, 0] * 1e-3
    return {"label": (p > 0.5).astype(np.int64), "probabilities": np.stack([1 - p, p], axis=1)}


def matrix_model(inputs: Tensors) -> Tensors:
    return {"y": inputs["x"] @ WEIGHTS[:, None]}


BACKGROUND: Tensors = {
    "age": np.array([[20], [40]]),
    "city": np.array([["basle"], ["berne"]], object),
    "income": np.array([[100.0], [300.0]]),
}
ROW: Tensors = {"age": np.array([[50]]), "city": np.array([["berne"]], object), "income": np.array([[100.0]])}
MANY: Tensors = {"x": np.random.default_rng(0).normal(size=(100, 12))}


def live(model: Model, rows: int = 64) -> Live:
    return Live(
        "e", "1", model, policy=Policy(rows), placement=Placement(), meter=MemoryMeter(), clock=SystemClock(),
        loop=asyncio.get_running_loop(),
    )  # fmt: skip


async def ask(
    one: Live, explainer: Explainer, inputs: Tensors, seconds: float = 30.0, **parameters: Any
) -> tuple[Reply, Explanations]:
    now = SystemClock.now
    try:
        return await explain(one, explainer.asked(parameters), inputs, parameters, now() + seconds, now)
    finally:
        one.close()


async def test_columns_of_every_kind_get_their_shares() -> None:
    reply, (found,) = await ask(live(Model(table_model, TABLE)), Explainer(BACKGROUND), ROW)
    assert reply.outputs["label"].tolist() == [1]
    assert found["output"] == "probabilities"
    assert found["column"] == 1
    assert found["exact"]
    assert found["background_rows"] == 2
    assert found["value"] == pytest.approx(1.1)
    shares = found["attributions"]
    assert shares["age"] == pytest.approx(0.2)  # (50 - 30) / 100
    assert shares["city"] == pytest.approx(0.25)
    assert shares["income"] == pytest.approx(-0.1)
    assert found["base"] + sum(shares.values()) == pytest.approx(found["value"])


@pytest.mark.parametrize("rows", [7, 64])
async def test_columns_of_one_tensor_are_numbered_and_many_are_sampled(rows: int) -> None:
    row = np.full((2, 12), 2.0)
    row[1] = 3.0
    _, found = await ask(live(Model(matrix_model, MATRIX), rows), Explainer(MANY, samples=16), {"x": row})
    mean = MANY["x"][:16].mean(axis=0)
    for value, one in zip((2.0, 3.0), found, strict=True):
        shares = list(one["attributions"].values())
        np.testing.assert_allclose(shares, WEIGHTS * (value - mean), atol=1e-9)
        assert list(one["attributions"])[:2] == ["x[0]", "x[1]"]
        assert not one["exact"]
        assert set(one["standard_errors"]) == set(one["attributions"])
        assert "column" not in one


async def test_the_caller_chooses_what_is_explained() -> None:
    _, (found,) = await ask(live(Model(table_model, TABLE)), Explainer(BACKGROUND), ROW, column=0)
    assert found["value"] == pytest.approx(-0.1)
    _, (found,) = await ask(live(Model(table_model, TABLE)), Explainer(BACKGROUND), ROW, output="label")
    assert found["value"] == 1


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"output": "labels"}, "no output 'labels'; did you mean label?"),
        ({"output": 1}, "expected the name of an output"),
        ({"column": 2}, "column is 2, and output 'probabilities' has 2"),
        ({"column": -1}, "expected the number of a column"),
        ({"samples": 0}, "expected a whole number from 1 to 4096"),
        ({"samples": True}, "expected a whole number"),
    ],
)
async def test_what_cannot_be_explained_is_told(parameters: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        await ask(live(Model(table_model, TABLE)), Explainer(BACKGROUND), ROW, **parameters)
    assert said in str(caught.value)


async def test_two_outputs_of_scores_must_be_told_apart() -> None:
    two = Signature(MATRIX.inputs, (*MATRIX.outputs, TensorSpec("z", FP64, (-1,))))
    model = Model(lambda inputs: {**matrix_model(inputs), "z": inputs["x"][:, 0]}, two)
    with pytest.raises(InvalidParameter, match="say which output is explained .*: y, z"):
        await ask(live(model), Explainer(MANY), {"x": MANY["x"][:1]})


async def test_without_background_rows_nothing_is_made_up() -> None:
    with pytest.raises(Unavailable, match=r"give explain.background in the spec, a CSV"):
        await ask(live(Model(matrix_model, MATRIX)), Explainer(), {"x": MANY["x"][:1]})


async def test_what_is_no_table_is_told() -> None:
    image = Signature((TensorSpec("x", FP64, (-1, 2, 2)),), (TensorSpec("y", FP64, (-1, 1)),))
    model = Model(lambda inputs: {"y": inputs["x"].sum(axis=(1, 2))[:, None]}, image)
    rows = {"x": np.zeros((1, 2, 2))}
    with pytest.raises(InvalidTensor, match=r"explanations are of tables.*'x' has shape \[1, 2, 2\]"):
        await ask(live(model), Explainer(rows), rows)
    with pytest.raises(InvalidTensor, match="at most 64 are explained at once"):
        await ask(live(Model(matrix_model, MATRIX)), Explainer(MANY), {"x": np.zeros((MOST_ROWS + 1, 12))})
    wide = Signature((TensorSpec("x", FP64, (-1, -1)),), MATRIX.outputs)
    model = Model(lambda inputs: {"y": inputs["x"].sum(axis=1, keepdims=True)}, wide)
    with pytest.raises(InvalidTensor, match="other columns than the background rows"):
        await ask(live(model), Explainer(MANY), {"x": np.zeros((1, 11))})
    with pytest.raises(InvalidParameter, match="lower 'samples'"):
        await ask(live(model), Explainer({"x": np.zeros((1, 400))}), {"x": np.zeros((1, 400))}, samples=4096)


async def test_an_answer_that_is_no_number_explains_nothing() -> None:
    model = Model(lambda inputs: {"y": inputs["x"][:, :1] * np.nan}, MATRIX)
    with pytest.raises(ModelFailed, match="not finite"):
        await ask(live(model), Explainer(MANY), {"x": MANY["x"][:1]})


async def test_all_of_it_is_under_the_one_deadline_and_who_leaves_takes_everything_along() -> None:
    gate = threading.Event()

    def slow(inputs: Tensors) -> Tensors:
        gate.wait(10)
        return matrix_model(inputs)

    one = live(Model(slow, MATRIX))
    with pytest.raises(DeadlineExceeded, match="before everything was asked"):
        await ask(one, Explainer(MANY), {"x": MANY["x"][:1]}, seconds=0.03)
    other = live(Model(slow, MATRIX))
    task = asyncio.ensure_future(ask(other, Explainer(MANY), {"x": MANY["x"][:1]}))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.set()


async def test_the_rows_are_the_callers_and_the_questions_nobodys() -> None:
    seen: list[tuple[str, int]] = []

    def look(call: Call) -> None:
        seen.append((call.caller.name if call.caller else "", call.rows))
        assert not call.metered

    one = Live(
        "e", "1", Model(table_model, TABLE), policy=Policy(64), placement=Placement(), meter=MemoryMeter(),
        clock=SystemClock(), loop=asyncio.get_running_loop(), stages=(look,),
    )  # fmt: skip
    web, now = Caller("web", "key", ()), SystemClock.now
    await explain(one, Explainer(BACKGROUND), ROW, {}, now() + 30, now, web)
    one.close()
    assert seen[0] == ("web", 1)
    assert len(seen) > 1
    assert {name for name, _ in seen[1:]} == {""}
