from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fairlead.adapters.runtimes.python import PythonModel, PythonRuntime
from fairlead.contracts.errors import BrokenModel, MissingExtra, ModelFailed
from fairlead.contracts.runtime import Artefact, RuntimeOptions
from fairlead.contracts.types import DataType, Signature, Tensors, TensorSpec

Load = Callable[..., PythonModel]
ROWS: Tensors = {"x": np.array([[1.0, 2.0], [3.0, 4.0]])}


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Write a module, load ``Predictor`` from it."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write_and_load(source: str, target: str = "users_module:Predictor", path: Path | None = None) -> PythonModel:
        (tmp_path / "users_module.py").write_text(textwrap.dedent(source))
        monkeypatch.delitem(sys.modules, "users_module", raising=False)
        return PythonRuntime().load(Artefact("python", path, target=target), RuntimeOptions())

    return write_and_load


def test_the_smallest_class(load: Load) -> None:
    model = load("""
        class Predictor:
            def predict(self, inputs):
                return inputs["x"] * 2
    """)
    assert model.signature == Signature(())
    assert model.predict(ROWS, {})["output"].tolist() == [[2, 4], [6, 8]]


def test_declared_tensors_are_the_signature(load: Load) -> None:
    model = load("""
        class Predictor:
            inputs = [("x", "FP64", [-1, 2])]
            outputs = [("total", "FP32", [-1]), ("name", "BYTES", [-1])]
            max_rows = 7
            releases_gil = True
            def predict(self, inputs):
                return inputs["x"].sum(axis=1), ["a", "b"]
    """)
    answer = model.predict(ROWS, {})
    assert model.signature.inputs == (TensorSpec("x", DataType.FP64, (-1, 2)),)
    assert answer["total"].dtype == np.float32
    assert answer["name"].tolist() == ["a", "b"]
    assert answer["name"].dtype == object
    assert model.traits.max_rows == 7
    assert model.traits.releases_gil


def test_load_is_given_the_path(load: Load, tmp_path: Path) -> None:
    source = """
        class Predictor:
            def load(self, path):
                self.path = path
            def predict(self, inputs):
                return {"path": [str(self.path)]}
    """
    assert load(source).predict({}, {})["path"].tolist() == ["None"]
    assert load(source, path=tmp_path).predict({}, {})["path"].tolist() == [str(tmp_path)]


def test_parameters_are_passed_to_those_who_take_them(load: Load) -> None:
    model = load("""
        class Predictor:
            def predict(self, inputs, parameters):
                return inputs["x"] * parameters["factor"]
    """)
    assert model.predict(ROWS, {"factor": 10})["output"].tolist() == [[10, 20], [30, 40]]


def test_the_arrays_are_the_predictors_own(load: Load) -> None:
    model = load("""
        class Predictor:
            def predict(self, inputs):
                inputs["x"] *= 2
                return inputs
    """)
    assert model.predict(ROWS, {})["x"].tolist() == [[2, 4], [6, 8]]
    assert ROWS["x"].tolist() == [[1, 2], [3, 4]]


def test_a_predictor_may_fill_the_same_array_every_time(load: Load) -> None:
    """A call that is split keeps the answer to its first rows while the next ones run."""
    model = load("""
        import numpy as np
        class Predictor:
            outputs = [("y", "FP64", [-1, 2])]
            def load(self, path):
                self.room = np.zeros((8, 2))
            def predict(self, inputs):
                self.room[: len(inputs["x"])] = inputs["x"]
                return {"y": self.room[: len(inputs["x"])]}
    """)
    first = model.predict(ROWS, {})["y"]
    model.predict({"x": ROWS["x"] * 100}, {})
    assert first.tolist() == ROWS["x"].tolist()


def test_sys_exit_ends_a_call_and_not_the_server(load: Load) -> None:
    model = load("""
        class Predictor:
            def predict(self, inputs):
                raise SystemExit(3)
    """)
    with pytest.raises(ModelFailed, match="predict left with SystemExit: 3"):
        model.predict(ROWS, {})
    with pytest.raises(BrokenModel, match="importing users_module:Predictor failed: SystemExit: 4"):
        load("raise SystemExit(4)")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("Predictor = 3", "is a int, not a class"),
        ("class Predictor: pass", "has no method predict"),
        ("class Predictor:\n async def predict(self, inputs): ...", "predict is async; make it a plain def"),
        ("class Predictor:\n async def load(self, path): ...\n def predict(self, x): ...", "load is async"),
        ("class Predictor:\n def __init__(self, a): ...\n def predict(self, x): ...", "failed to load: TypeError"),
        ("class Predictor:\n def load(self, p): 1 / 0\n def predict(self, x): ...", "ZeroDivisionError"),
        ("class Predictor:\n inputs = [('x', 'FLOAT', [1])]\n def predict(self, x): ...", "must list"),
        ("class Predictor:\n def load(self, p): raise SystemExit(3)\n def predict(self, x): ...", "SystemExit: 3"),
        ("raise SystemExit(3)", "importing users_module:Predictor failed: SystemExit"),
        ("1 / 0", "importing users_module:Predictor failed: ZeroDivisionError"),
        ("Other = 1", "has no 'Predictor'"),
    ],
)
def test_what_is_no_predictor_is_refused(load: Load, source: str, said: str) -> None:
    with pytest.raises(BrokenModel, match=said):
        load(source)


def test_a_module_that_is_not_there(load: Load) -> None:
    with pytest.raises(BrokenModel, match="no module named 'nowhere'"):
        load("", target="nowhere:Predictor")


def test_a_library_that_is_not_there(load: Load) -> None:
    with pytest.raises(MissingExtra, match="'frobnicate'"):
        load("import frobnicate")


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ("{'z': inputs['x']}", "gave no output 'y'; it gave z"),
        ("(inputs['x'], inputs['x'])", "gave 2 outputs where 1 are declared"),
    ],
)
def test_answers_that_are_not_those_declared(load: Load, returned: str, said: str) -> None:
    model = load(f"""
        class Predictor:
            outputs = [("y", "FP64", [-1, 2])]
            def predict(self, inputs):
                return {returned}
    """)
    with pytest.raises(ModelFailed, match=said):
        model.predict(ROWS, {})


def test_close_reaches_the_predictor_once(load: Load, tmp_path: Path) -> None:
    model = load(f"""
        class Predictor:
            def predict(self, inputs):
                return inputs
            def close(self):
                with open({str(tmp_path / "closed")!r}, "a") as file:
                    file.write("x")
    """)
    model.close()
    model.close()
    assert (tmp_path / "closed").read_text() == "x"
    with pytest.raises(ModelFailed, match="closed"):
        model.predict(ROWS, {})
