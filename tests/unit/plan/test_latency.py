"""The figures of a load, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead.plan.latency import Sent, good, report, spread


def sent(began: float, first: float, ended: float, output: int, error: str = "") -> Sent:
    return Sent(began, began, first, ended, 10, output, (0.1, 0.3), error)


def test_one_answer():
    one = sent(1.0, 1.5, 3.5, 5)
    assert (one.ttft, one.tpot, one.e2el) == (0.5, 0.5, 2.5)
    assert sent(1.0, 1.5, 1.5, 1).tpot == 0.0


def test_goodput_is_of_answers_that_keep_every_objective():
    fast, slow, failed = sent(0, 0.1, 1, 10), sent(0, 1.0, 4, 10), sent(0, 0.0, 2, 0, "503")
    assert good(fast, {"ttft": 0.1, "tpot": 0.1, "e2el": 1.0})
    assert not good(slow, {"ttft": 0.5})
    assert not good(failed, {})
    found = report([fast, slow, failed], {"ttft": 0.5})
    assert (found["requests"], found["completed"], found["errors"]) == (3, 2, {"503": 1})
    assert found["goodput_share"] == pytest.approx(1 / 3)
    assert found["goodput"] == pytest.approx(0.25)
    assert found["output_tokens_per_second"] == pytest.approx(20 / 4)
    assert found["itl"]["mean"] == pytest.approx(0.2)


def test_what_the_server_said_first_of_each_error_is_told():
    failed = [Sent(0, 0, 0, 1, 0, 0, error="400 invalid_value", said=said) for said in ("no template", "later")]
    assert report(failed, {})["said"] == {"400 invalid_value": "no template"}


def test_percentiles_are_numpys():
    values = list(np.random.default_rng(0).gamma(2, size=501))
    assert spread(values)["p99"] == pytest.approx(float(np.percentile(values, 99)))
    assert spread([]) == {}


def test_nothing_sent_divides_by_nothing():
    assert report([], {})["requests_per_second"] == 0.0
