"""Bounds, thresholds, routers, and what is kept of them."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest

from fairlead.contracts.errors import UsageError
from fairlead.contracts.generation import Generation, Message
from fairlead.serve.llm.cascade import record
from fairlead.serve.llm.cascade.auditing import agree
from fairlead.serve.llm.cascade.bounds import allowed, at_most, lower, needed, upper
from fairlead.serve.llm.cascade.confidence import MEAN, MIN, confidence
from fairlead.serve.llm.cascade.fitting import Row, checked, fit, frontier, recovered
from fairlead.serve.llm.cascade.router import features, question
from fairlead.serve.llm.cascade.training import train


def rows(count: int, chance: random.Random) -> list[Row]:
    """A cheap model that is right as often as it says, and a dear one that is right nine times of ten."""
    found = []
    for _ in range(count):
        score = chance.random()
        found.append(Row(score, chance.random() < score, chance.random() < 0.9))
    return found


@pytest.mark.parametrize(
    ("k", "n", "low", "high"), [(0, 100, 0.0, 0.0362167), (5, 100, 0.0164319, 0.1128349), (100, 100, 0.9637833, 1.0)]
)
def test_bounds_are_those_of_clopper_and_pearson(k: int, n: int, low: float, high: float) -> None:
    assert lower(k, n, 0.025) == pytest.approx(low, abs=1e-6)
    assert upper(k, n, 0.025) == pytest.approx(high, abs=1e-6)


def test_bounds_are_what_they_say() -> None:
    assert at_most(3, 10, 0.0) == 1.0
    assert at_most(3, 10, 1.0) == 0.0
    assert needed(0.02, 0.05) == 149
    assert upper(0, 149, 0.05) <= 0.02 < upper(0, 148, 0.05)
    for n in (50, 149, 800):
        most = allowed(n, 0.05, 0.1)
        assert most < 0 or upper(most, n, 0.1) <= 0.05
        assert upper(most + 1, n, 0.1) > 0.05


def test_confidence_does_not_fall_with_length() -> None:
    assert confidence([math.log(0.9)] * 3, MEAN) == pytest.approx(confidence([math.log(0.9)] * 300, MEAN))
    assert confidence([math.log(0.9), math.log(0.2)], MIN) == pytest.approx(0.2)
    assert confidence([], MEAN) is None
    assert confidence([math.nan], MEAN) is None
    assert confidence([-math.inf, 0.0], MEAN) == 0.0
    assert confidence([0.1], MEAN) == 1.0


def test_a_threshold_keeps_its_promise() -> None:
    chance = random.Random(5)
    broken = kept = 0
    for _ in range(200):
        fitted = fit(rows(400, chance), 0.05, 0.1)
        broken += 0.9 * (1 - fitted.threshold) ** 2 / 2 > 0.05  # what is lost of all calls, by how rows are made
        kept += fitted.kept > 0.2
        assert fitted.low <= fitted.loss <= fitted.high <= 0.05
    assert broken <= 32  # a tenth of 200, and three deviations more
    assert kept > 100


def test_a_threshold_is_tested_on_other_rows() -> None:
    chance = random.Random(6)
    found = checked(rows(2000, chance), 0.7, 0.05)
    assert found.low < 0.45 * 0.3**2 < found.high
    assert found.kept == pytest.approx(0.3, abs=0.03)


def test_rows_that_are_all_lost_keep_nothing_and_few_rows_promise_nothing() -> None:
    fitted = fit([Row(0.5, False, True)] * 200, 0.02, 0.05)
    assert (fitted.threshold, fitted.kept, fitted.loss) == (math.inf, 0.0, 0.0)
    with pytest.raises(UsageError, match="149 are needed"):
        fit([Row(0.5, True, True)] * 20, 0.02, 0.05)


def test_equal_scores_are_kept_or_not_together() -> None:
    fitted = fit([Row(0.9, True, True)] * 300 + [Row(0.5, False, True)] * 2 + [Row(0.5, True, True)] * 100, 0.01, 0.05)
    assert fitted.threshold == 0.9
    assert fitted.kept == 300 / 402


def test_the_frontier_lies_between_chance_and_the_best_choice() -> None:
    points = frontier(rows(4000, random.Random(1)))
    assert points[0].quality == points[0].random == points[0].oracle
    assert points[-1].quality == points[-1].oracle == pytest.approx(points[-1].random)
    assert all(one.random - 0.02 <= one.quality <= one.oracle for one in points)
    assert recovered(points) > 0.55
    assert recovered([points[0], points[0]]) == 0.0


def test_a_router_learns_and_is_kept(tmp_path: Path) -> None:
    texts = [f"add {n} and {n + 1}" for n in range(200)] + [f"prove lemma {n} of topology" for n in range(200)]
    router = train(texts, [True] * 200 + [False] * 200)
    assert router.score("add 900 and 3") > 0.8
    assert router.score("prove lemma 77 of topology") < 0.3
    again = record.unpacked(record.packed(router))
    assert again.score("add 1 and 2") == pytest.approx(router.score("add 1 and 2"), abs=1e-3)
    fitted = fit(rows(500, random.Random(2)), 0.1, 0.1)
    made = record.Record(
        "2026-01-01",
        "rows.jsonl",
        "00",
        "router",
        0.5,
        0.1,
        0.1,
        record.found(500, fitted),
        router=record.packed(router),
    )
    path = tmp_path / "deep" / "c.json"
    assert record.read(path) is None
    record.write(path, made)
    assert record.read(path) == made
    assert "router" not in record.told(made)


@pytest.mark.parametrize(
    ("text", "said"),
    [("[]", "is no fitted cascade"), ("{", "is no fitted cascade"), ("{}", "is no fitted cascade")],
)
def test_a_file_that_is_something_else(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=said):
        record.read(path)


def test_weights_that_are_damaged() -> None:
    router = train(["a", "b"], [True, False], bits=4)
    good = record.packed(router)
    for bad in ({"data": "?"}, {"bits": 5}, {"bits": 99}, {"data": good.data[:-8]}):
        fields = {"bits": good.bits, "bias": good.bias, "data": good.data} | bad
        with pytest.raises(UsageError, match="damaged"):
            record.unpacked(record.Weights(**fields))  # type: ignore[arg-type]


def test_features_are_of_length_one_and_the_question_is_what_the_user_said_last() -> None:
    places, values = features("Hello there", 12)
    assert (places < 1 << 12).all()
    assert float(values @ values) == pytest.approx(1.0, abs=1e-5)
    assert len(features("", 12)[0]) == 0
    assert len(features("\ud800", 12)[0]) > 0
    talk = (Message("user", "one"), Message("assistant", "two"), Message("user", "three"), Message("tool", "four"))
    assert question(Generation("x", "m", talk)) == "three"
    assert question(Generation("x", "m", (1, 2))) == ""


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("it is 1,024.", "so the answer: 1024", True),
        ("it is 7", "it is 8", False),
        ("Paris is the capital", "The capital is Paris.", True),
        ("Paris", "London", False),
        ("", "", True),
    ],
)
def test_answers_that_say_the_same(one: str, other: str, same: bool) -> None:
    assert agree(one, other) is same
