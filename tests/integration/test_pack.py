"""Packing real estimators: what is written, what serves, and that a wrong conversion is caught on real data."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
import pandas as pd
import pytest
import skops.io
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from fairlead.contracts.errors import FairleadError, Untrusted, UsageError
from fairlead.contracts.runtime import Artefact, RuntimeOptions
from fairlead.contracts.types import Missing, Tensors
from fairlead.kit import plugins
from fairlead.package import manifest
from fairlead.package.pack import Packed, pack, pack_file
from fairlead.package.table import read_csv


class FixedClock:
    def now(self) -> float:
        return 0.0

    def wall_ms(self) -> int:
        return 1_700_000_000_000


def frame(columns: Tensors) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(array[:, 0], dtype=array.dtype) for name, array in columns.items()})


def text_of(columns: Tensors) -> list[str]:
    return [name for name, array in columns.items() if array.dtype == object]


def numbers_of(columns: Tensors) -> list[str]:
    return [name for name, array in columns.items() if array.dtype != object]


@pytest.fixture(scope="module")
def telco() -> tuple[Tensors, np.ndarray[Any, Any]]:
    """Features and churn; some values of two text columns blanked, deterministically."""
    data = os.environ.get("FAIRLEAD_DATA")
    if not data:
        pytest.skip("FAIRLEAD_DATA is not set")
    columns = read_csv(Path(data) / "telco-churn" / "telco-customer-churn.csv")
    churn = (columns.pop("Churn")[:, 0] == "Yes").astype(int)
    del columns["customerID"]
    holes = np.random.default_rng(5).random((len(churn), 2)) < 0.05
    for place, name in enumerate(("Contract", "PaymentMethod")):
        columns[name][holes[:, place]] = None
    return columns, churn


def fit(telco: tuple[Tensors, np.ndarray[Any, Any]], text: Any, numbers: Any, model: Any, token: str | None) -> Any:
    columns, churn = telco
    train = {name: array[:5643].copy() for name, array in columns.items()}
    for name in text_of(columns) if token is not None else ():
        train[name][train[name] == None] = token  # noqa: E711
    parts = [("text", text, text_of(columns)), ("number", numbers, numbers_of(columns))]
    return make_pipeline(ColumnTransformer(parts), model).fit(frame(train), churn[:5643])


def held_out(telco: tuple[Tensors, np.ndarray[Any, Any]]) -> Tensors:
    return {name: array[5643:] for name, array in telco[0].items()}


TREES = HistGradientBoostingClassifier(max_iter=30, random_state=0)
ONE_HOT = OneHotEncoder(handle_unknown="ignore", sparse_output=False)


def test_telco_packs_to_onnx_that_agrees(telco: Any, tmp_path: Path) -> None:
    pipeline = fit(telco, ONE_HOT, "passthrough", TREES, "(missing)")
    packed = pack(
        pipeline, tmp_path / "p", name="churn", rows=held_out(telco), missing_token="(missing)", clock=FixedClock()
    )
    report = packed.report
    assert report is not None
    assert report.agrees, report.as_table()
    assert {one.case for one in report.differences} == {"held-out", "missing", "unseen", "extreme"}
    assert max(one.largest for one in report.differences) < 1e-6
    assert sum(one.flips for one in report.differences) == 0
    made = packed.manifest
    assert (made.runtime, made.artefact) == ("onnx", "fairlead/model.onnx")
    assert made.why.startswith("ONNX serves: it agrees with the original on")
    rules = {spec.name: (spec.missing, spec.missing_value) for spec in made.signature.inputs}
    assert rules["Contract"] == (Missing.VALUE, "(missing)")
    assert rules["TotalCharges"][0] is Missing.NAN
    assert rules["tenure"][0] is Missing.FORBID
    assert made.created_ms == 1_700_000_000_000


def test_the_ordinal_encoder_trap_is_caught(telco: Any, tmp_path: Path) -> None:
    """skl2onnx converts categorical_features to comparisons, without a word: the answers are wrong."""
    columns = telco[0]
    trees = HistGradientBoostingClassifier(
        max_iter=30, random_state=0, categorical_features=list(range(len(text_of(columns))))
    )
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    packed = pack(
        fit(telco, encoder, "passthrough", trees, "?"),
        tmp_path / "p",
        name="churn",
        rows=held_out(telco),
        missing_token="?",
    )
    report = packed.report
    assert report is not None
    assert not report.agrees
    flips = {one.case: one.flips for one in report.differences if one.output == "label"}
    assert flips["held-out"] > 50
    assert packed.manifest.runtime == "sklearn"
    assert "because its ONNX conversion does not agree: held-out: output 'label' differs in" in packed.manifest.why
    assert not (packed.folder / "fairlead" / "model.onnx").exists()
    assert_served_as_written(packed, held_out(telco))


def test_a_missing_string_that_is_nan_to_the_model(telco: Any, tmp_path: Path) -> None:
    """Fitted on NaN strings: the encoder knows NaN, so the rule must be NaN, not None."""
    columns, churn = telco
    blanked = {name: array.copy() for name, array in columns.items()}
    for name in text_of(columns):
        blanked[name][blanked[name] == None] = float("nan")  # noqa: E711
    rows = {name: array[5643:] for name, array in blanked.items()}
    pipeline = fit((blanked, churn), ONE_HOT, "passthrough", TREES, None)
    packed = pack(pipeline, tmp_path / "p", name="churn", rows=rows)
    rules = {spec.name: spec.missing for spec in packed.manifest.signature.inputs}
    assert rules["Contract"] is Missing.NAN
    assert packed.report is not None
    assert_served_as_written(packed, rows)


def test_a_step_that_does_not_convert_is_named(telco: Any, tmp_path: Path) -> None:
    imputed = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    pipeline = fit(telco, imputed, numbers, LogisticRegression(max_iter=200), "?")
    packed = pack(pipeline, tmp_path / "p", name="churn", rows=held_out(telco), missing_token="?")
    assert packed.report is None
    assert packed.manifest.runtime == "sklearn"
    assert "text / simpleimputer (SimpleImputer) cannot be converted" in packed.manifest.why


def assert_served_as_written(packed: Packed, rows: Tensors) -> None:
    """The folder verifies, and its artefact answers through the runtime that the manifest names."""
    made = manifest.read(packed.folder)
    assert made is not None
    manifest.verify(packed.folder, made)
    json.loads((packed.folder / manifest.PATH).read_text(), parse_constant=pytest.fail)
    model = plugins.load("fairlead.runtimes", made.runtime)().load(
        Artefact(made.runtime, packed.folder / made.artefact, signature=made.signature), RuntimeOptions()
    )
    assert model.signature == made.signature
    few = {name: array[:2] for name, array in rows.items()}
    assert [*model.predict(few, {})] == [spec.name for spec in made.signature.outputs]


X = np.random.default_rng(1).random((60, 3))
SUM = LinearRegression().fit(X, X.sum(axis=1))
NAMED = LogisticRegression().fit(pd.DataFrame(X, columns=["a", "b", "c"]), (X[:, 0] > 0.5).astype(int))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    lines = ["id,a,b,c", *(f"{n},{row[0]},{row[1]},{int(row[2] * 9)}" for n, row in enumerate(X[:20]))]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_matrix_model_is_packed(tmp_path: Path) -> None:
    packed = pack(SUM, tmp_path / "p", name="sum", rows={"features": X})
    assert packed.manifest.runtime == "onnx"
    assert packed.manifest.signature.inputs[0].shape == (-1, 3)
    assert_served_as_written(packed, {"features": X})


def test_a_skops_file_with_an_example(tmp_path: Path, table: Path) -> None:
    skops.io.dump(NAMED, tmp_path / "model.skops")
    packed = pack_file(tmp_path / "model.skops", tmp_path / "p", name="named", example=table)
    assert [spec.name for spec in packed.manifest.signature.inputs] == ["a", "b", "c"]
    assert {str(spec.datatype) for spec in packed.manifest.signature.inputs} == {"FP64"}
    assert packed.manifest.runtime == "onnx"
    assert_served_as_written(packed, {name: X[:, at : at + 1] for at, name in enumerate("abc")})


def test_a_skops_file_without_one_serves_as_it_is(tmp_path: Path) -> None:
    skops.io.dump(NAMED, tmp_path / "model.skops")
    packed = pack_file(tmp_path / "model.skops", tmp_path / "p", name="named")
    assert packed.manifest.runtime == "sklearn"
    assert "without example rows there is nothing to compare" in packed.manifest.why
    assert packed.report is None


def test_a_pickle_is_packed_as_skops_once_it_is_trusted(tmp_path: Path) -> None:
    joblib.dump(SUM, tmp_path / "model.joblib")
    with pytest.raises(Untrusted):
        pack_file(tmp_path / "model.joblib", tmp_path / "p", name="sum")
    packed = pack_file(tmp_path / "model.joblib", tmp_path / "p", name="sum", trusted=True)
    assert (packed.folder / "model.skops").is_file()


def test_an_onnx_file_takes_the_columns_of_its_example(tmp_path: Path, table: Path) -> None:
    first = pack(SUM, tmp_path / "first", name="sum", rows={"features": X})
    columns = table.read_text().replace("id,", "", 1).splitlines()
    table.write_text("\n".join([columns[0], *(line.partition(",")[2] for line in columns[1:])]) + "\n")
    packed = pack_file(first.folder / "fairlead" / "model.onnx", tmp_path / "p", name="sum", example=table)
    assert packed.manifest.runtime == "onnx"
    assert packed.manifest.artefact == "model.onnx"
    assert_served_as_written(packed, {"features": X.astype(np.float32)})


def test_an_onnx_file_brings_the_weights_that_lie_beside_it(tmp_path: Path) -> None:
    made = pack(SUM, tmp_path / "first", name="sum", rows={"features": X})
    graph = onnx.load(made.folder / "fairlead" / "model.onnx")
    graph.graph.initializer.append(onnx.numpy_helper.from_array(np.array([[1.0, 2.0, 4.0]], np.float32), "scale"))
    (wide,) = (one.name for one in graph.graph.input)
    for node in graph.graph.node:
        node.input[:] = ["scaled" if name == wide else name for name in node.input]
    graph.graph.node.insert(0, onnx.helper.make_node("Mul", [wide, "scale"], ["scaled"]))
    (tmp_path / "there").mkdir()
    onnx.save_model(
        graph, tmp_path / "there" / "m.onnx", save_as_external_data=True, location="m.bin", size_threshold=0
    )
    packed = pack_file(tmp_path / "there" / "m.onnx", tmp_path / "p", name="sum")
    assert "m.bin" in packed.manifest.files
    (tmp_path / "there" / "m.bin").unlink()
    model = plugins.load("fairlead.runtimes", "onnx")().load(
        Artefact("onnx", packed.folder / "model.onnx"), RuntimeOptions()
    )
    answer = model.predict({wide: X[:4].astype(np.float32)}, {})
    assert next(iter(answer.values())).ravel() == pytest.approx(X[:4] @ [1, 2, 4], rel=1e-5)


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_a_booster_is_packed_as_it_came_and_mlflow_reads_the_folder(tmp_path: Path, library: str) -> None:
    grower = pytest.importorskip(library)
    rows = pd.DataFrame(X, columns=["a", "b", "c"])
    label = (X.sum(axis=1) > np.median(X.sum(axis=1))).astype(int)
    if library == "xgboost":
        original = grower.XGBClassifier(n_estimators=5).fit(rows, label)
        original.save_model(tmp_path / "grown.json")
        expected, name = original.predict(rows), "model.json"
    else:
        original = grower.train({"objective": "binary", "verbosity": -1}, grower.Dataset(rows, label), 5)
        original.save_model(tmp_path / "grown.json")
        expected, name = original.predict(rows), "model.lgb"
    rows.to_csv(tmp_path / "rows.csv", index=False)
    packed = pack_file(tmp_path / "grown.json", tmp_path / "p", name="grown", example=tmp_path / "rows.csv")
    assert (packed.manifest.runtime, packed.manifest.artefact, packed.report) == (library, name, None)
    assert packed.manifest.libraries.keys() == {library, "numpy"}
    model = plugins.load("fairlead.runtimes", library)().load(
        Artefact(library, packed.folder / name, signature=packed.manifest.signature), RuntimeOptions()
    )
    sent = {column: rows[[column]].to_numpy() for column in rows}
    assert np.array_equal(model.predict(sent, {})["label"], (expected > 0.5).astype(int))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mlflow warns of its own type hints when it is imported
        import mlflow.pyfunc

        pyfunc = mlflow.pyfunc.load_model(str(packed.folder))
        answer = pyfunc.predict(rows.astype("float32") if library == "xgboost" else rows.astype("float64"))
    assert np.allclose(answer, expected)


def test_wrong_use_is_told(tmp_path: Path, table: Path) -> None:
    skops.io.dump(NAMED, tmp_path / "model.skops")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(UsageError, match="is not empty"):
        pack_file(tmp_path / "model.skops", tmp_path / "full", name="named")
    table.write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match="has no column 'c'"):
        pack_file(tmp_path / "model.skops", tmp_path / "p", name="named", example=table)
    packed = pack(SUM, tmp_path / "first", name="sum", rows={"features": X})
    with pytest.raises(FairleadError, match="is an MLflow model folder already"):
        pack_file(packed.folder, tmp_path / "p", name="sum")
