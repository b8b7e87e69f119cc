"""Hours that were added up, as rows: what another release wrote is as good as not there."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from fairlead.adapters.state.sql import SqlState
from fairlead.contracts.events import Window
from fairlead.contracts.state import Hour, Tally

HOUR_MS = 3_600_000


@pytest.mark.parametrize(("part", "light"), [("totals", [1]), ("columns", [0, 1])])
def test_an_hour_that_cannot_be_read_is_left_out(
    part: str, light: list[int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = SqlState(f"sqlite:///{tmp_path}/state.db")
    window = Window("churn", "1", "champion", "", 0, HOUR_MS, 1, 1, {"": 1}, b"", {"in.age": b"x"})
    store.put_hours("churn", [Hour(hour * HOUR_MS, Tally(1, 1, 1), (window,)) for hour in range(2)])
    with closing(sqlite3.connect(tmp_path / "state.db")) as other:
        other.execute(f"UPDATE state_hours SET {part} = x'c1' WHERE start_ms = 0")
        other.commit()
    told = [
        [one.start_ms // HOUR_MS for one in store.hours("churn", since_ms=0, until_ms=2 * HOUR_MS, columns=columns)]
        for columns in (True, False)
    ]
    assert told == [[1], light]
    assert caplog.records[0].fields["hours"] == 1  # type: ignore[attr-defined]
    store.close()
