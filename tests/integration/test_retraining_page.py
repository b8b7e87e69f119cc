"""Real retrainings by the command: its records, ``fairlead runs`` and the console's pages say the same."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from fairlead.cli.main import main
from fairlead.kit import config
from fairlead.wiring.console.kept import Kept

pytest.importorskip("mlflow", reason="needs fairlead[registry]")
testing = pytest.importorskip("starlette.testclient")
opening = pytest.importorskip("fairlead.wiring.console.opening")
pytestmark = pytest.mark.slow

PIPELINE = """
import json
import numpy as np
from sklearn.linear_model import LogisticRegression
from fairlead.retrain.steps import Data

def load_data(ctx):
    how = json.loads((ctx.home / "how.json").read_text())
    if "raise" in how:
        raise RuntimeError(how["raise"])
    rng = np.random.default_rng(how["seed"])
    x = rng.normal(size=(1500, 2)).astype(np.float32)
    y = (x[:, 0] + x[:, 1] + 0.5 * rng.normal(size=1500) > 0).astype(int)
    rows = {"a": x[:, 0], "b": x[:, 1], "at": 1.76e9 + how["seed"] * 1500 + np.arange(1500), "y": y}
    return Data({n: v[:1000] for n, v in rows.items()}, {n: v[1000:] for n, v in rows.items()}, "y", time="at")

def train(ctx, data):
    x = np.column_stack([data.train["a"], data.train["b"] * (ctx.previous == "")])
    return LogisticRegression().fit(x, data.train["y"])
"""


def fairlead(capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch, *words: str) -> tuple[int, Any]:
    patch.setattr(sys, "argv", ["fairlead", *words, "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert out or err
    return int(str(ended.value.code)), json.loads(out) if out else err


def test_records_command_and_page_are_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    home = config.home(tmp_path / ".fairlead")
    home.root.mkdir()
    (tmp_path / "churn.py").write_text(PIPELINE)
    words = ("retrain", "churn", "--model", "churn", "--pipeline", "churn.py", "--why", "new <b>tariff</b>")
    told = []
    for how in ({"seed": 0}, {"seed": 1}, {"raise": "the warehouse is closed"}):
        (home.root / "how.json").write_text(json.dumps(how))
        told.append(fairlead(capsys, monkeypatch, *words))
    assert [code for code, _ in told] == [0, 1, 1]
    with testing.TestClient(opening.application(Kept(home), asks=False), base_url="http://127.0.0.1") as visit:
        _, listed = fairlead(capsys, monkeypatch, "runs", "list")
        rows = visit.get("/console/retraining.json").json()["rows"]
        assert [{name: one[name] for name in ("request", "state")} for one in rows] == listed
        assert [(one["state"], one["answer"]) for one in rows] == [("failed", ""), ("done", "fail"), ("done", "pass")]
        assert all(one["took_ms"] == one["request"]["ended_ms"] - one["request"]["started_ms"] > 0 for one in rows)
        for (_, said), row in zip(told[1::-1], rows[1:], strict=True):
            id_ = row["request"]["id"]
            _, shown = fairlead(capsys, monkeypatch, "runs", "show", id_)
            twin = visit.get(f"/console/retraining/{id_}.json").json()
            assert {name: twin[name] for name in shown} == shown
            assert (shown["request"], shown["gate"]) == (said["request"], said["verdict"])
            assert shown["tests"]["id"] == said["request"]["tested"]
            lift = next(check for check in said["verdict"]["checks"] if "first" in check["evidence"])["evidence"]
            (first, *_) = twin["compared"]
            names = ("challenger", "champion", "difference", "low", "high", "margin", "rows")
            same = ("first", "second", "estimate", "lower", "upper", "null", "rows")
            assert [first[name] for name in names] == [lift[name] for name in same]
            page = visit.get(f"/console/retraining/{id_}").text
            assert f"{lift['second']:.4f}" in page
            assert f"{lift['lower']:+.4f} to {lift['upper']:+.4f}" in page
            assert len(twin["tested"]) == len(shown["tests"]["checks"]) >= 8
            assert "<b>tariff" not in page
        lineage = rows[1]["request"]["lineage"]
        assert (lineage["champion"], lineage["rows"], lineage["holdout_rows"]) == ("1", 1000, 500)
        assert (lineage["from_ms"], lineage["until_ms"]) == (1_760_001_500_000, 1_760_002_999_000)
        assert lineage["run"]
        failed = visit.get(f"/console/retraining/{rows[0]['request']['id']}").text
        assert "pipeline_failed" in failed
        assert "the warehouse is closed" in failed
