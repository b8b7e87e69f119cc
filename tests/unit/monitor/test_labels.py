from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from statsmodels.duration.survfunc import SurvfuncRight

from fairlead.contracts.events import Label
from fairlead.contracts.state import KnownLabel
from fairlead.monitor.labels import answered, delays, history, join, kaplan_meier, mature, maturity


def frame(ids: list[str], at_ms: list[int], **more: list[Any]) -> dict[str, np.ndarray]:
    base: dict[str, Any] = {
        "prediction_id": np.array(ids, dtype=object),
        "row": np.zeros(len(ids), dtype=np.int64),
        "at_ms": np.array(at_ms, dtype=np.int64),
        "version": np.array(["1"] * len(ids), dtype=object),
        "arm": np.array(["champion"] * len(ids), dtype=object),
    }
    for name, values in more.items():
        base[name] = np.array(values, dtype=object if isinstance(values[0], str | None) else None)
    return base


def known(key: str, value: float | str, at_ms: int, *changes: tuple[int, float | str], **more: Any) -> KnownLabel:
    return KnownLabel(Label("churn", key, value, at_ms, **more), changes)


def test_labels_join_their_predictions() -> None:
    joined = join(frame(["a", "b", "c"], [10, 20, 30]), [known("c", 1.0, 50), known("a", 0.0, 40)])
    assert joined.rows.tolist() == [0, 2]
    assert joined.label.tolist() == [0.0, 1.0]
    assert joined.known_at_ms.tolist() == [40, 50]
    assert joined.at_ms.tolist() == [10, 30]
    assert (joined.predictions, joined.waiting) == (3, 0)
    assert joined.weight.tolist() == [1.0, 1.0]


def test_a_label_for_an_unknown_id_waits_and_joins_when_the_prediction_arrives() -> None:
    labels = [known("late", 1.0, 50), known("a", 0.0, 40)]
    before = join(frame(["a"], [10]), labels)
    assert before.waiting == 1
    assert [one.key for one in before.unknown] == ["late"]
    after = join(frame(["a", "late"], [10, 20]), labels)
    assert after.waiting == 0
    assert after.rows.tolist() == [0, 1]


def test_a_correction_has_the_value_of_its_time() -> None:
    one = known("a", 1.0, 90, (40, 0.0))
    assert history(one) == [(40, 0.0), (90, 1.0)]
    now = join(frame(["a"], [10]), [one])
    assert now.label.tolist() == [1.0]
    assert now.corrected.tolist() == [True]
    assert now.known_at_ms.tolist() == [40]
    assert join(frame(["a"], [10]), [one], as_of_ms=39).rows.tolist() == []
    then = join(frame(["a"], [10]), [one], as_of_ms=89)
    assert then.label.tolist() == [0.0]
    assert then.corrected.tolist() == [False]
    assert now.as_of(89).label.tolist() == [0.0]
    assert now.as_of(90).label.tolist() == [1.0]
    assert len(now.as_of(39)) == 0


def test_a_correction_that_claims_an_earlier_time_counts_from_the_value_it_replaces() -> None:
    assert history(known("a", 1.0, 5, (40, 0.0))) == [(40, 0.0), (40, 1.0)]


def test_predictions_after_the_time_are_not_known_then() -> None:
    joined = join(frame(["a", "b"], [10, 99]), [known("a", 1.0, 20), known("b", 1.0, 20)], as_of_ms=50)
    assert joined.rows.tolist() == [0]
    assert joined.predictions == 1
    assert joined.waiting == 1


def test_rows_of_a_call_have_their_own_labels() -> None:
    call = frame(["a", "a", "b"], [10, 10, 20], row=[0, 1, 0])
    joined = join(call, [known("a", "yes", 50, row=1), known("a", "no", 50, row=7)])
    assert joined.rows.tolist() == [1]
    assert joined.waiting == 1


def test_the_shadow_gets_the_label_too_and_a_repeated_row_counts_once() -> None:
    call = frame(["a", "a", "a"], [10, 10, 10], version=["1", "2", "1"], arm=["champion", "shadow", "champion"])
    joined = join(call, [known("a", 1.0, 50)])
    assert joined.column("version").tolist() == ["1", "2"]
    assert (joined.repeated, joined.predictions) == (1, 2)


def test_business_keys_join_through_the_entity_column() -> None:
    calls = frame(["a", "a", "b", "c"], [10, 10, 20, 30], row=[0, 1, 0, 0])
    calls["entity"] = np.array(["k1", "k2", "k1", None], dtype=object)
    joined = join(calls, [known("k1", 1.0, 50, by_key=True), known("k2", 0.0, 50, by_key=True)])
    assert joined.rows.tolist() == [0, 1, 2]
    assert joined.label.tolist() == [1.0, 0.0, 1.0]
    whole = {**calls, "entity": np.array(["k1", "k1", "k9", None], dtype=object)}
    second = join(whole, [known("k1", 0.0, 50, by_key=True, row=1), known("nobody", 0.0, 50, by_key=True)])
    assert second.rows.tolist() == [1]
    assert second.waiting == 1


