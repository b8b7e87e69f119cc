from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import skops.io
from sklearn.cluster import DBSCAN, KMeans
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, SplineTransformer
from sklearn.svm import SVC, SVR, NuSVC, OneClassSVM
from sklearn.tree import DecisionTreeClassifier

from fairlead.adapters.runtimes.sklearn import reading
from fairlead.adapters.runtimes.sklearn.audit import audit
from fairlead.adapters.runtimes.sklearn.runtime import SklearnModel, SklearnRuntime
from fairlead.contracts.errors import BrokenModel, MissingExtra, ModelFailed, Untrusted
from fairlead.contracts.runtime import Artefact, RuntimeOptions
from fairlead.contracts.types import DataType, Signature, TensorSpec

RNG = np.random.default_rng(3)
X = RNG.random((80, 3))
Y = (X[:, 0] > 0.5).astype(int)


def load(estimator: Any, folder: Path, **artefact: Any) -> SklearnModel:
    path = folder / "model.skops"
    skops.io.dump(estimator, path)
    return SklearnRuntime().load(Artefact("sklearn", path, **artefact), RuntimeOptions())


@pytest.mark.parametrize(
    ("estimator", "target", "outputs"),
    [
        (LogisticRegression(), Y, {"label": ("INT64", (-1,)), "probabilities": ("FP64", (-1, 2))}),
        (LogisticRegression(), np.array(["no", "yes"])[Y], {"label": ("BYTES", (-1,)), "probabilities": None}),
        (SVC(), Y, {"label": ("INT64", (-1,))}),
        (LinearRegression(), X[:, 0], {"prediction": ("FP64", (-1,))}),
        (LinearRegression(), X[:, :2], {"prediction": ("FP64", (-1, 2))}),
        (KMeans(2, n_init=1), None, {"prediction": ("INT32", (-1,))}),
        (PCA(2), None, {"output": ("FP64", (-1, 2))}),
        (HistGradientBoostingClassifier(max_iter=3), Y, {"label": None, "probabilities": None}),
        (KNeighborsClassifier(), Y, {"label": None, "probabilities": None}),
        (
            RandomForestClassifier(3),
            np.stack([Y, 1 - Y], axis=1),
            {"label": ("INT64", (-1, 2)), "probabilities_0": ("FP64", (-1, 2)), "probabilities_1": None},
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_estimators_of_every_kind(tmp_path: Path, estimator: Any, target: Any, outputs: dict[str, Any]) -> None:
    estimator.fit(X, target)
    model = load(estimator, tmp_path)
    answer = model.predict({"input": X[:5]}, {})
    assert [spec.name for spec in model.signature.outputs] == [*outputs]
    for spec in model.signature.outputs:
        if outputs[spec.name]:
            assert (spec.datatype, spec.shape) == outputs[spec.name]
        assert answer[spec.name].dtype == spec.datatype.numpy
    if "label" in answer:
        assert answer["label"].tolist() == estimator.predict(X[:5]).tolist()
    if "probabilities" in answer:
        assert answer["probabilities"] == pytest.approx(estimator.predict_proba(X[:5]))


FRAME = pd.DataFrame({"size": X[:, 0], "colour": pd.Series(np.where(Y, "red", "blue"), dtype=object)})
TABLE = make_pipeline(
    make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["colour"]), remainder="passthrough"),
    LogisticRegression(),
).fit(FRAME, np.where(Y, "yes", "no"))
COLUMNS = {"colour": FRAME["colour"].to_numpy().reshape(-1, 1), "size": X[:, :1]}


def test_a_table_is_read_from_the_fitted_steps(tmp_path: Path) -> None:
    model = load(TABLE, tmp_path)
    assert model.signature.inputs == (
        TensorSpec("size", DataType.FP64, (-1, 1), column=True),
        TensorSpec("colour", DataType.BYTES, (-1, 1), column=True),
    )
    assert model.predict(COLUMNS, {})["label"].tolist() == TABLE.predict(FRAME).tolist()


def test_a_public_signature_chooses_outputs_and_types(tmp_path: Path) -> None:
    public = Signature(
        inputs=load(TABLE, tmp_path).signature.inputs,
        outputs=(TensorSpec("probabilities", DataType.FP32, (-1, 2)),),
        prediction=("probabilities",),
    )
    model = load(TABLE, tmp_path, signature=public)
    assert model.signature == public
    assert model.predict(COLUMNS, {})["probabilities"].dtype == np.float32


def test_pyfuncs_method_says_what_the_prediction_is(tmp_path: Path) -> None:
    details = {"mlmodel": {"flavors": {"python_function": {"predict_fn": "predict_proba"}}}}
    assert load(TABLE, tmp_path).signature.prediction == ("label",)
    assert load(TABLE, tmp_path, details=details).signature.prediction == ("probabilities",)


def test_a_missing_string_stays_what_the_edge_made_of_it(tmp_path: Path) -> None:
    seen: list[Any] = []
    model = load(TABLE, tmp_path)
    model.estimator = FunctionTransformer(lambda frame: seen.append(frame) or frame)
    model.estimator.predict = model.estimator.predict_proba = model.estimator.transform
    given = {"size": X[:3, :1], "colour": np.array([["red"], [None], [float("nan")]], object)}
    with pytest.raises((ValueError, TypeError)):
        model.predict(given, {})
    assert seen[0]["colour"].dtype == object
    assert seen[0]["colour"][1] is None


def test_a_signature_without_a_fitted_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BrokenModel, match="fitted on the column 'colour'"):
        load(TABLE, tmp_path, signature=Signature((*load(TABLE, tmp_path).signature.inputs[:1], *columns("other"))))


