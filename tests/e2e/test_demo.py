"""``fairlead demo`` as a new user runs it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import httpx
import numpy as np
import pytest


def write_csv(path: Path, rows: int = 400) -> Path:
    """Mixed columns with holes in them, an identifier, and a target that they explain."""
    rng = np.random.default_rng(3)
    age = rng.integers(18, 90, rows).astype(object)
    income = np.round(rng.lognormal(10, 1, rows), 2).astype(object)
    plan = rng.choice(np.array(["basic", "plus", "", "pro, yearly"], object), rows)
    left = (rng.random(rows) < 0.2 + 0.6 * (plan == "basic")).astype(int)
    age[rng.random(rows) < 0.1] = ""
    income[rng.random(rows) < 0.1] = " "
    lines = ["id,age,income,plan,left"]
    lines += [f'c{i},{age[i]},{income[i]},"{plan[i]}",{"yes" if left[i] else "no"}' for i in range(rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.slow
def test_the_demo_on_bundled_data_and_again(run) -> None:
    for version in ("1", "2"):
        result = run("demo", "--exit", "--json", "--port", "0", "--seconds", "0.5")
        assert result.returncode == 0, result.stderr
        told = json.loads(result.stdout)
        assert told["metrics"]["roc_auc"] > 0.98
        assert told["model"]["version"] == told["endpoint"]["version"] == version
        assert told["model"]["runtime"] == "onnx"
        assert told["parity"]["agrees"] is True
        assert told["traffic"]["calls"] > 20
        assert (told["traffic"]["wrong"], told["traffic"]["errors"]) == (0, 0)
    history = json.loads(run("models", "history", "tumour-classifier", "--json").stdout)
    moves = history if isinstance(history, list) else history["moves"]
    assert [(move["before"], move["after"]) for move in moves] == [("", "1"), ("1", "2")]


@pytest.mark.slow
def test_the_demo_on_a_table_with_holes(start, run, tmp_path: Path) -> None:
    table = write_csv(tmp_path / "leavers.csv")
    result = run(
        "demo",
        "--data",
        str(table),
        "--target",
        "left",
        "--id",
        "id",
        "--exit",
        "--json",
        "--port",
        "0",
        "--seconds",
        "1",
    )
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["data"]["dropped"] == {"id": "the identifier"}
    assert (told["traffic"]["wrong"], told["traffic"]["errors"]) == (0, 0)
    assert {one["case"] for one in told["parity"]["differences"]} >= {"held-out", "missing", "unseen"}
    process = start("serve", "models:/leavers@champion", "--port", "0")
    url = process.url()
    old = told["endpoint"]["url"]
    pasted = subprocess.run(
        told["endpoint"]["curl"].replace(old, url), shell=True, capture_output=True, text=True, check=True
    )
    assert json.loads(pasted.stdout)["predictions"][0] in ("yes", "no")
    with httpx.Client(base_url=url) as client:
        holes = {
            "dataframe_records": [{"age": None, "income": None, "plan": None}, {"age": 30, "income": 1e4, "plan": ""}]
        }
        assert len(client.post("/invocations", json=holes).json()["predictions"]) == 2
    assert process.stop() == 0


@pytest.mark.slow
def test_the_demo_on_telco_churn(run) -> None:
    """Real customers: mixed columns, blanks in TotalCharges. The numbers that a reader of the issue asks for."""
    data = os.environ.get("FAIRLEAD_DATA")
    if not data:
        pytest.skip("FAIRLEAD_DATA is not set")
    table = Path(data) / "telco-churn" / "telco-customer-churn.csv"
    words = ["demo", "--data", str(table), "--target", "Churn", "--id", "customerID", "--port", "0"]
    result = run(*words, "--exit", "--json", "--seconds", "0.5")
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["data"]["rows"] == 7043
    assert 0.82 < told["metrics"]["roc_auc"] < 0.87
    assert told["model"]["runtime"] == "onnx", told["model"]["why"]
    cases = {(one["case"], one["output"]): one for one in told["parity"]["differences"]}
    for case in ("held-out", "missing", "unseen"):
        assert cases[case, "label"]["flips"] == 0
        assert cases[case, "probabilities"]["p99"] <= cases[case, "probabilities"]["largest"] < 1e-5
        assert cases[case, "probabilities"]["alone"] < 1e-5
    assert 0 < told["traffic"]["p50_ms"] <= told["traffic"]["p99_ms"]
    assert (told["traffic"]["wrong"], told["traffic"]["errors"]) == (0, 0)


def test_wrong_use_is_told_before_the_work(run) -> None:
    result = run("demo", "--data", "x.csv")
    assert result.returncode == 2, result.stderr
    assert result.stderr == "fairlead: --data and --target go together: the file, and the column to predict\n"


def test_a_home_that_takes_no_file_is_told_before_the_work(run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run("demo", "--exit", "--port", "0", "--home", str(tmp_path / "file" / "home"))
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("fairlead: Not a directory")


def test_a_port_that_is_taken_is_told_before_the_work(start, run, doubler: Path) -> None:
    port = start("serve", str(doubler), "--port", "0").url().rpartition(":")[2]
    result = run("demo", "--exit", "--port", port)
    assert result.returncode == 1
    assert result.stdout == ""
    assert "is in use by another process" in result.stderr