def test_a_prediction_id_is_more_exact_than_a_business_key_once_it_is_known() -> None:
    calls = frame(["a"], [10])
    calls["in.order"] = np.array([17], dtype=np.int64)
    labels = [known("a", 1.0, 60), known("17", 0.0, 50, by_key=True)]
    for order in (labels, labels[::-1]):
        joined = join(calls, order, entity="in.order")
        assert joined.label.tolist() == [1.0]
        assert joined.as_of(55).label.tolist() == [0.0]
    assert join(calls, labels[1:], entity="in.order").label.tolist() == [0.0]


def test_no_rows_at_all() -> None:
    joined = join(frame([], []), [known("a", 1.0, 5)])
    assert len(joined) == 0
    assert joined.waiting == 1
    assert delays(joined) == ()
    curve = maturity(joined, 100)
    assert (curve.predictions, curve.labelled, curve.at(1e9)) == (0, 0, 0.0)


def test_sampling_weights_and_features_are_in_view() -> None:
    calls = frame(["a", "b"], [10, 20], weight=[1.0, 10.0])
    calls["in.age"] = np.array([30, 40])
    joined = join(calls, [known("b", 1.0, 50)])
    assert joined.weight.tolist() == [10.0]
    assert joined.features["age"].tolist() == [40]


def test_maturity_agrees_with_statsmodels() -> None:
    r = np.random.default_rng(5)
    lasted = r.integers(1, 60, 300)
    ended = r.random(300) < 0.6
    curve = kaplan_meier(lasted, ended)
    oracle = SurvfuncRight(lasted, ended.astype(int))
    assert curve.age_ms.tolist() == oracle.surv_times.tolist()
    assert curve.share == pytest.approx(1 - oracle.surv_prob, abs=1e-12)
    assert curve.at_risk.tolist() == oracle.n_risk.tolist()
    half = 1.959963984540054 * oracle.surv_prob_se
    assert curve.low == pytest.approx(np.clip(curve.share - half, 0, 1), abs=1e-9)


def test_young_predictions_do_not_pull_the_curve_down() -> None:
    """Half of the labels take 10 ms and half 100: young predictions have only the fast ones so far."""
    n, now = 4000, 2000
    made = np.arange(n) * now // n
    delay = np.where(np.arange(n) % 2 == 0, 10, 100)
    labels = [known(str(i), 1.0, int(made[i] + delay[i])) for i in range(n) if made[i] + delay[i] <= now]
    curve = maturity(join(frame([str(i) for i in range(n)], made.tolist()), labels), now)
    assert curve.at(9) == 0.0
    assert curve.at(50) == pytest.approx(0.5, abs=0.01)
    assert curve.at(100) == pytest.approx(1.0)
    assert curve.age(0.4) == 10
    assert curve.age(0.95) == 100
    assert curve.watermark(now, 0.95) == now - 100


def test_nobody_knows_when_labels_mature_that_never_came() -> None:
    curve = maturity(join(frame(["a", "b"], [0, 0]), [known("a", 1.0, 5)]), 100)
    assert curve.age(0.95) is None
    assert curve.watermark(100, 0.95) is None
    assert curve.at(5) == 0.5


def test_mature_takes_what_lies_below_the_watermark() -> None:
    joined = join(frame(["a", "b"], [10, 90]), [known("a", 1.0, 2010), known("b", 0.0, 95)])
    assert mature(joined, 90).rows.tolist() == [0]
    assert delays(joined) == pytest.approx([1.0025, 1.8005, 1.98005])


def test_only_what_was_answered_is_joined_and_whole_numbers_are_whole_again() -> None:
    frame = {
        "row": np.array([0, -1, 1]),
        "out.class": np.array([1.0, np.nan, 2.0]),
        "out.share": np.array([0.5, np.nan, 1.0]),
        "seconds": np.array([1.0, 2.0, 3.0]),
    }
    found = answered(frame)
    assert found["row"].tolist() == [0, 1]
    assert (found["out.class"].tolist(), found["out.class"].dtype.kind) == ([1, 2], "i")
    assert (found["out.share"].dtype.kind, found["seconds"].dtype.kind) == ("f", "f")
    assert answered(found) is found


@pytest.mark.parametrize("changed", [0.0, 0.3])
@pytest.mark.parametrize("keyed", [0.0, 0.4])
def test_as_of_a_time_is_what_joining_then_gives(changed: float, keyed: float) -> None:
    """Whether every label has one value or some were corrected, whether a row has one label or one by key as well."""
    r = np.random.default_rng(7)
    ids = [f"p{number}" for number in range(60)]
    calls = frame(ids, [0] * 60, entity=[f"e{number}" for number in range(60)])
    labels = []
    for number, name in enumerate(ids[:50]):
        first, last = sorted(r.integers(1, 100, 2).tolist())
        before = ((first, 2.0),) if r.random() < changed else ()
        labels.append(known(name, float(number), last, *before))
        if r.random() < keyed:
            labels.append(known(f"e{number}", -float(number), int(r.integers(1, 100)), by_key=True))
    whole = join(calls, labels)
    for at_ms in range(0, 101, 5):
        found, then = whole.as_of(at_ms), join(calls, labels, as_of_ms=at_ms)
        for name in ("rows", "label", "known_at_ms", "corrected"):
            assert getattr(found, name).tolist() == getattr(then, name).tolist(), (at_ms, name)
        assert found.as_of_ms == at_ms
