"""Booster and ``.tflite`` files as they are: served, checked against the libraries, examined, packaged."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest
from sklearn import datasets

import fairlead

xgboost = pytest.importorskip("xgboost")
lightgbm = pytest.importorskip("lightgbm")

IRIS = datasets.load_iris(as_frame=True)
X, Y = datasets.load_breast_cancer(return_X_y=True)


@pytest.fixture
def iris(tmp_path: Path) -> xgboost.XGBClassifier:
    model = xgboost.XGBClassifier(n_estimators=10).fit(IRIS.data, IRIS.target)
    model.save_model(tmp_path / "iris.ubj")
    return model


def test_boosters_answer_over_http_what_their_libraries_answer(start, iris, tmp_path: Path) -> None:
    cancer = lightgbm.LGBMClassifier(n_estimators=10, verbose=-1).fit(pd.DataFrame(X).add_prefix("f"), Y)
    cancer.booster_.save_model(tmp_path / "cancer.txt")
    process = start("serve", "./iris.ubj", "./cancer.txt", "--port", "0")
    url = process.url()
    with fairlead.Client(url) as client:
        assert sorted(client.endpoints()) == ["cancer", "iris"]
        answer = client.predict("iris", {name: IRIS.data[[name]].to_numpy() for name in IRIS.data.columns})
        assert np.allclose(answer["probabilities"], iris.predict_proba(IRIS.data), rtol=1e-6, atol=1e-6)
        assert np.array_equal(answer["label"], iris.predict(IRIS.data))
        answer = client.predict("cancer", {f"f{at}": X[:, at : at + 1] for at in range(30)})
        chance = cancer.booster_.predict(X)
        assert np.allclose(answer["probabilities"][:, 1], chance, rtol=1e-6, atol=1e-6)
    holes = IRIS.data[:5].mask(np.eye(5, 4, dtype=bool))
    body = {"dataframe_split": json.loads(holes.to_json(orient="split", index=False))}
    predictions = httpx.post(f"{url}/serving-endpoints/iris/invocations", json=body)
    assert predictions.json()["predictions"] == iris.predict(holes).tolist()
    assert process.stop() == 0


def test_a_packaged_booster_is_served_from_the_registry(start, run, iris, tmp_path: Path) -> None:
    IRIS.data[::30].to_csv(tmp_path / "rows.csv", index=False)
    logged = run(
        "models", "log", "iris.ubj", "--name", "iris", "--alias", "champion", "--example", "rows.csv", "--json"
    )
    assert logged.returncode == 0, logged.stderr
    assert json.loads(logged.stdout)["why"] == "The model is XGBoost as it came."
    examined = run("doctor", "models:/iris@champion", "--json")
    assert examined.returncode == 0, examined.stdout
    levels = {one["check"]: one["level"] for one in json.loads(examined.stdout)["findings"]}
    assert set(levels.values()) == {"ok"}, examined.stdout
    process = start("serve", "models:/iris@champion", "--port", "0")
    with fairlead.Client(process.url()) as client:
        answer = client.predict("iris", {name: IRIS.data[[name]].to_numpy() for name in IRIS.data.columns})
        assert np.array_equal(answer["label"], iris.predict(IRIS.data))
    assert process.stop() == 0


def test_a_tflite_file(start, run, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed: pip install 'fairlead[litert]'")
    from tflite_files import exponential

    exponential(tmp_path / "grow.tflite")
    logged = run("models", "log", "grow.tflite", "--name", "grow", "--alias", "champion")
    assert logged.returncode == 0, logged.stderr
    assert run("doctor", "models:/grow@champion").returncode == 0
    process = start("serve", "./grow.tflite", "again=models:/grow@champion", "--port", "0")
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    with fairlead.Client(process.url()) as client:
        for endpoint in ("grow", "again"):
            assert np.allclose(client.predict(endpoint, {"x": rows})["y"], np.exp(rows), rtol=1e-6)
    assert process.stop() == 0


def test_a_broken_booster_is_one_sentence(run, iris, tmp_path: Path) -> None:
    (tmp_path / "cut.ubj").write_bytes((tmp_path / "iris.ubj").read_bytes()[:200])
    result = run("serve", "./cut.ubj", "--port", "0")
    assert result.returncode == 1
    assert result.stderr.strip().splitlines()[-1].startswith("fairlead: cut.ubj is an XGBoost model that is broken")
    assert "Traceback" not in result.stderr
