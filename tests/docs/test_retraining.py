"""The pipeline of docs/retraining.md trains on what an event store and a state store hold."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from fairlead.contracts.events import Label
from fairlead.contracts.plans import RetrainRequest
from fairlead.retrain import data_tests, gate
from fairlead.retrain.scores import METRICS
from fairlead.retrain.steps import Context, pipeline, tables
from fairlead.testing.state import MemoryState

PAGE = Path(__file__).parents[2] / "docs" / "retraining.md"


class Events:
    """What a pipeline asks of an event store: 100 predicted rows of two features."""

    def frame(self, endpoint: str, **asked: Any) -> dict[str, np.ndarray[Any, Any]]:
        x = np.random.default_rng(0).normal(size=(100, 2))
        ids = np.array([f"p{number}" for number in range(100)])
        rows = {"prediction_id": ids, "row": np.zeros(100, int), "at_ms": np.arange(100)}
        return {**rows, "in.a": x[:, 0], "in.b": x[:, 1]}


def test_the_pipeline_trains(tmp_path: Path) -> None:
    source = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)[0]
    path = tmp_path / "churn.py"
    path.write_text(source)
    state, events = MemoryState(), Events()
    frame = events.frame("churn")
    state.label([Label("churn", f"p{row}", int(frame["in.a"][row] > 0), 5) for row in range(100)])
    request = RetrainRequest("r", "churn", "human", "", 0)
    ctx = Context("churn", "churn", request, tmp_path, events=events, state=state)  # type: ignore[arg-type]
    found = pipeline(path)
    data = found.loaded(ctx)
    model = found.trained(ctx, data)
    assert found.evaluated(ctx, model, data) == {"train_rows": 75}
    held = tables(data, path).holdout
    assert np.mean(model.predict(np.column_stack([held["a"], held["b"]])) == held["label"]) > 0.9


def test_every_metric_and_policy_is_named() -> None:
    text = PAGE.read_text()
    assert all(f"`{name}`" in text for name in METRICS)
    policy = data_tests.DataPolicy()
    assert f"{policy.missing * 100:.0f} points more" in text
    assert f"spread {policy.spread:.0f} times" in text
    assert f"{policy.noise * 100:.0f} points more often" in text
    assert f"AUC under {policy.agreement}" in text
    assert gate.spent(1.0, 1) == 1 / 6
