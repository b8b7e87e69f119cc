"""Fitting a cascade from a file."""

from __future__ import annotations

import gzip
import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from fairlead.contracts.errors import UsageError
from fairlead.kit.config import home
from fairlead.kit.spec.cascade import Cascade
from fairlead.serve.llm.cascade import record
from fairlead.testing.clock import ManualClock
from fairlead.wiring.llm import cascades, fits


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def rows(count: int = 1200) -> list[dict[str, Any]]:
    chance = random.Random(4)
    found = []
    for number in range(count):
        sure = chance.random()
        found.append(
            {"prompt": f"question {number}", "confidence": sure, "cheap": chance.random() < sure**0.2, "big": True}
        )
    return found


def test_by_confidence(tmp_path: Path) -> None:
    data = write(tmp_path / "rows.jsonl", rows())
    made = fits.fitted(home(tmp_path), ManualClock(), "assistant", "small", data, max_loss=0.05)
    kept = record.read(tmp_path / "cascades" / "assistant" / "small.json")
    assert kept == made.record
    assert made.record.signal == "mean"
    assert made.record.made == "2023-11-14"
    assert made.record.tested is not None
    assert made.record.fitted.rows + made.record.tested.rows == 1200
    assert made.record.tested.loss < 0.06
    assert made.record.tested.kept > 0.3
    step = cascades._step(home(tmp_path), "assistant", "small", Cascade(steps=("small", "big"), max_loss=0.05))
    assert step.threshold == made.record.threshold
    with pytest.raises(UsageError, match="fit it again"):
        cascades._step(home(tmp_path), "assistant", "small", Cascade(steps=("small", "big"), max_loss=0.02))


def test_by_logprobs_and_by_the_question(tmp_path: Path) -> None:
    chance = random.Random(1)
    every = []
    for number in range(1600):
        easy = chance.random() < 0.5
        prompt = f"add {number} and {number + 1}" if easy else f"prove lemma {number} of topology"
        every.append(
            {
                "prompt": prompt,
                "weak_correct": easy,
                "strong_correct": True,
                "logprobs": [-0.01, -0.02 if easy else -2.0],
            }
        )
    data = write(tmp_path / "rows.jsonl.gz", every)
    made = fits.fitted(home(tmp_path), ManualClock(), "c", "small", data, signal="min")
    assert made.record.tested is not None
    assert (made.record.tested.loss, made.record.tested.kept > 0.4) == (0.0, True)
    by_question = fits.fitted(home(tmp_path), ManualClock(), "c", "small", data, signal="router")
    assert by_question.recovered > 0.7
    assert by_question.points[5].quality > by_question.points[5].random + 0.2
    step = cascades._step(home(tmp_path), "c", "small", Cascade(steps=("small", "big")))
    assert step.router is not None
    assert step.router.score("add 5 and 7") > step.threshold > step.router.score("prove lemma 9 of topology")


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"cheap": True}, "line 1: cheap and big say"),
        ({"cheap": 3, "big": True}, "line 1: Expected"),
        ({"cheap": True, "big": True}, "without a prompt"),
        ({"cheap": True, "big": True, "confidence": 2.0}, "without logprobs or a confidence from 0 to 1"),
    ],
)
def test_rows_that_say_too_little(tmp_path: Path, row: dict[str, Any], told: str) -> None:
    data = write(tmp_path / "rows.jsonl", [row] * 3)
    with pytest.raises(UsageError, match=told):
        fits.fitted(home(tmp_path), ManualClock(), "c", "small", data)


def test_files_that_are_none(tmp_path: Path) -> None:
    at, clock = home(tmp_path), ManualClock()
    with pytest.raises(UsageError, match="cannot be read"):
        fits.fitted(at, clock, "c", "small", tmp_path / "none.jsonl")
    (tmp_path / "bad.gz").write_bytes(b"\x1f\x8bnothing")
    with pytest.raises(UsageError, match="cannot be read"):
        fits.fitted(at, clock, "c", "small", tmp_path / "bad.gz")
    (tmp_path / "empty.jsonl").write_text("\n\n")
    with pytest.raises(UsageError, match="has no rows"):
        fits.fitted(at, clock, "c", "small", tmp_path / "empty.jsonl")
    data = write(tmp_path / "rows.jsonl", rows(40))
    with pytest.raises(UsageError, match="are needed"):
        fits.fitted(at, clock, "c", "small", data)
    with pytest.raises(UsageError, match="between 0 and 1"):
        fits.fitted(at, clock, "c", "small", data, max_loss=0.0)
    with pytest.raises(UsageError, match="endpoint name"):
        fits.fitted(at, clock, "../c", "small", write(tmp_path / "rows.jsonl", rows()), max_loss=0.1)


def test_the_shared_router_data_are_better_than_chance(tmp_path: Path) -> None:
    found = os.environ.get("FAIRLEAD_DATA")
    if not found:
        pytest.skip("FAIRLEAD_DATA is not set")
    data = Path(found, "router-routellm", "mmlu_correctness.jsonl.gz")
    made = fits.fitted(home(tmp_path), ManualClock(), "c", "small", data, max_loss=0.1)
    assert made.recovered > 0.53
    assert made.record.fitted.high <= 0.1
