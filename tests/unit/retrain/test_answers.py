"""What is read out of models' outputs, and how rows reach them."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest

from fairlead.contracts.errors import InvalidTensor
from fairlead.contracts.runtime import Traits
from fairlead.contracts.types import DataType, Missing, Signature, Tensors, TensorSpec
from fairlead.retrain.answers import Opened, Task, answer, task, tensors, timed
from fairlead.testing.models import Model

COLUMN = Signature((TensorSpec("x", DataType.FP64, (-1, 1), column=True),))
BINARY = Task(("no", "yes"))
LIKELY = np.array([[0.9, 0.1], [0.2, 0.8]])


def opened(function: Any, signature: Signature = COLUMN, traits: Traits | None = None) -> Opened:
    return Opened(Model(function, signature, traits), 7)


class TestTask:
    def test_classes_are_sorted_as_estimators_sort_them(self) -> None:
        assert task(np.array([10, 9, 2]), quantity=False).classes == ("2.0", "9.0", "10.0")
        assert task(np.array(["b", None, "a"], object), quantity=False).classes == ("a", "b")
        assert task(np.array([True, False]), np.array([1.0]), quantity=False).classes == ("0.0", "1.0")
        assert task(np.arange(9.0), quantity=True) == Task()

    def test_truth(self) -> None:
        assert BINARY.truth(np.array(["yes", "no", "maybe"], object)).tolist() == [1, 0, -1]
        assert Task().truth(np.array([[1], [2]])).tolist() == [1.0, 2.0]
        assert task(np.array([0, 1]), quantity=False).truth(np.array([True, False])).tolist() == [1, 0]

    def test_baselines(self) -> None:
        found = BINARY.baseline(np.array(["yes", "yes", "yes", "no"], object), 2)
        assert found.score is not None
        assert found.label is not None
        assert (found.score.tolist(), found.label.tolist()) == ([0.75, 0.75], [1, 1])
        mean = Task().baseline(np.array([1.0, 3.0]), 1).score
        assert mean is not None
        assert mean.tolist() == [2.0]
        three = Task(("a", "b", "c")).baseline(np.array(["c", "c", "a"], object), 1)
        assert three.label is not None
        assert three.label.tolist() == [2]

    @pytest.mark.parametrize(
        ("outputs", "score", "label"),
        [
            ({"label": np.array(["no", "yes"], object), "probabilities": LIKELY}, [0.1, 0.8], [0, 1]),
            ({"probabilities": LIKELY.astype(np.float32)}, [0.1, 0.8], [0, 1]),
            ({"p": np.array([0.1, 0.8])}, [0.1, 0.8], [0, 1]),
            ({"p": np.array([[0.1], [0.8]])}, [0.1, 0.8], [0, 1]),
            ({"label": np.array(["no", "odd"], object)}, None, [0, -1]),
            ({"label": np.array(["no", "yes"], object), "three": np.ones((2, 3))}, None, [0, 1]),
            ({"embedding": np.ones((2, 4))}, None, None),
        ],
    )
    def test_read(self, outputs: Tensors, score: Any, label: Any) -> None:
        found = BINARY.read(outputs)
        if score is None:
            assert found.score is None
        else:
            assert found.score == pytest.approx(score)
        assert (None if found.label is None else found.label.tolist()) == label

    def test_read_values_and_many_classes(self) -> None:
        value = Task().read({"prediction": np.array([[1.5], [2.5]])}).score
        assert value is not None
        assert value.tolist() == [1.5, 2.5]
        whole = Task().read({"prediction": np.array([1, 2])}).score
        assert whole is not None
        assert whole.dtype.kind == "f"
        assert Task().read({"text": np.array(["a"], object)}).score is None
        three = Task(("0.0", "1.0", "2.0")).read({"label": np.array([2, 0]), "probabilities": np.eye(3)[:2]})
        assert three.score is None
        assert three.label is not None
        assert three.label.tolist() == [2, 0]
        alone = Task(("0.0", "1.0", "2.0")).read({"probabilities": np.eye(3)[[2, 0]]}).label
        assert alone is not None
        assert alone.tolist() == [2, 0]


class TestTensors:
    def test_columns_get_their_type_shape_and_missing_value(self) -> None:
        signature = Signature(
            (
                TensorSpec("n", DataType.FP32, (-1, 1), column=True),
                TensorSpec("i", DataType.INT64, (-1, 1), column=True),
                TensorSpec("t", DataType.BYTES, (-1, 1), True, missing=Missing.VALUE, missing_value="none"),
                TensorSpec("o", DataType.BYTES, (-1,), missing=Missing.NONE),
            )
        )
        text = np.array(["a", None], object)
        table = {"n": np.array([1, None], object), "i": np.array([1, 2], np.int32), "t": text, "o": text}
        found = tensors(table, signature, ())
        assert found["n"].dtype == np.float32
        assert found["n"].shape == found["i"].shape == found["t"].shape == (2, 1)
        assert np.isnan(found["n"][1, 0])
        assert found["t"][:, 0].tolist() == ["a", "none"]
        assert found["o"].tolist() == ["a", None]

    def test_a_matrix_gets_the_features_side_by_side(self) -> None:
        signature = Signature((TensorSpec("input", DataType.FP32, (-1, 3)),))
        table = {"a": np.array([1, 2]), "b": np.array([[3.0, 4.0], [5.0, 6.0]]), "y": np.array([0, 1])}
        assert tensors(table, signature, ("a", "b"))["input"].tolist() == [[1, 3, 4], [2, 5, 6]]
        named = Signature((TensorSpec("b", DataType.FP64, (-1, 2)),))
        assert tensors(table, named, ("a", "b"))["b"].tolist() == [[3, 4], [5, 6]]

    def test_a_column_that_is_not_there(self) -> None:
        with pytest.raises(InvalidTensor, match="takes the column 'x', which the data lack"):
            tensors({"y": np.zeros(2)}, COLUMN, ())


class TestAnswer:
    table: ClassVar[dict[str, np.ndarray[Any, Any]]] = {"x": np.linspace(0, 1, 5000)}

    @pytest.mark.parametrize(("limit", "most"), [(0, 4096), (100, 100)])
    def test_in_parts(self, limit: int, most: int) -> None:
        seen: list[int] = []

        def predict(inputs: Tensors) -> Tensors:
            seen.append(len(inputs["x"]))
            return {"p": inputs["x"][:, 0]}

        found = answer(opened(predict, traits=Traits(max_rows=limit)), self.table, ("x",), BINARY)
        assert found.score == pytest.approx(self.table["x"])
        assert (max(seen), sum(seen), found.size, found.problem) == (most, 5000, 7, "")

    def test_a_model_that_raises_has_a_problem(self) -> None:
        found = answer(opened(lambda inputs: {"p": 1 / 0}), self.table, ("x",), BINARY)
        assert (found.score, found.problem) == (None, "ZeroDivisionError: division by zero")
        assert "lack" in answer(opened(lambda inputs: {}), {"y": np.zeros(3)}, ("y",), BINARY).problem


@pytest.mark.parametrize(("first", "rounds"), [(0.001, 101), (0.03, 32), (10.0, 11)])
def test_timing_takes_turns_and_no_longer_than_it_may(first: float, rounds: int) -> None:
    now = [0.0]
    calls: list[tuple[str, int]] = []

    def slow(name: str, seconds: float) -> Any:
        def predict(inputs: Tensors) -> Tensors:
            calls.append((name, len(inputs["x"])))
            now[0] += seconds * (100 if len(calls) < 3 else 1)  # a first call is not like the others
            return {"p": inputs["x"][:, 0]}

        return Model(predict, COLUMN)

    pair = slow("a", first), slow("b", 0.001)
    found = timed(pair, {"x": np.zeros(100)}, ("x",), lambda: now[0])
    assert len(found) <= rounds
    assert found[:, 0] == pytest.approx(first)
    assert found[:, 1] == pytest.approx(0.001)
    assert {rows for _, rows in calls} == {64}
    assert [name for name, _ in calls[:8]] == ["b", "a", "a", "b", "b", "a", "a", "b"]
