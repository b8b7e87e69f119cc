"""What the traffic of the demo says of the server."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead.demo.traffic import Measured, nearest_rank


@pytest.mark.parametrize(
    ("wrong", "errors", "problem"),
    [
        (0, 0, ""),
        (3, 0, "3 of 10 live answers are not what the original model says"),
        (0, 2, "2 live calls failed and 10 were answered; the first failure: no"),
    ],
)
def test_a_demo_that_answers_wrongly_has_a_problem(wrong: int, errors: int, problem: str) -> None:
    assert Measured(10, 1.0, 1.0, 1.0, 1.0, wrong, errors, "no" if errors else "").problem == problem


def test_percentiles_are_nearest_rank() -> None:
    """99 calls at 50 ms and one at 5,000: the 99th percentile is 50, not something between."""
    latencies = sorted([0.05] * 99 + [5.0])
    assert nearest_rank(latencies, 0.99) == 0.05
    assert nearest_rank(latencies, 1.0) == 5.0
    assert nearest_rank([1.0, 2.0, 3.0], 0.5) == 2.0
    assert np.isnan(nearest_rank([], 0.5))
