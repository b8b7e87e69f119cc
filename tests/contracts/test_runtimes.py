"""The runtime check-suite over every runtime that is installed. One without a sample here fails."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import skops.io
from onnx import TensorProto, helper
from sklearn.linear_model import LogisticRegression

from fairlead.contracts.errors import BrokenModel
from fairlead.contracts.runtime import Artefact, LoadedModel, Runtime, RuntimeOptions, Traits
from fairlead.contracts.types import DataType, Signature, Tensors, TensorSpec
from fairlead.kit import plugins
from fairlead.testing import runtime_suite
from fairlead.testing.models import TWO_COLUMNS, EchoModel, Model
from fairlead.testing.runtime_suite import Sample

ROWS: Tensors = {"x": np.array([[0.0, 1.0], [2.0, -3.0], [0.5, 0.25], [9.0, 9.0]])}


def onnx_sample(folder: Path) -> Sample:
    path = folder / "model.onnx"
    x = helper.make_tensor_value_info("x", TensorProto.DOUBLE, ["rows", 2])
    y = helper.make_tensor_value_info("y", TensorProto.DOUBLE, ["rows", 2])
    graph = helper.make_graph([helper.make_node("Exp", ["x"], ["y"])], "g", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), str(path))
    broken = folder / "broken.onnx"
    broken.write_bytes(path.read_bytes()[:-20])
    return Sample(Artefact("onnx", path), ROWS, Artefact("onnx", broken))


def estimator() -> LogisticRegression:
    return LogisticRegression().fit(ROWS["x"], ["low", "low", "low", "high"])


def sklearn_sample(folder: Path) -> Sample:
    path = folder / "model.skops"
    skops.io.dump(estimator(), path)
    broken = folder / "broken.skops"
    broken.write_bytes(path.read_bytes()[:200])
    return Sample(Artefact("sklearn", path), {"input": ROWS["x"]}, Artefact("sklearn", broken))


def python_sample(folder: Path) -> Sample:
    target = "fairlead.testing.models:SumPredictor"
    return Sample(Artefact("python", target=target), ROWS, Artefact("python", target="fairlead.testing.models:Nobody"))


def mlflow_sample(folder: Path) -> Sample:
    signature = Signature(
        inputs=(TensorSpec("input", DataType.FP64, (-1, 2)),),
        outputs=(TensorSpec("output", DataType.BYTES, (-1,)),),
        tensor=True,
    )
    path = plugins.load("fairlead.converters", "sklearn-mlflow")().convert(estimator(), signature, folder / "model")
    empty = folder / "empty"
    empty.mkdir()
    artefact = Artefact("mlflow", path, signature=signature, trusted=True)
    return Sample(artefact, {"input": ROWS["x"]}, Artefact("mlflow", empty, trusted=True))


def xgboost_sample(folder: Path) -> Sample:
    path = folder / "model.ubj"
    xgboost = pytest.importorskip("xgboost")
    rows = np.random.default_rng(0).normal(size=(50, 2))
    xgboost.XGBClassifier(n_estimators=5).fit(rows, rows.sum(axis=1) > 0).save_model(path)
    broken = folder / "broken.ubj"
    broken.write_bytes(path.read_bytes()[:200])
    return Sample(Artefact("xgboost", path), {"input": ROWS["x"].astype(np.float32)}, Artefact("xgboost", broken))


def lightgbm_sample(folder: Path) -> Sample:
    path = folder / "model.txt"
    lightgbm = pytest.importorskip("lightgbm")
    rows = np.random.default_rng(0).normal(size=(50, 2))
    booster = lightgbm.train({"verbosity": -1}, lightgbm.Dataset(rows, rows.sum(axis=1)), 5)
    booster.save_model(path)
    broken = folder / "broken.txt"
    broken.write_bytes(path.read_bytes()[:800])
    return Sample(Artefact("lightgbm", path), {"input": ROWS["x"]}, Artefact("lightgbm", broken))


def litert_sample(folder: Path) -> Sample:
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed: pip install 'fairlead[litert]'")
    from tflite_files import exponential

    path = exponential(folder / "model.tflite")
    broken = folder / "broken.tflite"
    broken.write_bytes(path.read_bytes()[:100])
    return Sample(Artefact("litert", path), {"x": ROWS["x"].astype(np.float32)}, Artefact("litert", broken))


def torch_sample(folder: Path) -> Sample:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'fairlead[torch]'")
    from torch_files import Exp, save

    path = save(folder / "model.pt2", Exp(), torch.zeros(3, 2, dtype=torch.float64))
    broken = folder / "broken.pt2"
    broken.write_bytes(path.read_bytes()[:200])
    return Sample(Artefact("torch", path, trusted=True), ROWS, Artefact("torch", broken, trusted=True))


def tensorflow_sample(folder: Path) -> Sample:
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed: pip install 'fairlead[tensorflow]'")
    from tensorflow_files import net

    broken = net(folder / "broken")
    (broken / "saved_model.pb").write_bytes((broken / "saved_model.pb").read_bytes()[:200])
    rows = {"x": np.arange(12, dtype=np.float32).reshape(3, 4)}
    return Sample(Artefact("tensorflow", net(folder / "net")), rows, Artefact("tensorflow", broken))


SAMPLES: dict[str, Callable[[Path], Sample]] = {
    "onnx": onnx_sample,
    "sklearn": sklearn_sample,
    "python": python_sample,
    "mlflow": mlflow_sample,
    "xgboost": xgboost_sample,
    "lightgbm": lightgbm_sample,
    "litert": litert_sample,
    "torch": torch_sample,
    "tensorflow": tensorflow_sample,
}


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Sample]:
    """One made when it is asked for first: a library that is not there skips its own runtime only."""
    return functools.cache(lambda name: SAMPLES[name](tmp_path_factory.mktemp(name)))


@pytest.mark.parametrize("check", runtime_suite.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", plugins.names("fairlead.runtimes"))
def test_runtime(name: str, check: Callable[[Runtime, Sample], None], samples: Callable[[str], Sample]) -> None:
    assert name in SAMPLES, f"the runtime {name!r} has no sample: add one to SAMPLES"
    sample = samples(name)
    check(plugins.load("fairlead.runtimes", name)(), sample)


class Fake:
    """A runtime that loads what it was given, to see that the suite can fail."""

    def __init__(self, make: Callable[[], LoadedModel]) -> None:
        self.make = make

    def load(self, artefact: Artefact, options: RuntimeOptions) -> LoadedModel:
        if artefact.target or artefact.path:
            raise BrokenModel("there is no such model")
        return self.make()


SAMPLE = Sample(Artefact("fake"), ROWS, Artefact("fake", target="wrong"))


def changes_its_input(inputs: Tensors) -> Tensors:
    inputs["x"] *= 2
    return {"y": inputs["x"].copy()}


def drifting() -> Callable[[Tensors], Tensors]:
    calls = iter(range(1000))
    return lambda inputs: {"y": inputs["x"] + next(calls)}


class Reusing(EchoModel):
    buffer = np.zeros((4, 2))

    def _echo(self, inputs: Tensors) -> Tensors:
        self.buffer[: len(inputs["x"])] = inputs["x"]
        return {"y": self.buffer[: len(inputs["x"])]}


NO_OUTPUTS = Signature(TWO_COLUMNS.inputs)
THREE_ROWS_AT_MOST = Traits(max_rows=3, platform="a_b")

CULPRITS: dict[str, Callable[[], LoadedModel]] = {
    "signature_is_complete": lambda: EchoModel(NO_OUTPUTS),
    "answers_fit_the_signature": lambda: Model(lambda inputs: {"y": inputs["x"].astype(np.float32)}),
    "inputs_are_left_alone": lambda: Model(changes_its_input),
    "read_only_inputs_work": lambda: Model(changes_its_input),
    "answers_are_not_used_again": Reusing,
    "is_deterministic": lambda: Model(drifting()),
    "one_by_one_equals_many": lambda: Model(lambda inputs: {"y": inputs["x"] - inputs["x"].mean(axis=0)}),
    "threads_do_not_mix": lambda: Model(drifting(), traits=Traits(releases_gil=True, platform="a_b")),
    "max_rows_is_true": lambda: Model(lambda inputs: {"y": inputs["x"][:2].copy()}, traits=THREE_ROWS_AT_MOST),
    "close_is_final_and_repeatable": EchoModel,
    "wrong_artefacts_are_refused": EchoModel,
}


@pytest.mark.parametrize("check", runtime_suite.CHECKS, ids=lambda check: check.__name__)
def test_every_check_can_fail(check: Callable[[Runtime, Sample], None]) -> None:
    runtime: Runtime = Fake(CULPRITS[check.__name__])
    sample = SAMPLE
    if check is runtime_suite.wrong_artefacts_are_refused:
        sample = Sample(SAMPLE.artefact, ROWS, wrong=Artefact("fake"))
    with pytest.raises((AssertionError, ValueError)):
        check(runtime, sample)
