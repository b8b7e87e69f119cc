"""The gate: every answer of every check, and how often it is wrong."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fairlead.contracts.errors import UsageError
from fairlead.contracts.plans import Answer, Check, Verdict
from fairlead.kit.codec.records import from_body, to_body
from fairlead.retrain.gate import Answers, GateInput, GatePolicy, decide, overall, spent

PASS, FAIL, OPEN = Answer.PASS, Answer.FAIL, Answer.INCONCLUSIVE


def answers(truth: np.ndarray, noise: float, rng: np.random.Generator, shared: np.ndarray, **more: Any) -> Answers:
    """Scores around the truth; the less noise the better."""
    score = 1 / (1 + np.exp(-(2 * truth - 1 + shared + noise * rng.normal(size=len(truth)))))
    return Answers(score=score, label=(score > 0.5).astype(int), **more)


def evidence(rows: int = 2000, mine: float = 0.5, other: float = 1.5, seed: int = 0, **more: Any) -> GateInput:
    rng = np.random.default_rng(seed)
    truth = (rng.random(rows) < 0.4).astype(int)
    shared = rng.normal(size=rows)
    given = GateInput(
        id="v-1",
        model="churn",
        version="2",
        against="1",
        at_ms=5,
        truth=truth,
        challenger=answers(truth, mine, rng, shared, seconds=np.full(11, 0.001), size=10),
        rival=answers(truth, other, rng, shared, seconds=np.full(11, 0.001), size=10),
    )
    return replace(given, **more)


def check(verdict: Verdict, name: str) -> Check:
    return next(one for one in verdict.checks if one.name == name)


def test_a_better_challenger_passes_with_numbers() -> None:
    verdict = decide(GatePolicy(min_lift=0.01), evidence())
    assert verdict.answer is PASS
    assert (verdict.id, verdict.about, verdict.model, verdict.version, verdict.against) == (
        "v-1",
        "gate",
        "churn",
        "2",
        "1",
    )
    found = check(verdict, "superiority")
    assert found.evidence["lower"] > 0.01
    assert f"{found.evidence['first']:.4f} against {found.evidence['second']:.4f}" in found.why
    assert from_body(Verdict, json.loads(json.dumps(to_body(verdict)))).answer is PASS


def test_a_worse_challenger_fails() -> None:
    verdict = decide(GatePolicy(), evidence(mine=1.5, other=0.5))
    assert verdict.answer is check(verdict, "superiority").answer is FAIL


def test_a_lift_that_cannot_be_shown_is_inconclusive() -> None:
    verdict = decide(GatePolicy(min_lift=0.005), evidence(mine=1.0, other=1.05))
    assert verdict.answer is check(verdict, "superiority").answer is OPEN


def test_the_same_model_fails_superiority_and_is_not_inferior() -> None:
    given = evidence(fresh=True)
    given = replace(given, challenger=given.rival)
    assert decide(GatePolicy(min_lift=0.005), given).answer is FAIL
    assert decide(GatePolicy(policy="non-inferiority"), given).answer is PASS


@pytest.mark.parametrize(("fresh", "answer"), [(True, PASS), (False, FAIL), (None, OPEN)])
def test_a_refresh_needs_fresher_data(fresh: bool | None, answer: Answer) -> None:
    verdict = decide(GatePolicy(policy="non-inferiority"), evidence(fresh=fresh, fresh_why="until 7"))
    assert verdict.answer is check(verdict, "freshness").answer is answer
    assert "until 7" in check(verdict, "freshness").why
    assert "no times" in check(decide(GatePolicy(policy="non-inferiority"), evidence()), "freshness").why


def test_an_inferior_refresh_fails() -> None:
    verdict = decide(GatePolicy(policy="non-inferiority", margin=0.01), evidence(mine=2, other=0.5, fresh=True))
    assert check(verdict, "non-inferiority").answer is FAIL


class TestNoChampion:
    def baseline(self, **more: Any) -> GateInput:
        given = evidence(against="", **more)
        rows = len(given.truth)
        return replace(given, rival=Answers(score=np.full(rows, 0.4), label=np.zeros(rows, int)))

    def test_a_baseline_decides(self) -> None:
        policy = GatePolicy(policy="non-inferiority", slices=("x",), calibration="ece", max_size_ratio=1, min_lift=0.01)
        verdict = decide(policy, self.baseline())
        assert verdict.answer is PASS
        assert check(verdict, "better than a baseline").evidence["second"] == 0.5
        assert {one.name for one in verdict.checks} == {
            "holdout",
            "answers",
            "time order",
            "hold-out use",
            "better than a baseline",
        }

    def test_noise_is_no_better_than_a_baseline(self) -> None:
        given = self.baseline()
        rng = np.random.default_rng(1)
        noise = Answers(score=rng.random(len(given.truth)))
        assert decide(GatePolicy(min_lift=0.1), replace(given, challenger=noise)).answer is FAIL

    def test_accuracy_against_the_majority(self) -> None:
        assert decide(GatePolicy(metric="accuracy"), self.baseline()).answer is PASS

    def test_a_baseline_without_scores_is_named(self) -> None:
        given = replace(self.baseline(), rival=Answers())
        assert "the baseline gives no score" in check(decide(GatePolicy(), given), "answers").why


class TestGround:
    """Without ground nothing is compared."""

    @staticmethod
    def only(policy: GatePolicy, given: GateInput, name: str) -> Check:
        verdict = decide(policy, given)
        found = check(verdict, name)
        assert verdict.answer is found.answer
        assert "superiority" not in {one.name for one in verdict.checks}
        return found

    def test_too_few_rows(self) -> None:
        found = self.only(GatePolicy(), evidence(rows=199), "holdout")
        assert (found.answer, found.evidence["rows"]) == (OPEN, 199)

    def test_no_rows(self) -> None:
        assert self.only(GatePolicy(), evidence(rows=0, time=np.zeros(0)), "holdout").answer is OPEN

    def test_one_class(self) -> None:
        given = evidence()
        found = self.only(GatePolicy(), replace(given, truth=np.zeros_like(given.truth)), "holdout")
        assert found.answer is OPEN
        assert "same target" in found.why

    def test_three_classes(self) -> None:
        given = evidence()
        found = self.only(GatePolicy(), replace(given, truth=given.truth + (np.arange(2000) % 2)), "holdout")
        assert "needs two classes" in found.why

    @pytest.mark.parametrize(("who", "answer"), [("challenger", FAIL), ("rival", OPEN)])
    def test_answers_that_are_no_numbers(self, who: str, answer: Answer) -> None:
        given = evidence()
        score = getattr(given, who).score.copy()
        score[3:5] = np.nan
        found = self.only(GatePolicy(), replace(given, **{who: Answers(score=score)}), "answers")
        assert (found.answer, found.evidence["missing"]) == (answer, 2)

    @pytest.mark.parametrize(("who", "answer"), [("challenger", FAIL), ("rival", OPEN)])
    def test_a_model_that_raises(self, who: str, answer: Answer) -> None:
        found = self.only(GatePolicy(), evidence(**{who: Answers(problem="ValueError: no")}), "answers")
        assert found.answer is answer
        assert "ValueError: no" in found.why

    def test_answers_of_another_kind(self) -> None:
        given = evidence()
        found = self.only(
            GatePolicy(metric="accuracy"), replace(given, rival=Answers(score=given.rival.score)), "answers"
        )
        assert found.answer is OPEN
        assert "champion gives no label" in found.why

    def test_calibration_needs_scores_too(self) -> None:
        given = evidence()
        labels = Answers(label=given.challenger.label)
        policy = GatePolicy(metric="accuracy", calibration="brier")
        assert self.only(policy, replace(given, challenger=labels), "answers").answer is OPEN

    def test_rows_out_of_order(self) -> None:
        time = np.arange(2000.0)[::-1]
        assert self.only(GatePolicy(), evidence(time=time), "time order").answer is FAIL

    def test_training_past_the_hold_out(self) -> None:
        found = self.only(GatePolicy(), evidence(time=np.arange(2000.0), trained_until=7.0), "time order")
        assert found.answer is FAIL
        assert "past the first held-out row" in found.why

    @pytest.mark.parametrize("until", [None, 0.0, -5.0])
    def test_rows_in_order(self, until: float | None) -> None:
        verdict = decide(GatePolicy(), evidence(time=np.arange(2000.0), trained_until=until))
        assert check(verdict, "time order").answer is PASS

    def test_a_hold_out_that_was_used_too_often(self) -> None:
        found = self.only(GatePolicy(max_uses=3), evidence(uses=3), "hold-out use")
        assert (found.answer, found.evidence["look"]) == (OPEN, 4)


def test_each_look_spends_of_one_budget() -> None:
    assert sum(spent(0.05, uses) for uses in range(10_000)) == pytest.approx(0.05, rel=1e-3)
    assert spent(0.05, 0) == 0.025
    first = check(decide(GatePolicy(), evidence()), "superiority").evidence
    fifth = check(decide(GatePolicy(), evidence(uses=4)), "superiority").evidence
    assert (first["alpha"], fifth["alpha"]) == pytest.approx((0.05 / 2, 0.05 / 30))
    assert fifth["lower"] < first["lower"]


class TestSlices:
    policy = GatePolicy(slices=("region",), slice_margin=0.05)

    def given(self, broken: bool = False, **more: Any) -> GateInput:
        given = evidence(rows=3000, **more)
        region = np.array(["east", "north", "west"])[np.arange(3000) % 3]
        score = given.challenger.score
        assert score is not None
        if broken:
            score = np.where(region == "west", 1 - score, score)
        return replace(given, challenger=replace(given.challenger, score=score), slices={"region": region})

    def test_all_good(self) -> None:
        found = check(decide(self.policy, self.given()), "slices")
        assert found.answer is PASS
        assert set(found.evidence["slices"]) == {"region=east", "region=north", "region=west"}

    def test_one_broken_slice_fails(self) -> None:
        found = check(decide(self.policy, self.given(broken=True)), "slices")
        assert found.answer is FAIL
        assert found.evidence["lost"] == ["region=west"]
        assert "region=west" in found.why

    def test_what_cannot_be_shown_is_inconclusive(self) -> None:
        tight = replace(self.policy, slice_margin=0.0)
        assert check(decide(tight, self.given(mine=1.0, other=1.05)), "slices").answer is OPEN

    def test_small_and_one_sided_slices_are_told_and_skipped(self) -> None:
        given = self.given()
        region = given.slices["region"].astype(object).copy()
        region[:50] = "tiny"
        region[np.flatnonzero(given.truth == 1)[100:300]] = "ones"
        found = check(decide(self.policy, replace(given, slices={"region": region})), "slices")
        assert set(found.evidence["skipped"]) == {"region=tiny", "region=ones"}
        nothing = replace(self.policy, min_slice_rows=2000)
        assert check(decide(nothing, given), "slices").answer is OPEN

    def test_a_column_that_is_not_there(self) -> None:
        found = check(decide(GatePolicy(slices=("planet",)), self.given()), "slices")
        assert found.answer is FAIL
        assert "'planet'" in found.why

    def test_numbers_are_cut_into_quarters(self) -> None:
        given = self.given()
        age = np.arange(3000.0)
        age[::10] = np.nan
        few = np.arange(3000) % 4
        policy = replace(self.policy, slices=("age", "few"))
        found = check(decide(policy, replace(given, slices={"age": age, "few": few})), "slices").evidence["slices"]
        assert {name for name in found if name.startswith("few")} == {f"few={number}" for number in range(4)}
        assert {name: one["rows"] for name, one in found.items() if name.startswith("age")} == {
            "age=missing": 300,
            "age=lowest quarter": 675,
            "age=second quarter": 675,
            "age=third quarter": 675,
            "age=highest quarter": 675,
        }


def test_calibration_may_not_get_worse() -> None:
    given = evidence(rows=4000)
    score = given.challenger.score
    assert score is not None
    upside_down = Answers(score=1 - score)
    for kind in ("ece", "brier"):
        policy = GatePolicy(calibration=kind, max_latency_ratio=0, calibration_margin=0.05)
        assert check(decide(policy, given), "calibration").answer is PASS
        worse = check(decide(policy, replace(given, challenger=upside_down)), "calibration")
        assert worse.answer is FAIL
        assert worse.evidence["first"] > worse.evidence["second"]


@pytest.mark.parametrize(
    ("mine", "other", "answer"),
    [(0.1, 0.1, PASS), (0.5, 0.1, FAIL), (None, 0.1, OPEN), (0.1, None, OPEN), (0.1, 0, OPEN)],
)
def test_latency_and_size_have_budgets(mine: float | None, other: float | None, answer: Answer) -> None:
    given = evidence()
    pair = {
        "challenger": replace(given.challenger, seconds=rounds(mine), size=None if mine is None else int(mine * 1e7)),
        "rival": replace(given.rival, seconds=rounds(other), size=None if other is None else int(other * 1e7)),
    }
    verdict = decide(GatePolicy(max_latency_ratio=2, max_size_ratio=3), replace(given, **pair))
    assert check(verdict, "latency").answer is check(verdict, "size").answer is answer
    without = decide(GatePolicy(max_latency_ratio=0), replace(given, **pair))
    assert not {"latency", "size"} & {one.name for one in without.checks}


def rounds(seconds: float | None) -> np.ndarray | None:
    return None if seconds is None else np.full(11, seconds)


def test_latency_on_the_limit_is_not_judged_and_few_rounds_show_nothing() -> None:
    given = evidence()
    rng = np.random.default_rng(0)
    for mine, count, answer in (
        (2 * rng.lognormal(0, 0.3, 101), 101, OPEN),
        (1.2 * rng.lognormal(0, 0.3, 101), 101, PASS),
        (3 * rng.lognormal(0, 0.3, 101), 101, FAIL),
        (np.ones(3), 3, OPEN),
    ):
        pair = {
            "challenger": replace(given.challenger, seconds=mine),
            "rival": replace(given.rival, seconds=np.ones(count)),
        }
        found = check(decide(GatePolicy(max_latency_ratio=2), replace(given, **pair)), "latency")
        assert found.answer is answer
        assert f"in {count} rounds), and 2 is allowed" in found.why
        json.dumps(to_body(found), allow_nan=False)


def test_latency_is_misjudged_as_seldom_as_alpha_says_on_a_machine_with_spells() -> None:
    """Both models slow down by up to ten times, for a while, at random; a true ratio on the limit passes by chance."""
    rng = np.random.default_rng(1)
    given, wrong, runs = evidence(), {PASS: 0, FAIL: 0, OPEN: 0}, 1000
    for _ in range(runs):
        spells = np.repeat(rng.choice([1, 1, 3, 10], 11), 10)[:101]
        mine, other = (spells * rng.lognormal(0, 0.4, 101) for _ in "ab")
        pair = {
            "challenger": replace(given.challenger, seconds=2 * mine),
            "rival": replace(given.rival, seconds=other),
        }
        wrong[latency_of(replace(given, **pair))] += 1
    assert max(wrong[PASS], wrong[FAIL]) <= runs * 0.05 + 3 * math.sqrt(runs * 0.05 * 0.95)


def latency_of(given: GateInput) -> Answer:
    """The answer of the latency check alone: the others are made cheap."""
    return check(decide(GatePolicy(metric="accuracy", max_latency_ratio=2), given), "latency").answer


@pytest.mark.parametrize(("agrees", "answer"), [(True, PASS), (None, PASS), (False, FAIL)])
def test_parity_when_it_is_asked_for(agrees: bool | None, answer: Answer) -> None:
    verdict = decide(GatePolicy(parity=True), evidence(agrees=agrees))
    assert verdict.answer is check(verdict, "parity").answer is answer
    assert decide(GatePolicy(), evidence(agrees=False)).answer is PASS


@pytest.mark.parametrize(
    ("found", "answer"), [([], OPEN), ([PASS], PASS), ([PASS, OPEN], OPEN), ([OPEN, FAIL, PASS], FAIL)]
)
def test_the_worst_check_decides(found: list[Answer], answer: Answer) -> None:
    assert overall([Check("x", one, "") for one in found]) is answer


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"metric": "auc"}, "metric 'auc'"),
        ({"policy": "better"}, "gate.policy"),
        ({"calibration": "platt"}, "gate.calibration"),
        ({"alpha": 0.5}, "gate.alpha"),
        ({"margin": -0.1}, "margin"),
        ({"block": 0}, "gate.block"),
    ],
)
def test_a_wrong_policy_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        GatePolicy(**wrong)


def test_regression_by_any_metric() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=400)
    given = evidence(
        truth=truth,
        challenger=Answers(score=truth + 0.5 * rng.normal(size=400)),
        rival=Answers(score=truth + rng.normal(size=400)),
    )
    for metric in ("mae", "rmse", "r2"):
        assert decide(GatePolicy(metric=metric, max_latency_ratio=0), given).answer is PASS


class TestHowOftenItIsWrong:
    """Simulation, 150 challengers each, alpha 0.1 (0.05 at the first look); three standard errors are allowed."""

    trials, alpha = 150, 0.05

    def share(self, policy: GatePolicy, answer: Answer, name: str, make: Any) -> float:
        return (
            sum(check(decide(policy, make(seed)), name).answer is answer for seed in range(self.trials)) / self.trials
        )

    def test_an_equal_challenger_passes_superiority_as_often_as_alpha(self) -> None:
        policy = GatePolicy(alpha=2 * self.alpha, min_rows=100)
        found = self.share(policy, PASS, "superiority", lambda seed: evidence(rows=400, mine=1, other=1, seed=seed))
        assert found == pytest.approx(self.alpha, abs=3 * math.sqrt(self.alpha * (1 - self.alpha) / self.trials))

    def test_slices_that_are_all_equal_rarely_fail(self) -> None:
        policy = GatePolicy(
            alpha=2 * self.alpha, slices=("x",), slice_margin=0.0, min_slice_rows=50, max_latency_ratio=0
        )
        region = {"x": np.arange(600) % 6}
        made = lambda seed: evidence(rows=600, mine=1, other=1, seed=seed, slices=region)  # noqa: E731
        found = self.share(policy, FAIL, "slices", made)
        assert found <= self.alpha + 3 * math.sqrt(self.alpha * (1 - self.alpha) / self.trials)

    def test_one_slice_at_the_margin_rarely_passes(self) -> None:
        """Five slices much better, one no better at all, with margin 0: the worst case for passing."""

        def made(seed: int) -> GateInput:
            region = np.arange(600) % 6
            good, equal = evidence(rows=600, mine=0.1, seed=seed), evidence(rows=600, mine=1.5, seed=seed)
            assert good.challenger.score is not None
            score = np.where(region == 0, equal.challenger.score, good.challenger.score)
            return replace(good, challenger=Answers(score=score), slices={"x": region})

        policy = GatePolicy(
            alpha=2 * self.alpha, slices=("x",), slice_margin=0.0, min_slice_rows=50, max_latency_ratio=0
        )
        found = self.share(policy, PASS, "slices", made)
        assert found <= self.alpha + 3 * math.sqrt(self.alpha * (1 - self.alpha) / self.trials)
