from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairlead.contracts.errors import InvalidTensor, ModelFailed
from fairlead.contracts.runtime import Artefact, LoadedModel, Traits
from fairlead.contracts.types import DataType, Signature, Tensors, TensorSpec
from fairlead.package.bundle import Bundle
from fairlead.package.doctor import Finding, Level, examine, examine_endpoint, examine_other
from fairlead.package.manifest import Manifest
from fairlead.testing.models import TWO_COLUMNS, EchoModel, Model

EXAMPLE: Tensors = {"x": np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])}
MADE = Manifest("m", TWO_COLUMNS, "onnx", "model.onnx", why="ONNX serves.", parity={"agrees": True})
BUNDLE = Bundle("m", "1", "./m", Artefact("onnx"), "digest", manifest=MADE, example=EXAMPLE)


def no_curve(row: Tensors) -> list[tuple[int, float]]:
    return []


def checked(model: LoadedModel | None = None, bundle: Bundle = BUNDLE) -> dict[str, Finding]:
    return {finding.check: finding for finding in examine(bundle, model or EchoModel(), no_curve)}


def test_a_healthy_model_has_nothing_to_fix() -> None:
    found = examine(BUNDLE, EchoModel(), lambda row: [(1, 1e-5), (64, 1e-4)])
    assert {finding.level for finding in found} == {Level.OK}
    assert found[-1].message == "1 row 10 us, 64 rows 100 us; at best 640,000 rows a second"


def frozen() -> Model:
    return EchoModel(traits=Traits(max_rows=1, platform="a_b"))


def frozen_to(rows: int) -> Model:
    def fixed(spec: TensorSpec) -> TensorSpec:
        return replace(spec, shape=(rows, *spec.shape[1:]))

    inputs, outputs = (tuple(fixed(spec) for spec in specs) for specs in (TWO_COLUMNS.inputs, TWO_COLUMNS.outputs))
    return EchoModel(Signature(inputs, outputs, batched=False))


def answering(function: Callable[[np.ndarray[Any, Any]], Any]) -> Model:
    return Model(lambda inputs: {"y": function(inputs["x"])})


def raising(inputs: Tensors) -> Tensors:
    raise ValueError("no\nsuch thing")


CALLS = iter(range(100))


@pytest.mark.parametrize(
    ("model", "check", "level", "said"),
    [
        (frozen(), "batch", Level.FAIL, "frozen to one row"),
        (EchoModel(replace(TWO_COLUMNS, batched=False)), "batch", Level.WARN, "one by one"),
        (frozen_to(4), "batch", Level.FAIL, "frozen to 4 rows"),
        (EchoModel(Signature((), TWO_COLUMNS.outputs)), "signature", Level.WARN, "names no inputs"),
        (EchoModel(Signature(TWO_COLUMNS.inputs)), "outputs", Level.WARN, "names no outputs"),
        (Model(raising), "example", Level.FAIL, "fails on its own input example: ValueError: no"),
        (Model(lambda inputs: {"z": inputs["x"]}), "example", Level.FAIL, "promises the output 'y'"),
        (answering(lambda x: x.astype(np.float32)), "example", Level.FAIL, "expected FP64"),
        (answering(lambda x: x[:, 0]), "example", Level.FAIL, "found float64"),
        (answering(lambda x: x + next(CALLS)), "repeatable", Level.WARN, "different answers"),
        (answering(lambda x: x - x.mean(axis=0)), "rows", Level.FAIL, "mixes rows"),
        (answering(lambda x: np.where(x > 4, np.nan, x)), "nan", Level.FAIL, "'y' holds NaN"),
        (answering(np.ones_like), "constant", Level.WARN, "the same for all 3 rows"),
    ],
)
def test_what_is_wrong_with_a_model(model: Model, check: str, level: Level, said: str) -> None:
    bare = check in ("signature", "outputs")
    found = checked(model, replace(BUNDLE, example=None) if bare else BUNDLE)
    assert found[check].level is level
    assert said in found[check].message
    assert "\n" not in found[check].message


