"""When a column is a clock."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fairlead.retrain.columns import clock_ms, columns

DAY = "2026-03-01T12:00:00"
MS = 1_772_366_400_000


@pytest.mark.parametrize(
    "values",
    [
        np.array([DAY], "datetime64[ns]"),
        np.array([DAY], "datetime64[s]"),
        np.array([MS]),
        np.array([MS / 1000]),
        np.array([MS / 1000], object),
    ],
)
def test_times_and_unix_numbers_are(values: np.ndarray[Any, Any]) -> None:
    found = clock_ms(values)
    assert found is not None
    assert found.tolist() == [MS]


@pytest.mark.parametrize(
    "values",
    [
        np.arange(3),
        np.array([MS, np.nan]),
        np.array([MS * 1000]),
        np.array([MS / 1000, MS]),
        np.array([], float),
        np.array(["2026-03-01"], object),
        np.array([DAY, "NaT"], "datetime64[s]"),
        np.array([5], "timedelta64[s]"),
    ],
)
def test_row_numbers_and_holes_are_not(values: np.ndarray[Any, Any]) -> None:
    assert clock_ms(values) is None


def test_times_as_objects_are_times() -> None:
    there = datetime.fromisoformat(DAY)
    given = np.array([there, there.replace(tzinfo=timezone(timedelta(hours=1))), None], object)
    found = columns({"when": given})["when"]
    assert found.dtype.kind == "M"
    assert np.isnat(found[2])
    times = clock_ms(found[:2])
    assert times is not None
    assert times.tolist() == [MS, MS - 3_600_000]
    mixed = np.array([there, "later"], object)
    assert columns({"when": mixed})["when"] is mixed


def test_times_with_a_zone_are_those_of_utc() -> None:
    frame = pd.DataFrame({"when": pd.to_datetime([DAY]).tz_localize("Europe/Berlin")})
    found = clock_ms(columns(frame)["when"])
    assert found is not None
    assert found.tolist() == [MS - 3_600_000]
