from __future__ import annotations

import json

import numpy as np
import pytest

from fairlead.contracts.types import Tensors
from fairlead.package.parity import Limits, Predict, compare

ROWS: Tensors = {"x": np.linspace(0.0, 1.0, 50).reshape(-1, 1)}


def original(rows: Tensors) -> Tensors:
    chance = rows["x"][:, 0]
    label = np.where(chance > 0.5, "yes", "no").astype(object)
    return {"label": label, "probabilities": np.stack([1 - chance, chance], axis=1)}


def off_by(error: float) -> Predict:
    def predict(rows: Tensors) -> Tensors:
        answer = original(rows)
        return {**answer, "probabilities": answer["probabilities"] + error}

    return predict


def test_a_model_agrees_with_itself() -> None:
    report = compare(original, original, {"held-out": ROWS})
    assert report.agrees
    assert report.reasons == ()
    assert {one.output for one in report.differences} == {"label", "probabilities"}


def test_float32_rounding_agrees() -> None:
    def rounded(rows: Tensors) -> Tensors:
        answer = original(rows)
        return {**answer, "probabilities": answer["probabilities"].astype(np.float32)}

    report = compare(original, rounded, {"held-out": ROWS})
    assert report.agrees
    assert 0 < report.differences[1].largest < 1e-7


def test_a_larger_error_does_not() -> None:
    report = compare(original, off_by(1e-3), {"held-out": ROWS})
    assert not report.agrees
    assert "is off by up to 0.001" in report.reasons[0]
    assert compare(original, off_by(1e-3), {"held-out": ROWS}, Limits(error=1e-2)).agrees


def test_errors_are_summed_up() -> None:
    def one_wrong(rows: Tensors) -> Tensors:
        answer = original(rows)
        answer["probabilities"][0, 0] += 0.5 if len(rows["x"]) > 1 else 0.0
        return answer

    difference = compare(original, one_wrong, {"held-out": ROWS}).differences[1]
    assert difference.largest == pytest.approx(0.5)
    assert difference.mean == pytest.approx(0.5 / 100)
    assert difference.p99 < 0.5
    assert difference.relative == pytest.approx(0.5)
    assert difference.alone == pytest.approx(0.5)


def test_flips_are_counted_and_shown() -> None:
    def flipped(rows: Tensors) -> Tensors:
        answer = original(rows)
        answer["label"][3:5] = "yes"
        return answer

    report = compare(original, flipped, {"held-out": ROWS})
    assert not report.agrees
    assert report.differences[0].flips == 2
    assert report.differences[0].flipped == (3, 4)
    assert "'label' differs in 2 of 50 rows" in report.reasons[0]


def test_the_scale_of_an_output_counts_not_its_unit() -> None:
    def prices(rows: Tensors) -> Tensors:
        return {"price": rows["x"][:, 0] * 1e6}

    def rounded(rows: Tensors) -> Tensors:
        return {"price": prices(rows)["price"].astype(np.float32) + 1}

    assert compare(prices, rounded, {"held-out": ROWS}).agrees


def test_nan_on_one_side_only_is_a_disagreement() -> None:
    def holes(rows: Tensors) -> Tensors:
        answer = original(rows)
        answer["probabilities"][rows["x"][:, 0] == 0] = np.nan
        return answer

    report = compare(original, holes, {"held-out": ROWS})
    assert not report.agrees
    assert report.differences[1].nans == 2
    assert compare(holes, holes, {"held-out": ROWS}).agrees


def test_infinity_equals_itself() -> None:
    def infinite(rows: Tensors) -> Tensors:
        return {"y": np.full(len(rows["x"]), np.inf)}

    assert compare(infinite, infinite, {"held-out": ROWS}).agrees


def test_a_row_must_answer_the_same_alone() -> None:
    def by_batch(rows: Tensors) -> Tensors:
        answer = original(rows)
        return {**answer, "probabilities": answer["probabilities"] * (1 if len(rows["x"]) > 1 else 0.9)}

    report = compare(original, by_batch, {"held-out": ROWS})
    assert not report.agrees
    assert "when the row is alone" in report.reasons[0]


def test_refusals_must_agree() -> None:
    def refuses(rows: Tensors) -> Tensors:
        raise ValueError("unknown category")

    assert "the original refuses" in compare(refuses, original, {"unseen": ROWS}).reasons[0]
    assert compare(original, refuses, {"unseen": ROWS}).reasons == (
        "unseen: the converted model fails (ValueError: unknown category)",
    )


def test_rows_that_both_refuse_are_no_disagreement() -> None:
    def picky(rows: Tensors) -> Tensors:
        if rows["x"].min() < 0:
            raise ValueError("negative")
        return original(rows)

    report = compare(picky, picky, {"held-out": ROWS, "unseen": {"x": -1 - ROWS["x"]}})
    assert report.agrees
    assert report.refused == ("unseen",)


def test_missing_outputs_and_shapes_are_named() -> None:
    def less(rows: Tensors) -> Tensors:
        return {"probabilities": original(rows)["probabilities"][:, :1]}

    reasons = compare(original, less, {"held-out": ROWS}).reasons
    assert "output 'label' is not there" in reasons[0]
    assert "has shape [50, 1] in the converted model, [50, 2] in the original" in reasons[1]


def test_nothing_to_compare_is_no_agreement() -> None:
    empty: Tensors = {"x": np.zeros((0, 1))}
    assert compare(original, original, {"held-out": empty}).reasons == ("there were no rows to compare",)


def test_the_report_is_plain_and_readable() -> None:
    report = compare(original, original, {"held-out": ROWS, "unseen": ROWS})
    assert json.loads(json.dumps(report.as_dict()))["agrees"] is True
    lines = report.as_table().splitlines()
    assert len(lines) == 5
    assert lines[1].split()[:3] == ["held-out", "50", "label"]