@pytest.mark.parametrize(
    ("change", "check", "level", "said"),
    [
        ({"example": None}, "example", Level.WARN, "no input example"),
        ({"manifest": None}, "package", Level.WARN, "no manifest"),
        ({"manifest": replace(MADE, runtime="sklearn", why="It differs.")}, "package", Level.OK, "It differs."),
        ({"manifest": replace(MADE, runtime="sklearn", parity=None, why="")}, "package", Level.WARN, "no parity"),
        ({"notes": ("numpy 1 made it, 2 runs",)}, "versions", Level.WARN, "numpy 1"),
        ({"artefact": Artefact("sklearn", trusted=True)}, "trust", Level.WARN, "vouched for"),
        ({"artefact": Artefact("python", target="a:B")}, "trust", Level.OK, "your own code"),
        (
            {"artefact": Artefact("onnx", details={"opsets": {"": 7}, "ir_version": 3})},
            "opset",
            Level.WARN,
            "ai.onnx 7",
        ),
        ({"artefact": Artefact("onnx", details={"opsets": {"": 21}})}, "opset", Level.OK, "ai.onnx 21"),
    ],
)
def test_what_is_wrong_with_a_package(change: dict[str, Any], check: str, level: Level, said: str) -> None:
    found = checked(bundle=replace(BUNDLE, **change))
    assert found[check].level is level
    assert said in found[check].message


def test_files_are_weighed_and_requirements_read(tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text("x" * 2048)
    (tmp_path / "requirements.txt").write_text("# made by hand\nnumpy==2.0\nscipy>=1\n-e .\nlocal @ file:///x\n")
    bundle = replace(BUNDLE, artefact=Artefact("mlflow", tmp_path))
    found = checked(bundle=bundle)
    assert found["size"].message == "2 KiB"
    assert found["requirements"] == Finding(Level.WARN, "requirements", "not pinned: scipy>=1; write name==version")
    (tmp_path / "requirements.txt").write_text("numpy==2.0\n")
    assert checked(bundle=bundle)["requirements"].level is Level.OK


METADATA = {
    "name": "churn",
    "inputs": [
        {"name": "n", "datatype": "FP64", "shape": [-1, 1]},
        {"name": "s", "datatype": "BYTES", "shape": [-1, 1]},
    ],
}


class Ticks:
    """A clock that moves a tenth of a second whenever it is read."""

    time = 0.0

    def __call__(self) -> float:
        self.time += 0.1
        return self.time


def test_an_endpoint_is_asked_with_neutral_values() -> None:
    asked: list[Tensors] = []

    def infer(row: Tensors) -> Tensors:
        asked.append(row)
        return {"label": np.array(["yes"], object)}

    found = {one.check: one for one in examine_endpoint(METADATA, ready=True, infer=infer, now=Ticks())}
    assert {one.level for one in found.values()} == {Level.OK}
    assert found["answers"].message == "answers label in 10.0 ms a call"
    assert asked[0]["n"].tolist() == [[0.0]]
    assert asked[0]["s"].tolist() == [[""]]
    assert asked[0]["n"].dtype == DataType.FP64.numpy


@pytest.mark.parametrize(
    ("error", "level"), [(InvalidTensor("s: unknown value"), Level.WARN), (ModelFailed("id 7"), Level.FAIL)]
)
def test_an_endpoint_that_does_not_answer(error: Exception, level: Level) -> None:
    def infer(row: Tensors) -> Tensors:
        raise error

    found = {one.check: one for one in examine_endpoint(METADATA, ready=True, infer=infer, now=Ticks())}
    assert found["answers"].level is level
    assert str(error) in found["answers"].message


def test_an_endpoint_that_is_not_ready_or_answers_nan() -> None:
    def nan(row: Tensors) -> Tensors:
        return {"y": np.array([np.nan])}

    assert examine_endpoint(METADATA, ready=False, infer=nan, now=Ticks())[0].level is Level.FAIL
    assert examine_endpoint(METADATA, ready=True, infer=nan, now=Ticks())[-1].check == "nan"


def test_a_spec_of_another_rank_is_a_misfit() -> None:
    flat = replace(TWO_COLUMNS, outputs=(TensorSpec("y", DataType.FP64, (-1,)),))
    assert checked(EchoModel(flat))["example"].level is Level.FAIL


@pytest.mark.parametrize(("ready", "level"), [(True, Level.OK), (False, Level.FAIL)])
def test_a_language_model_is_asked_nothing(ready: bool, level: Level) -> None:
    first, second = examine_other("chat", ready, "call /v1/chat/completions")
    assert (first.check, first.level) == ("ready", level)
    assert (second.check, second.level) == ("answers", Level.WARN)
    assert "call /v1/chat/completions" in second.message
