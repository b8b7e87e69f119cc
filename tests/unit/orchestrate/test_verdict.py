"""Each gate passes what is fine, fails what is not, and says inconclusive of what nobody can know yet."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sights import EDGES, arm, failing, good

from fairlead.contracts.errors import UsageError
from fairlead.contracts.plans import Answer, Check
from fairlead.orchestrate.observed import Arm, Observed
from fairlead.orchestrate.verdict import SAMPLE_RATIO, gate, look, overall

ALL = (gate("error_rate"), gate("latency_p99"), gate("prediction_drift"), gate("mean:revenue", 0.1))


def answers(
    observed: Observed, *, paired: bool = False, shares: tuple[float, float] | None = None
) -> dict[str, Answer]:
    gates = (*ALL, gate("flip_rate"))
    checks = look(observed, gates, alpha=0.05, comparisons=20, paired=paired, shares=shares)
    return {check.name: check.answer for check in checks}


def test_a_good_candidate_passes_everything() -> None:
    assert answers(good(), shares=(50, 50)) == dict.fromkeys([*(one.name for one in ALL), SAMPLE_RATIO], Answer.PASS)


def test_shadow_looks_at_pairs() -> None:
    expected = ("error_rate", "latency_p99", "prediction_drift", "flip_rate")
    assert answers(good(60_000, 60_000), paired=True) == dict.fromkeys(expected, Answer.PASS)


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("error_rate", Observed(arm(5000, 50), arm(5000, 200), EDGES)),
        ("latency_p99", Observed(arm(5000), arm(5000, slow=6), EDGES)),
        ("prediction_drift", Observed(arm(5000), arm(5000, shift=5), EDGES)),
        ("mean:revenue", Observed(arm(5000), arm(5000, mean=0.8), EDGES)),
    ],
)
def test_a_bad_candidate_fails_where_it_is_bad(name: str, bad: Observed) -> None:
    found = answers(bad)
    assert found.pop(name) is Answer.FAIL
    assert Answer.FAIL not in found.values()


def test_too_many_flips_fail_only_in_shadow() -> None:
    flipped = Observed(arm(1000), arm(1000), EDGES, pairs=1000, flips=400)
    assert answers(flipped, paired=True)["flip_rate"] is Answer.FAIL
    assert "flip_rate" not in answers(flipped)
    unpaired = replace(flipped, pairs=0, flips=0)
    assert answers(unpaired, paired=True)["flip_rate"] is Answer.INCONCLUSIVE


@pytest.mark.parametrize("calls", [(0, 0), (1000, 0), (0, 1000), (20, 20)])
def test_little_or_no_data_is_inconclusive(calls: tuple[int, int]) -> None:
    seen = Observed(arm(calls[0]), arm(calls[1]), EDGES)
    checks = look(seen, ALL, alpha=0.05, comparisons=20)
    assert overall(checks) is Answer.INCONCLUSIVE
    assert all(check.why for check in checks)


@pytest.mark.parametrize("calls", [50, 500, 100_000])
def test_all_errors_never_pass(calls: int) -> None:
    nothing = Arm(calls, calls, np.zeros(60, np.int64), np.zeros(20, np.int64))
    assert overall(look(Observed(arm(calls), nothing, EDGES), ALL, alpha=0.05, comparisons=20)) is Answer.FAIL
    both = look(Observed(nothing, nothing, EDGES), (gate("error_rate"),), alpha=0.05, comparisons=20)
    assert overall(both) is Answer.INCONCLUSIVE, "the champion fails as well: no evidence"


def test_a_dead_canary_is_a_sample_ratio_mismatch() -> None:
    found = answers(Observed(arm(3000), arm(0), EDGES), shares=(95, 5))
    assert found[SAMPLE_RATIO] is Answer.FAIL
    assert found["error_rate"] is Answer.INCONCLUSIVE


def test_missing_scores_and_metrics_are_inconclusive() -> None:
    bare = Arm(5000, 0, arm(5000).latency)
    found = answers(Observed(bare, bare, EDGES))
    assert found["prediction_drift"] is found["mean:revenue"] is Answer.INCONCLUSIVE


def test_lower_is_better_turns_the_mean() -> None:
    cost = gate("mean:revenue", 0.1, higher_is_better=False)
    (check,) = look(Observed(arm(5000), arm(5000, mean=1.3), EDGES), (cost,), alpha=0.05, comparisons=4)
    assert check.answer is Answer.FAIL


def test_more_comparisons_ask_for_more_evidence_to_fail_and_not_to_pass() -> None:
    bad = Observed(arm(1200, 12), arm(1200, 54), EDGES)
    few, many = (look(bad, ALL[:1], alpha=0.05, comparisons=n)[0] for n in (1, 10_000))
    assert (few.answer, many.answer) == (Answer.FAIL, Answer.INCONCLUSIVE)
    few, many = (look(good(), ALL[:1], alpha=0.05, comparisons=n)[0] for n in (1, 10_000))
    assert few.answer is many.answer is Answer.PASS
    assert few.evidence["alpha"] == 0.05


def test_the_evidence_is_json_numbers() -> None:
    for observed in (good(), failing(), Observed(arm(10**6), arm(10**6, slow=20), EDGES)):
        for check in look(observed, ALL, alpha=0.05, comparisons=20, shares=(50, 50)):
            for value in check.evidence.values():
                assert all(type(one) in (int, float) for one in (value if isinstance(value, list) else [value])), check


def test_overall() -> None:
    def checks(*given: Answer) -> list[Check]:
        return [Check(str(place), one, "") for place, one in enumerate(given)]

    assert overall([]) is Answer.INCONCLUSIVE
    assert overall([Check(SAMPLE_RATIO, Answer.PASS, "")]) is Answer.INCONCLUSIVE
    assert overall(checks(Answer.PASS, Answer.INCONCLUSIVE)) is Answer.INCONCLUSIVE
    assert overall(checks(Answer.INCONCLUSIVE, Answer.FAIL)) is Answer.FAIL
    assert overall(checks(Answer.PASS, Answer.PASS)) is Answer.PASS


@pytest.mark.parametrize(
    ("name", "margin", "said"),
    [
        ("errors", None, "the gates are error_rate"),
        ("mean:", 1.0, "not known"),
        ("mean:revenue", None, "needs a margin"),
        ("latency_p99", 0.9, "above 1"),
        ("latency_p0", None, "percentile"),
        ("error_rate", 0.0, "above 0"),
        ("error_rate", 1.5, "below 1"),
        ("error_rate", float("nan"), "margin nan"),
    ],
)
def test_a_gate_that_makes_no_sense_is_refused(name: str, margin: float | None, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        gate(name, margin)
