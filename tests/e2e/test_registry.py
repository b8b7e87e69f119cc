"""Models that somebody else logged to MLflow: served as they are, checked against what pyfunc says in process."""

from __future__ import annotations

import json
import re
import shlex
import warnings
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder


def frame(rows: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(11)
    return pd.DataFrame(
        {
            "tenure": rng.integers(0, 72, rows).astype(float),
            "charges": np.round(rng.uniform(18, 120, rows), 2),
            "contract": rng.choice(["monthly", "yearly", "two years"], rows),
        }
    )


def target(table: pd.DataFrame) -> np.ndarray:
    score = table["charges"] / 60 - table["tenure"] / 36 + (table["contract"] == "monthly")
    return np.where(score > score.median(), "leaves", "stays")


def pipeline(model: Any) -> Pipeline:
    parts = [
        ("numbers", "passthrough", ["tenure", "charges"]),
        ("words", OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["contract"]),
    ]
    return Pipeline([("columns", ColumnTransformer(parts)), ("trees", model)])


@pytest.fixture
def mlflow_home(tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """MLflow pointed at the database that ``fairlead`` will use."""
    home = Path(environment["FAIRLEAD_HOME"])
    home.mkdir()
    uri = f"sqlite:///{home / 'mlflow.db'}"
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.setenv(name, uri)  # mlflow writes both for its child processes; this takes them back
    monkeypatch.chdir(home)  # MLflow keeps the default experiment's files where its database was first opened
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow

        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
        experiment = mlflow.create_experiment("theirs", artifact_location=(home / "artifacts").as_uri())
        mlflow.set_experiment(experiment_id=experiment)
        yield mlflow


def log(mlflow: Any, model: Pipeline, table: pd.DataFrame, name: str, **options: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        signature = mlflow.models.infer_signature(table, model.predict(table))
        with mlflow.start_run():
            mlflow.sklearn.log_model(
                model, name="model", signature=signature, input_example=table.head(3), registered_model_name=name,
                **options,
            )  # fmt: skip
        mlflow.MlflowClient().set_registered_model_alias(name, "champion", "1")


def payloads(table: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """The four JSON shapes of MLflow's scoring server, and CSV."""
    records = json.loads(table.to_json(orient="records"))
    split = json.loads(table.to_json(orient="split"))
    as_json = "application/json"
    return {
        "dataframe_split": (json.dumps({"dataframe_split": split}), as_json),
        "dataframe_records": (json.dumps({"dataframe_records": records}), as_json),
        "instances": (json.dumps({"instances": records}), as_json),
        "inputs": (json.dumps({"inputs": table.to_dict(orient="list")}), as_json),
        "csv": (table.to_csv(index=False), "text/csv"),
    }


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_pickled_model_is_refused_trusted_with_the_command_it_names_and_served(mlflow_home, start, run) -> None:
    table = frame()
    model = pipeline(HistGradientBoostingClassifier(max_iter=30)).fit(table, target(table))
    log(mlflow_home, model, table, "churn", serialization_format="cloudpickle")

    refused = run("serve", "models:/churn@champion", "--port", "0")
    assert refused.returncode == 1
    told = refused.stderr.strip().splitlines()[-1]
    assert "pickle" in told
    command = re.search(r"`fairlead (models trust [^`]+)`", told)
    assert command, told
    words = shlex.split(command[1].replace("...", "reviewed in the test"))
    trusted = run(*words)
    assert trusted.returncode == 0, trusted.stderr

    process = start("serve", "models:/churn@champion", "--port", "0")
    expected = mlflow_home.pyfunc.load_model("models:/churn@champion").predict(table).tolist()
    with httpx.Client(base_url=process.url()) as client:
        for shape, (body, content_type) in payloads(table).items():
            reply = client.post("/invocations", content=body, headers={"content-type": content_type})
            assert reply.status_code == 200, (shape, reply.text)
            assert reply.json() == {"predictions": expected}, shape
    assert process.stop() == 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_every_payload_gives_what_pyfunc_gives(mlflow_home, start) -> None:
    """On the original runtime: labels equal, numbers to 1e-6."""
    table = frame()
    amount = (table["charges"] * table["tenure"]).to_numpy()
    log(mlflow_home, pipeline(HistGradientBoostingClassifier(max_iter=30)).fit(table, target(table)), table, "labels",
        skops_trusted_types=["sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"])  # fmt: skip
    log(mlflow_home, pipeline(HistGradientBoostingRegressor(max_iter=30)).fit(table, amount), table, "amounts",
        skops_trusted_types=["sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"])  # fmt: skip
    process = start("serve", "models:/labels@champion", "models:/amounts/1", "--port", "0")
    with httpx.Client(base_url=process.url()) as client:
        for name in ("labels", "amounts"):
            expected = mlflow_home.pyfunc.load_model(f"models:/{name}/1").predict(table)
            for shape, (body, content_type) in payloads(table).items():
                headers = {"content-type": content_type}
                reply = client.post(f"/serving-endpoints/{name}/invocations", content=body, headers=headers)
                assert reply.status_code == 200, (name, shape, reply.text)
                given = reply.json()["predictions"]
                if name == "labels":
                    assert given == expected.tolist(), shape
                else:
                    np.testing.assert_allclose(given, expected, rtol=1e-6)
    assert process.stop() == 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_onnx_made_by_fairlead_gives_what_pyfunc_gives(mlflow_home, start, run, tmp_path: Path) -> None:
    """On float32 ONNX: labels equal, numbers to 1e-5 relative."""
    import skops.io

    table = frame()
    amount = (table["charges"] * table["tenure"]).to_numpy()
    table.to_csv(tmp_path / "rows.csv", index=False)
    for name, model, wanted in (
        ("labels", HistGradientBoostingClassifier(max_iter=30), target(table)),
        ("amounts", HistGradientBoostingRegressor(max_iter=30), amount),
    ):
        skops.io.dump(pipeline(model).fit(table, wanted), tmp_path / f"{name}.skops")
        words = ["models", "log", f"{name}.skops", "--name", name, "--example", "rows.csv", "--alias", "champion"]
        logged = run(*words, "--why", "first")
        assert logged.returncode == 0, logged.stderr
    process = start("serve", "models:/labels@champion", "models:/amounts@champion", "--port", "0")
    with httpx.Client(base_url=process.url()) as client:
        for name in ("labels", "amounts"):
            assert client.get(f"/v2/models/{name}").json()["platform"] == "onnx_onnxv1", name
            expected = mlflow_home.pyfunc.load_model(f"models:/{name}/1").predict(table)
            for shape, (body, content_type) in payloads(table).items():
                headers = {"content-type": content_type}
                given = client.post(f"/serving-endpoints/{name}/invocations", content=body, headers=headers).json()
                if name == "labels":
                    assert given["predictions"] == list(expected), shape
                else:
                    np.testing.assert_allclose(given["predictions"], expected, rtol=1e-5, err_msg=shape)
    assert process.stop() == 0