def columns(*names: str) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, DataType.FP64, (-1, 1), column=True) for name in names)


def test_texts_are_one_list(tmp_path: Path) -> None:
    texts = ["good day", "bad night", "good night", "bad day"]
    model = load(make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, [1, 0, 1, 0]), tmp_path)
    assert model.signature.inputs == (TensorSpec("text", DataType.BYTES, (-1,)),)
    assert model.predict({"text": np.array(texts, object)}, {})["label"].tolist() == [1, 0, 1, 0]


def test_columns_for_a_model_fitted_on_a_matrix(tmp_path: Path) -> None:
    model = load(LinearRegression().fit(X, X.sum(axis=1)), tmp_path, signature=Signature(columns("a", "b", "c")))
    rows = {name: X[:2, at : at + 1] for at, name in enumerate("abc")}
    assert model.predict(rows, {})["prediction"] == pytest.approx(X[:2].sum(axis=1))


def test_labels_of_several_types_are_refused() -> None:
    both = MultiOutputClassifier(LogisticRegression())
    both.fit(X, np.stack([Y, Y], axis=1))
    both.classes_[0] = np.array(["a", "b"])
    with pytest.raises(BrokenModel, match="labels of several types"):
        reading.outputs(both)


def test_what_is_no_fitted_estimator_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BrokenModel, match="a dict is no estimator"):
        load({"a": 1}, tmp_path)
    with pytest.raises(BrokenModel, match="the LinearRegression is not fitted"):
        load(LinearRegression(), tmp_path)
    with pytest.raises(BrokenModel, match="a DBSCAN neither predicts nor transforms"):
        load(DBSCAN().fit(X), tmp_path)


class Own(LinearRegression):
    """A type that is on nobody's list."""


def test_a_type_nobody_vouched_for_is_named(tmp_path: Path) -> None:
    estimator = Own().fit(X, Y)
    kind = f"{Own.__module__}.Own"
    with pytest.raises(Untrusted, match="Own, which is not on the list"):
        load(estimator, tmp_path)
    details = {"mlmodel": {"flavors": {"sklearn": {"skops_trusted_types": [kind]}}}}
    with pytest.raises(Untrusted):
        load(estimator, tmp_path, details=details)


def test_a_function_of_the_system_is_not_on_the_list(tmp_path: Path) -> None:
    path = tmp_path / "model.skops"
    skops.io.dump(FunctionTransformer(os.system), path)
    with pytest.raises(Untrusted, match="system"):
        SklearnRuntime().load(Artefact("sklearn", path), RuntimeOptions())


@pytest.mark.parametrize("write", [lambda e, p: p.write_bytes(pickle.dumps(e)), lambda e, p: joblib.dump(e, p, 3)])
def test_pickles_need_somebody_who_vouches(tmp_path: Path, write: Any) -> None:
    path = tmp_path / "model.pkl"
    write(LinearRegression().fit(X, Y), path)
    with pytest.raises(Untrusted, match="is a pickle: loading it runs"):
        SklearnRuntime().load(Artefact("sklearn", path), RuntimeOptions())
    model = SklearnRuntime().load(Artefact("sklearn", path, trusted=True), RuntimeOptions())
    assert model.predict({"input": X[:1]}, {})["prediction"].shape == (1,)


def test_pickles_that_fail(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(LinearRegression())[:-30])
    with pytest.raises(BrokenModel, match="cannot be unpickled"):
        SklearnRuntime().load(Artefact("sklearn", path, trusted=True), RuntimeOptions())
    path.write_bytes(b"\x80\x04cfrobnicate\nThing\n.")
    with pytest.raises(MissingExtra, match="'frobnicate'"):
        SklearnRuntime().load(Artefact("sklearn", path, trusted=True), RuntimeOptions())


def test_a_closed_model_does_not_answer(tmp_path: Path) -> None:
    model = load(LinearRegression().fit(X, Y), tmp_path)
    model.close()
    with pytest.raises(ModelFailed, match="closed"):
        model.predict({"input": X[:1]}, {})


