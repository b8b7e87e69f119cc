"""LightGBM files against the library's own scikit-learn classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import datasets

lightgbm = pytest.importorskip("lightgbm")

from fairlead.adapters.runtimes.boosters.lightgbm import LightgbmRuntime  # noqa: E402
from fairlead.adapters.runtimes.boosters.model import BoosterModel  # noqa: E402
from fairlead.contracts.errors import BrokenModel  # noqa: E402
from fairlead.contracts.runtime import Artefact, RuntimeOptions  # noqa: E402
from fairlead.contracts.types import DataType, Missing, Signature, TensorSpec  # noqa: E402

Array = np.ndarray[Any, Any]
X, Y = datasets.load_breast_cancer(return_X_y=True)
DIGITS, DIGIT = datasets.load_digits(return_X_y=True)
IRIS = datasets.load_iris(as_frame=True)
PROGRESS, PROGRESSED = datasets.load_diabetes(return_X_y=True)
EXACT = {"rtol": 1e-6, "atol": 1e-6}


def load(path: Path, signature: Signature | None = None) -> BoosterModel:
    return LightgbmRuntime().load(Artefact("lightgbm", path, signature=signature), RuntimeOptions())


def saved(model: Any, folder: Path) -> BoosterModel:
    getattr(model, "booster_", model).save_model(folder / "model.txt")
    return load(folder / "model.txt")


def test_two_classes(tmp_path: Path) -> None:
    original = lightgbm.LGBMClassifier(n_estimators=20, verbose=-1).fit(X, Y)
    model = saved(original, tmp_path)
    answer = model.predict({"input": X}, {})
    assert np.allclose(answer["probabilities"], original.booster_.predict(X).reshape(-1, 1) * [-1, 1] + [1, 0], **EXACT)
    assert np.array_equal(answer["label"], (original.booster_.predict(X) > 0.5).astype(int))
    assert model.signature.inputs == (TensorSpec("input", DataType.FP64, (-1, 30), missing=Missing.NAN),)


@pytest.mark.parametrize("objective", ["multiclass", "multiclassova"])
def test_ten_classes(tmp_path: Path, objective: str) -> None:
    frame = pd.DataFrame(DIGITS).add_prefix("p")
    original = lightgbm.LGBMClassifier(n_estimators=3, objective=objective, verbose=-1).fit(frame, DIGIT)
    model = saved(original, tmp_path)
    answer = model.predict({name: frame[[name]].to_numpy() for name in frame.columns}, {})
    assert np.allclose(answer["probabilities"], original.predict_proba(frame), **EXACT)
    assert np.array_equal(answer["label"], original.predict(frame))


@pytest.mark.parametrize("objective", ["regression", "poisson", "quantile", "cross_entropy"])
def test_a_regressor(tmp_path: Path, objective: str) -> None:
    target = PROGRESSED / 400
    frame = pd.DataFrame(PROGRESS).add_prefix("f")
    original = lightgbm.LGBMRegressor(n_estimators=10, objective=objective, verbose=-1).fit(frame, target)
    answer = saved(original, tmp_path).predict({name: frame[[name]].to_numpy() for name in frame.columns}, {})
    assert np.allclose(answer["prediction"], original.predict(frame), **EXACT)


def test_a_ranker_and_an_objective_of_ones_own(tmp_path: Path) -> None:
    frame = pd.DataFrame(PROGRESS).add_prefix("f")
    rows = {name: frame[[name]].to_numpy() for name in frame.columns}
    ranker = lightgbm.LGBMRanker(n_estimators=5, verbose=-1).fit(
        frame, PROGRESSED > 150, group=[42, 100, 100, 100, 100]
    )
    assert np.allclose(saved(ranker, tmp_path).predict(rows, {})["prediction"], ranker.predict(frame), **EXACT)
    own = lightgbm.LGBMRegressor(n_estimators=5, verbose=-1, objective=lambda y, p: (p - y, np.ones_like(y)))
    own.fit(frame, PROGRESSED)
    assert np.allclose(saved(own, tmp_path).predict(rows, {})["prediction"], own.predict(frame), **EXACT)


def test_the_best_iteration_answers(tmp_path: Path) -> None:
    frame = pd.DataFrame(X).add_prefix("f")
    original = lightgbm.LGBMClassifier(n_estimators=300, learning_rate=0.5, verbose=-1)
    stop = lightgbm.early_stopping(3, verbose=False)
    original.fit(frame[:300], Y[:300], eval_X=(frame[300:],), eval_y=(Y[300:],), callbacks=[stop])
    assert original.best_iteration_ < 300
    answer = saved(original, tmp_path).predict({name: frame[[name]].to_numpy() for name in frame.columns}, {})
    assert np.allclose(answer["probabilities"], original.predict_proba(frame), **EXACT)


def test_columns_keep_the_names_that_lightgbm_writes(tmp_path: Path) -> None:
    original = lightgbm.LGBMClassifier(n_estimators=3, verbose=-1).fit(IRIS.data, IRIS.target)
    model = saved(original, tmp_path)
    assert [spec.name for spec in model.signature.inputs][:2] == ["sepal_length_(cm)", "sepal_width_(cm)"]
    spaced = tuple(TensorSpec(name, DataType.FP64, (-1, 1), column=True) for name in IRIS.data.columns)
    named = load(tmp_path / "model.txt", Signature(spaced))
    answer = named.predict({name: IRIS.data[[name]].to_numpy() for name in IRIS.data.columns}, {})
    assert np.allclose(answer["probabilities"], original.predict_proba(IRIS.data), **EXACT)


def test_nan_means_missing_and_categories_are_those_of_the_frame(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "size": np.where(draw.random(400) < 0.2, np.nan, draw.normal(size=400)),
            "colour": pd.Categorical(draw.choice(["rot", "grün", "blue"], 400)),
            "shelf": pd.Categorical(draw.choice([10, 20, 30], 400)),
        }
    )
    frame.loc[::7, "colour"] = None
    label = (frame["size"] > 0) ^ (frame["colour"] == "rot") ^ (frame["shelf"] == 20)
    original = lightgbm.LGBMClassifier(n_estimators=10, verbose=-1).fit(frame, label.astype(int))
    model = saved(original, tmp_path)
    assert [spec.datatype for spec in model.signature.inputs] == ["FP64", "BYTES", "FP64"]
    rows = {
        "size": frame[["size"]].to_numpy(),
        "colour": frame[["colour"]].astype(object).to_numpy(),
        "shelf": frame[["shelf"]].astype(float).to_numpy(),
    }
    assert np.allclose(model.predict(rows, {})["probabilities"], original.predict_proba(frame), **EXACT)
    unseen = model.predict({**rows, "colour": np.full((400, 1), "violet", object)}, {})
    missing = model.predict({**rows, "colour": np.full((400, 1), None, object)}, {})
    assert np.array_equal(unseen["probabilities"], missing["probabilities"])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "model.txt"
    frame = pd.DataFrame({"a": X[:, 0], "b": pd.Categorical(Y + 3 * (X[:, 1] > 20))})
    lightgbm.LGBMClassifier(n_estimators=4, verbose=-1).fit(frame, Y).booster_.save_model(path)
    return path.read_bytes()


def test_a_file_cut_anywhere_before_its_parameters_end_is_told(tmp_path: Path, whole: bytes) -> None:
    """LightGBM itself ends the process on most of these."""
    cut = tmp_path / "cut.txt"
    trees = whole.index(b"end of trees")
    tail = range(whole.index(b"\nparameters:") + 13, whole.index(b"end of parameters"), 211)
    for size in (*range(30, trees, 61), *tail):
        cut.write_bytes(whole[:size])
        with pytest.raises(BrokenModel, match=r"cut\.txt is a LightGBM model that is broken or cut short"):
            load(cut)


@pytest.mark.parametrize(
    ("old", "new", "flaw"),
    [
        (b"left_child=", b"left_child=7 ", "tree 0 does not parse .left_child has not"),
        (b"num_class=1", b"num_klass=1", "its header has no num_class"),
        (b"max_feature_idx=1", b"max_feature_idx=2", "as many feature_names"),
        (b"end of trees", b"end of trunk", "'end of trees' is not behind"),
        (b"split_feature=", b"split_feature=9", "not where|not there"),
        (b"Tree=0", b"Tree=9", "it has no tree"),
    ],
)
def test_an_altered_file_is_told(tmp_path: Path, whole: bytes, old: bytes, new: bytes, flaw: str) -> None:
    path = tmp_path / "model.txt"
    path.write_bytes(whole.replace(old, new, 1))
    with pytest.raises(BrokenModel, match=flaw):
        load(path)


@pytest.mark.parametrize(
    ("key", "flaw"),
    [
        (b"split_feature", "a feature that is not there"),
        (b"left_child", "its nodes are no tree"),
        (b"cat_boundaries", "cat_boundaries do not ascend|cat_threshold has not"),
        (b"num_leaves", "not a value for each leaf|does not parse"),
    ],
)
def test_a_number_altered_in_place_is_told(tmp_path: Path, whole: bytes, key: bytes, flaw: str) -> None:
    """Sizes stay what they were: what the reader would trust."""
    at = whole.index(b"\n" + key + b"=") + len(key) + 2
    path = tmp_path / "model.txt"
    path.write_bytes(whole[:at] + b"8" + whole[at + 1 :])
    with pytest.raises(BrokenModel, match=flaw):
        load(path)


def test_a_line_between_two_trees_that_says_nothing_is_told(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "model.txt"
    path.write_bytes(whole.replace(b"\n\n\nTree=1", b"\n^\nTree=1", 1))
    with pytest.raises(BrokenModel, match="tree 0 does not parse"):
        load(path)


def test_a_blank_that_is_none_to_lightgbm_is_told(tmp_path: Path, whole: bytes) -> None:
    at = whole.index(b" ", whole.index(b"\nleft_child="))
    path = tmp_path / "model.txt"
    path.write_bytes(whole[:at] + b"\x0c" + whole[at + 1 :])
    with pytest.raises(BrokenModel, match="a byte in it is no text"):
        load(path)


def test_a_file_that_is_too_old_to_tell_sizes(tmp_path: Path, whole: bytes) -> None:
    old = tmp_path / "old.txt"
    lines = [line for line in whole.split(b"\n") if not line.startswith(b"tree_sizes=")]
    old.write_bytes(b"\n".join(lines))
    new = tmp_path / "new.txt"
    new.write_bytes(whole)
    rows = {"a": X[:, :1], "b": (Y + 3 * (X[:, 1] > 20)).reshape(-1, 1).astype(float)}
    assert np.array_equal(load(old).predict(rows, {})["label"], load(new).predict(rows, {})["label"])
