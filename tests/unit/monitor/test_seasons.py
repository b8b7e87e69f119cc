"""When rows are enough to tell the hours of a season apart, and what a reference is without them."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead.contracts.errors import UsageError
from fairlead.monitor.reference import reference
from fairlead.monitor.seasons import SLOT_ROWS, Season, plain

HOUR = 3_600_000
DAY = Season(HOUR, 24 * HOUR)


def at(*hours: int, rows: int = SLOT_ROWS) -> np.ndarray:
    return np.repeat(np.array(hours, np.int64) * HOUR, rows) + 7


@pytest.mark.parametrize("window_ms", [5 * HOUR, 24 * HOUR, 48 * HOUR, 60_000, 7])
def test_windows_divide_a_season_into_some_parts(window_ms: int) -> None:
    with pytest.raises(UsageError, match="do not divide a season of 86400 s into 2 to 336 equal parts"):
        Season(window_ms, 24 * HOUR)
    assert not Season(window_ms)


@pytest.mark.parametrize(
    ("times", "filled"),
    [
        (at(*range(24)), True),
        (at(*range(23, 47)), True),
        (at(*range(23)), False),
        (at(*range(24), rows=SLOT_ROWS - 1), False),
        (at(*range(24), rows=SLOT_ROWS // 2), False),
        (at(*range(48), rows=SLOT_ROWS // 2), True),
        (at(*range(8, 18), *range(32, 42)), True),  # nobody calls at night
        (at(0, 23, rows=900), False),
        (at(0, *range(24 * 9, 24 * 9 + 20)), True),
        (np.concatenate([at(*range(12), rows=500), at(*range(12, 24), rows=40)]), True),
        (np.concatenate([at(*range(12), rows=100), at(*range(12, 24), rows=40)]), False),
        (at(), False),
    ],
)
def test_rows_fill_a_season(times: np.ndarray, filled: bool) -> None:
    assert DAY.filled_by(times) is filled


def test_a_plain_reference_is_the_same_rows_for_all_hours() -> None:
    rng = np.random.default_rng(0)
    features = {"x": rng.normal(size=24 * 60)}
    made = reference(features, {}, times_ms=np.repeat(np.arange(24) * HOUR, 60), window_ms=HOUR, season_ms=24 * HOUR)
    assert DAY.known_by(made)
    assert not Season(HOUR, 168 * HOUR).known_by(made)
    assert not Season(2 * HOUR, 24 * HOUR).known_by(made)
    without = plain(made)
    assert without.id == made.id
    assert not DAY.known_by(without)
    assert (without.columns["in.x"].seasons, without.columns["in.x"].usual) == ([], {})
    assert without.columns["in.x"].counts == made.columns["in.x"].counts
    assert plain(without) is without
