"""Lineage, what is fresher, and what is fetched of the champion's run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from streams import stream

from fairlead.contracts.errors import PipelineFailed
from fairlead.contracts.plans import Answer, Check, RetrainRequest, Verdict
from fairlead.contracts.stores import Version
from fairlead.retrain.profile import profile
from fairlead.retrain.record import Lineage, Previous, fresher, keep, lineage, numbers_of, package, previous
from fairlead.retrain.steps import Data, pipeline, tables
from fairlead.testing.clock import ManualClock
from fairlead.testing.stores import MemoryRegistry

MINE = Lineage("r", "drift", "abc", "def", "123", "", "1", trained_until=7.0)
TEXT = "def load_data(ctx): pass\ndef train(ctx, data): pass\n"


def version(**tags: str) -> Version:
    return Version(
        "churn", "1", run_id="run1", tags={f"fairlead.{name.replace('_', '-')}": text for name, text in tags.items()}
    )


@pytest.mark.parametrize(
    ("tags", "fresh"),
    [
        ({"trained_until": "6.0"}, True),
        ({"trained_until": "7.0", "data": "other"}, False),
        ({"data": "abc"}, False),
        ({"data": "abd"}, True),
        ({}, True),
    ],
)
def test_fresher(tags: dict[str, str], fresh: bool) -> None:
    assert fresher(MINE, version(**tags))[0] is fresh


def test_lineage_of_a_pipeline(tmp_path: Path) -> None:
    (tmp_path / "churn.py").write_text(TEXT)
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("abcdef\n")
    frame = pd.DataFrame({"x": [1, 2], "y": [0, 1], "t": pd.to_datetime(["1970-01-01", "1970-01-02"])})
    request = RetrainRequest("r", "churn", "drift", "", 0)
    made = {}
    for time in ("t", ""):
        data = Data(frame, frame[:1], "y", time=time)
        tabled = tables(data, Path("p"))
        made[time] = lineage(pipeline(tmp_path / "churn.py"), data, tabled, request, version())
    assert made["t"].trained_until == 86_400.0
    assert made[""].trained_until is None
    assert made["t"].tags()["fairlead.commit"] == "abcdef"
    assert "fairlead.trained-until" not in made[""].tags()
    assert made["t"].data != made["t"].holdout


def test_what_a_run_keeps_the_next_one_finds(tmp_path: Path) -> None:
    registry = MemoryRegistry()
    (tmp_path / "churn.py").write_text(TEXT)
    before = profile(stream(400), "label")
    check = Check(
        "superiority", Answer.PASS, "", {"method": "x", "first": 0.8, "second": 0.7, "estimate": 0.1, "lower": 0.05}
    )
    verdict = Verdict("v", "gate", "churn", "2", "1", Answer.PASS, (check, Check("rows", Answer.PASS, "")), 0)
    run_id = keep(
        registry,
        "churn",
        Lineage("r", "drift", "abc", "def", "123", "commit", ""),
        verdict,
        params={},
        metrics={"a": 1.0, "b": float("nan")},
        profile=before,
        schema=b"schema",
        pipeline=tmp_path / "churn.py",
        work=tmp_path / "work",
    )
    kept = registry.runs[run_id]
    assert kept["metrics"] == {"a": 1.0}
    tags = kept["tags"]
    assert isinstance(tags, dict)
    assert tags["mlflow.source.git.commit"] == "commit"
    found = previous(registry, Version("churn", "2", run_id=run_id), tmp_path / "before")
    assert found == Previous(before, b"schema")
    assert previous(registry, None, tmp_path / "b") == Previous()
    assert previous(registry, Version("churn", "2"), tmp_path / "c") == Previous()
    assert previous(registry, Version("churn", "2", run_id="unknown"), tmp_path / "d") == Previous()
    names = {"gate.challenger": 0.8, "gate.champion": 0.7, "gate.lift": 0.1, "gate.lift_lower": 0.05}
    assert numbers_of(verdict) == names


def test_a_feature_of_times_is_refused(tmp_path: Path) -> None:
    table = {"when": np.datetime64("2024-01-01") + np.arange(3), "y": np.arange(3)}
    tabled = tables(Data(table, table, "y"), Path("p"))
    with pytest.raises(PipelineFailed, match=r"feature 'when' holds times.*name it in Data\.time or ignore"):
        package(object(), tabled, tmp_path / "model", name="m", token=None, trusted=(), clock=ManualClock())
