"""XGBoost files against the library's own scikit-learn classes."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import datasets

xgboost = pytest.importorskip("xgboost")

from fairlead.adapters.runtimes.boosters import ubjson  # noqa: E402
from fairlead.adapters.runtimes.boosters.model import BoosterModel  # noqa: E402
from fairlead.adapters.runtimes.boosters.xgboost import XgboostRuntime  # noqa: E402
from fairlead.contracts.errors import BrokenModel, InvalidTensor, UnknownFormat  # noqa: E402
from fairlead.contracts.runtime import Artefact, RuntimeOptions  # noqa: E402
from fairlead.contracts.types import DataType, Missing, Signature, TensorSpec  # noqa: E402
from fairlead.package.formats import sniff  # noqa: E402

Array = np.ndarray[Any, Any]
X, Y = datasets.load_breast_cancer(return_X_y=True)
DIGITS, DIGIT = datasets.load_digits(return_X_y=True)
IRIS = datasets.load_iris(as_frame=True)
PROGRESS, PROGRESSED = datasets.load_diabetes(return_X_y=True)
EXACT = {"rtol": 1e-6, "atol": 1e-6}


def load(path: Path, signature: Signature | None = None) -> BoosterModel:
    return XgboostRuntime().load(Artefact("xgboost", path, signature=signature), RuntimeOptions())


def saved(model: Any, folder: Path, suffix: str = "ubj") -> BoosterModel:
    model.save_model(folder / f"model.{suffix}")
    return load(folder / f"model.{suffix}")


def matrix(rows: Array) -> dict[str, Array]:
    return {"input": rows.astype(np.float32)}


@pytest.mark.parametrize("suffix", ["ubj", "json"])
def test_two_classes(tmp_path: Path, suffix: str) -> None:
    original = xgboost.XGBClassifier(n_estimators=20).fit(X, Y)
    model = saved(original, tmp_path, suffix)
    answer = model.predict(matrix(X), {})
    assert np.allclose(answer["probabilities"], original.predict_proba(X), **EXACT)
    assert np.array_equal(answer["label"], original.predict(X))
    assert model.signature.inputs == (TensorSpec("input", DataType.FP32, (-1, 30), missing=Missing.NAN),)
    assert model.signature.prediction == ("label",)


@pytest.mark.parametrize("booster", ["gbtree", "dart", "gblinear"])
@pytest.mark.parametrize("objective", ["multi:softprob", "multi:softmax"])
def test_ten_classes(tmp_path: Path, objective: str, booster: str) -> None:
    original = xgboost.XGBClassifier(n_estimators=5, booster=booster).fit(DIGITS, DIGIT)
    if objective == "multi:softmax":
        data = xgboost.DMatrix(DIGITS, DIGIT)
        grown = xgboost.train({"objective": objective, "num_class": 10, "booster": booster}, data, 5)
        grown.save_model(tmp_path / "grown.ubj")
        original = xgboost.XGBClassifier()
        original.load_model(tmp_path / "grown.ubj")
    answer = saved(original, tmp_path).predict(matrix(DIGITS), {})
    assert np.allclose(answer["probabilities"], original.predict_proba(DIGITS), **EXACT)
    assert np.array_equal(answer["label"], original.predict(DIGITS))


def test_several_labels_a_row(tmp_path: Path) -> None:
    several = np.stack([DIGIT % 2, DIGIT > 4, DIGIT == 0], axis=1).astype(int)
    original = xgboost.XGBClassifier(n_estimators=5).fit(DIGITS, several)
    model = saved(original, tmp_path)
    answer = model.predict(matrix(DIGITS), {})
    assert [spec.shape for spec in model.signature.outputs] == [(-1, 3), (-1, 3)]
    assert np.allclose(answer["probabilities"], original.predict_proba(DIGITS), **EXACT)
    assert np.array_equal(answer["label"], original.predict(DIGITS))


@pytest.mark.parametrize("objective", ["reg:squarederror", "count:poisson", "reg:absoluteerror"])
def test_a_regressor(tmp_path: Path, objective: str) -> None:
    original = xgboost.XGBRegressor(n_estimators=20, objective=objective).fit(PROGRESS, PROGRESSED)
    model = saved(original, tmp_path)
    assert [spec.name for spec in model.signature.outputs] == ["prediction"]
    assert np.allclose(model.predict(matrix(PROGRESS), {})["prediction"], original.predict(PROGRESS), **EXACT)


@pytest.mark.parametrize("strategy", ["one_output_per_tree", "multi_output_tree"])
def test_a_regressor_of_several_targets(tmp_path: Path, strategy: str) -> None:
    targets = np.stack([PROGRESSED, PROGRESS[:, 0]], axis=1)
    original = xgboost.XGBRegressor(n_estimators=5, multi_strategy=strategy).fit(PROGRESS, targets)
    model = saved(original, tmp_path)
    assert model.signature.outputs[0].shape == (-1, 2)
    assert np.allclose(model.predict(matrix(PROGRESS), {})["prediction"], original.predict(PROGRESS), **EXACT)


def test_a_ranker(tmp_path: Path) -> None:
    original = xgboost.XGBRanker(n_estimators=5).fit(PROGRESS, PROGRESSED > 150, qid=np.arange(442) // 10)
    answer = saved(original, tmp_path).predict(matrix(PROGRESS), {})
    assert np.allclose(answer["prediction"], original.predict(PROGRESS), **EXACT)


def test_a_forest_and_a_regressor_with_an_objective_of_classes(tmp_path: Path) -> None:
    forest = xgboost.XGBRFClassifier(n_estimators=10).fit(X, Y)
    assert np.allclose(
        saved(forest, tmp_path).predict(matrix(X), {})["probabilities"], forest.predict_proba(X), **EXACT
    )
    odd = xgboost.XGBRegressor(n_estimators=3, objective="binary:logistic").fit(X, Y)
    assert np.allclose(saved(odd, tmp_path).predict(matrix(X), {})["prediction"], odd.predict(X), **EXACT)


def test_hinge_has_no_probabilities_and_logitraw_is_a_margin(tmp_path: Path) -> None:
    hinge = xgboost.XGBClassifier(n_estimators=5, objective="binary:hinge").fit(X, Y)
    answer = saved(hinge, tmp_path).predict(matrix(X), {})
    assert [*answer] == ["label"]
    assert np.array_equal(answer["label"], hinge.predict(X))
    raw = xgboost.train({"objective": "binary:logitraw"}, xgboost.DMatrix(X, Y), 5)
    answer = saved(raw, tmp_path).predict(matrix(X), {})
    assert np.allclose(answer["prediction"], raw.predict(xgboost.DMatrix(X)), **EXACT)


def test_the_best_iteration_answers(tmp_path: Path) -> None:
    original = xgboost.XGBClassifier(n_estimators=200, early_stopping_rounds=2, learning_rate=1.0)
    original.fit(X[:300], Y[:300], eval_set=[(X[300:], Y[300:])], verbose=False)
    booster = original.get_booster()
    assert original.best_iteration + 1 < booster.num_boosted_rounds()
    all_trees = booster.predict(xgboost.DMatrix(X))
    answer = saved(original, tmp_path).predict(matrix(X), {})
    assert np.allclose(answer["probabilities"], original.predict_proba(X), **EXACT)
    assert not np.allclose(answer["probabilities"][:, 1], all_trees, **EXACT)


def test_columns_where_the_file_names_features(tmp_path: Path) -> None:
    original = xgboost.XGBClassifier(n_estimators=5).fit(IRIS.data, IRIS.target)
    model = saved(original, tmp_path)
    assert [spec.name for spec in model.signature.inputs] == [*IRIS.data.columns]
    assert model.signature.tabular
    rows = {name: IRIS.data[[name]].to_numpy(np.float32) for name in reversed(IRIS.data.columns)}
    assert np.allclose(model.predict(rows, {})["probabilities"], original.predict_proba(IRIS.data), **EXACT)


def test_nan_means_missing(tmp_path: Path) -> None:
    holes = np.where(np.random.default_rng(0).random(X.shape) < 0.3, np.nan, X)
    original = xgboost.XGBClassifier(n_estimators=5).fit(holes, Y)
    answer = saved(original, tmp_path).predict(matrix(holes), {})
    assert np.allclose(answer["probabilities"], original.predict_proba(holes), **EXACT)


@pytest.fixture(scope="module")
def shop() -> tuple[pd.DataFrame, Array]:
    draw = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "size": draw.normal(size=300),
            "colour": pd.Categorical(draw.choice(["rot", "gruen", "blue"], 300)),
            "age": draw.integers(0, 90, 300),
            "shelf": pd.Categorical(draw.choice([10, 20, 30], 300)),
        }
    )
    frame.loc[::7, "colour"] = None
    return frame, ((frame["size"] > 0) ^ (frame["colour"] == "rot") ^ (frame["shelf"] == 20)).to_numpy(int)


def as_sent(frame: pd.DataFrame) -> dict[str, Array]:
    return {
        "size": frame[["size"]].to_numpy(np.float32),
        "colour": frame[["colour"]].astype(object).to_numpy(),
        "age": frame[["age"]].to_numpy(np.float32),
        "shelf": frame[["shelf"]].astype(float).to_numpy(),
    }


def test_categories_are_those_of_the_frame(tmp_path: Path, shop: tuple[pd.DataFrame, Array]) -> None:
    frame, label = shop
    original = xgboost.XGBClassifier(n_estimators=10, enable_categorical=True).fit(frame, label)
    model = saved(original, tmp_path)
    assert [spec.datatype for spec in model.signature.inputs] == ["FP32", "BYTES", "FP32", "FP64"]
    assert np.allclose(model.predict(as_sent(frame), {})["probabilities"], original.predict_proba(frame), **EXACT)
    gone = [{**as_sent(frame), "colour": np.full((300, 1), hole, object)} for hole in (None, np.nan, "")]
    assert len({model.predict(rows, {})["probabilities"].tobytes() for rows in gone}) == 1
    unseen = {**as_sent(frame), "colour": np.full((300, 1), "violet", object)}
    with pytest.raises(InvalidTensor, match="'colour': 'violet' is no category"):
        model.predict(unseen, {})


def test_categories_that_xgboost_garbles_are_codes(tmp_path: Path, shop: tuple[pd.DataFrame, Array]) -> None:
    frame, label = shop
    frame = frame.assign(colour=frame["colour"].cat.rename_categories({"gruen": "grün"}))
    original = xgboost.XGBClassifier(n_estimators=10, enable_categorical=True).fit(frame, label)
    model = saved(original, tmp_path)
    assert model.signature.inputs[1].datatype is DataType.FP32
    codes = frame["colour"].cat.codes.to_numpy(np.float32).reshape(-1, 1)
    rows = {**as_sent(frame), "colour": np.where(codes < 0, np.float32(np.nan), codes)}
    assert np.allclose(model.predict(rows, {})["probabilities"], original.predict_proba(frame), **EXACT)


def test_a_public_signature(tmp_path: Path) -> None:
    original = xgboost.XGBClassifier(n_estimators=5).fit(IRIS.data, IRIS.target)
    original.save_model(tmp_path / "m.ubj")
    columns = tuple(
        TensorSpec(name, DataType.FP64, (-1, 1), column=True, missing=Missing.NAN) for name in IRIS.data.columns
    )
    public = Signature(columns, (TensorSpec("probabilities", DataType.FP64, (-1, 3)),))
    model = load(tmp_path / "m.ubj", public)
    answer = model.predict({name: IRIS.data[[name]].to_numpy() for name in IRIS.data.columns}, {})
    assert [*answer] == ["probabilities"]
    assert answer["probabilities"].dtype == np.float64
    whole = load(tmp_path / "m.ubj", Signature((TensorSpec("x", DataType.FP64, (-1, 4)),)))
    assert np.allclose(
        whole.predict({"x": IRIS.data.to_numpy()}, {})["probabilities"], answer["probabilities"], **EXACT
    )
    with pytest.raises(BrokenModel, match="'petal width \\(cm\\)', which the signature does not name"):
        load(tmp_path / "m.ubj", Signature(columns[:3]))
    with pytest.raises(BrokenModel, match="takes 4 features, the signature says 'x' FP64"):
        load(tmp_path / "m.ubj", Signature((TensorSpec("x", DataType.FP64, (-1, 5)),)))
    texts = tuple(TensorSpec(spec.name, DataType.BYTES, (-1, 1), column=True) for spec in columns)
    with pytest.raises(BrokenModel, match="as FP32, the signature says BYTES"):
        load(tmp_path / "m.ubj", Signature(texts))


@pytest.mark.parametrize("suffix", ["ubj", "json"])
def test_a_file_cut_anywhere_is_told(tmp_path: Path, suffix: str) -> None:
    saved(xgboost.XGBClassifier(n_estimators=2, max_depth=2).fit(X[:, :3], Y), tmp_path, suffix)
    whole = (tmp_path / f"model.{suffix}").read_bytes()
    cut = tmp_path / "cut"
    for size in sorted({*range(40, len(whole), 97), len(whole) - 1}):
        cut.write_bytes(whole[:size])
        with pytest.raises(BrokenModel, match="broken or cut short"):
            load(cut)


def test_ubjson(tmp_path: Path) -> None:
    saved(xgboost.XGBClassifier(n_estimators=2, max_depth=2).fit(X[:, :3], Y), tmp_path)
    saved(xgboost.XGBClassifier(n_estimators=2, max_depth=2).fit(X[:, :3], Y), tmp_path, "json")
    whole = (tmp_path / "model.ubj").read_bytes()
    plain = json.loads((tmp_path / "model.json").read_bytes())["learner"]
    learner = ubjson.decode(whole)["learner"]
    tree, twin = (one["gradient_booster"]["model"]["trees"][1] for one in (learner, plain))
    assert learner["attributes"] == plain["attributes"]
    assert tree["left_children"].tolist() == twin["left_children"]
    assert np.allclose(tree["split_conditions"], twin["split_conditions"])
    for size in range(len(whole)):
        with pytest.raises(ValueError, match="ends in the middle"):
            ubjson.decode(whole[:size])


@pytest.mark.parametrize(
    ("data", "flaw"),
    [
        (b"{}x", "1 bytes follow its end"),
        (b"{i\x01a\xff}", "byte 4 is no UBJSON marker"),
        (b"{T", "byte 1 is no integer marker"),
        (b"{i\xff", "a length below 0"),
        (b"[$l]", "a type without a count"),
        (b"[$S#i\x01", "a container of type 'S'"),
        (b"[" * 40, "nests more than 32 deep"),
    ],
)
def test_what_is_no_ubjson(data: bytes, flaw: str) -> None:
    with pytest.raises(ValueError, match=flaw):
        ubjson.decode(data)
    assert ubjson.decode(b"[#i\x03TZ{#i\x01i\x01aD\x3f\xf0\0\0\0\0\0\0") == [True, None, {"a": 1.0}]


@pytest.mark.parametrize(("key", "flaw"), [("tree_info", "an output for each"), ("iteration_indptr", "the last tree")])
def test_an_altered_order_of_trees_is_told(tmp_path: Path, key: str, flaw: str) -> None:
    saved(xgboost.XGBClassifier(n_estimators=2, max_depth=2).fit(X[:, :3], Y), tmp_path, "json")
    document = json.loads((tmp_path / "model.json").read_bytes())
    document["learner"]["gradient_booster"]["model"][key][-1] = -7
    (tmp_path / "model.json").write_text(json.dumps(document))
    with pytest.raises(BrokenModel, match=flaw):
        load(tmp_path / "model.json")


@pytest.mark.parametrize(
    ("key", "value", "flaw"),
    [
        ("left_children", 99, "nodes that are no tree"),
        ("right_children", 0, "nodes that are no tree"),
        ("split_indices", 3, "a feature that is not there"),
        ("parents", 99, "a parent that is not there"),
        ("split_indices", None, "has not . split_indices"),
        ("id", 7, "not numbered from 0 on"),
    ],
)
def test_an_altered_tree_is_told(tmp_path: Path, key: str, value: int | None, flaw: str) -> None:
    """XGBoost itself ends the process on some of these."""
    saved(xgboost.XGBClassifier(n_estimators=2, max_depth=2).fit(X[:, :3], Y), tmp_path, "json")
    document = json.loads((tmp_path / "model.json").read_bytes())
    tree = document["learner"]["gradient_booster"]["model"]["trees"][1]
    if isinstance(tree[key], list):
        tree[key][:1] = [] if value is None else [value]
    else:
        tree[key] = value
    (tmp_path / "model.json").write_text(json.dumps(document))
    with pytest.raises(BrokenModel, match=flaw):
        load(tmp_path / "model.json")


def test_what_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "model.ubj"
    path.write_bytes(b"binf" + bytes(200))
    with pytest.raises(BrokenModel, match="old binary format, which xgboost .* does not read"):
        load(path)
    path.write_text('{"learner": {"objective": {"name": "reg:squarederror"}}, "version": [3, 2, 0]}')
    with pytest.raises(BrokenModel, match="broken or cut short"):
        load(path)
    path.write_text(json.dumps({"a": 1}))
    with pytest.raises(UnknownFormat, match="no model known here"):
        sniff(path)
    xgboost.Booster({"num_feature": 2}).save_model(path)
    with pytest.raises(BrokenModel):
        load(path)
    path.write_bytes(pickle.dumps(xgboost.XGBClassifier()))
    assert sniff(path).runtime == "sklearn"