@pytest.mark.parametrize(
    ("field", "value"), [("left_child", 10_000), ("left_child", 0), ("right_child", -7), ("feature", 99)]
)
def test_a_crafted_tree_is_refused(field: str, value: int) -> None:
    estimator = DecisionTreeClassifier(max_depth=3).fit(X, Y)
    audit(estimator)
    state = estimator.tree_.__getstate__()
    state["nodes"][field][0] = value
    estimator.tree_.__setstate__(state)
    with pytest.raises(BrokenModel, match="a Tree in the file points outside"):
        audit(make_pipeline(estimator))


@pytest.mark.parametrize(("field", "value"), [("left", 10_000), ("right", 0), ("feature_idx", 99), ("feature_idx", -1)])
def test_a_crafted_boosted_tree_is_refused(field: str, value: int) -> None:
    estimator = HistGradientBoostingClassifier(max_iter=2).fit(X, Y)
    audit(estimator)
    estimator._predictors[1][0].nodes[field][0] = value
    with pytest.raises(BrokenModel, match="a TreePredictor in the file"):
        audit(estimator)


def test_a_crafted_category_is_refused() -> None:
    codes = np.round(X * 4)
    estimator = HistGradientBoostingClassifier(max_iter=2, categorical_features=[1]).fit(codes, Y)
    audit(estimator)
    nodes = estimator._predictors[0][0].nodes
    nodes["is_categorical"][0] = 1
    nodes["feature_idx"][0] = 1
    nodes["bitset_idx"][0] = 10_000
    with pytest.raises(BrokenModel):
        audit(estimator)


@pytest.mark.parametrize("algorithm", ["kd_tree", "ball_tree"])
def test_a_crafted_neighbour_tree_is_refused(algorithm: str) -> None:
    estimator = KNeighborsClassifier(algorithm=algorithm).fit(X, Y)
    audit(estimator)
    state = list(estimator._tree.__getstate__())
    state[1] = state[1].copy()
    state[1][0] = 10_000
    estimator._tree.__setstate__(tuple(state))
    with pytest.raises(BrokenModel, match="Tree in the file points outside"):
        audit(estimator)


@pytest.mark.parametrize("init", ["zero", None, LogisticRegression()])
def test_crafted_stages_of_boosting_are_refused(init: Any) -> None:
    """They would write behind the end of what ``init`` gave room for: the process dies."""
    estimator = GradientBoostingClassifier(n_estimators=2, init=init).fit(X, np.arange(len(X)) % 3)
    audit(estimator)
    estimator.estimators_ = np.tile(estimator.estimators_, (1, 4))
    with pytest.raises(BrokenModel, match="a GradientBoostingClassifier in the file points outside"):
        audit(make_pipeline(estimator))


def test_crafted_stages_inside_an_init_are_refused() -> None:
    inner = GradientBoostingClassifier(n_estimators=2).fit(X, np.arange(len(X)) % 3)
    outer = GradientBoostingClassifier(n_estimators=2, init=inner).fit(X, np.arange(len(X)) % 3)
    audit(outer)
    outer.init_.estimators_ = np.tile(outer.init_.estimators_, (1, 4))
    with pytest.raises(BrokenModel):
        audit(outer)


@pytest.mark.parametrize("field", ["_t", "_c", "k"])
def test_a_crafted_spline_is_refused(field: str) -> None:
    estimator = SplineTransformer().fit(X)
    audit(estimator)
    spline = estimator.bsplines_[1]
    vars(spline)[field] = {"_t": np.linspace(0, 1, 999), "_c": spline.c[:2], "k": -5}[field]
    with pytest.raises(BrokenModel, match="a BSpline in the file"):
        audit(estimator)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("_n_support", np.zeros(10_000, np.int32)),
        ("_n_support", np.array([-5, 5], np.int32)),
        ("_dual_coef_", np.ones((1, 1))),
        ("_intercept_", np.ones(0)),
        ("_probA", np.ones(0)),
        ("support_vectors_", X[:, :1]),
    ],
)
@pytest.mark.parametrize("kind", [SVC, SVR])
def test_a_crafted_support_vector_machine_is_refused(kind: Any, field: str, value: Any) -> None:
    estimator = kind().fit(X, Y)
    audit(estimator)
    if field == "_probA":
        estimator._probB = np.ones(1)
    setattr(estimator, field, value)
    with pytest.raises(BrokenModel, match="in the file points outside"):
        audit(estimator)


@pytest.mark.parametrize("kernel", ["rbf", "precomputed", "sparse"])
@pytest.mark.parametrize("classes", [2, 4])
def test_honest_support_vector_machines_pass(kernel: str, classes: int) -> None:
    rows: Any = X @ X.T if kernel == "precomputed" else scipy.sparse.csr_matrix(X) if kernel == "sparse" else X
    for kind in (SVC, NuSVC, SVR, OneClassSVM):
        own = {"nu": 0.1} if kind is NuSVC else {}
        audit(kind(kernel="rbf" if kernel == "sparse" else kernel, **own).fit(rows, np.arange(len(X)) % classes))
