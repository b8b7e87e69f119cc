from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.contracts.errors import UsageError
from fairlead.contracts.ledger import Window
from fairlead.serve.llm.ledger import windows

BERLIN, LORD_HOWE = windows.zone("Europe/Berlin"), windows.zone("Australia/Lord_Howe")
ZONES = [windows.zone("UTC"), BERLIN, LORD_HOWE, windows.zone("Asia/Kathmandu"), windows.zone("America/St_Johns")]


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


@pytest.mark.parametrize(
    ("kind", "at", "begins", "ends"),
    [
        (Window.HOUR, "2026-05-04T10:59:59.999+00:00", "2026-05-04T10:00+00:00", "2026-05-04T11:00+00:00"),
        (Window.DAY, "2026-05-04T22:30+00:00", "2026-05-04T22:00+00:00", "2026-05-05T22:00+00:00"),
        (Window.DAY, "2026-03-29T10:00+00:00", "2026-03-28T23:00+00:00", "2026-03-29T22:00+00:00"),
        (Window.DAY, "2026-10-25T10:00+00:00", "2026-10-24T22:00+00:00", "2026-10-25T23:00+00:00"),
        (Window.WEEK, "2026-05-06T10:00+00:00", "2026-05-03T22:00+00:00", "2026-05-10T22:00+00:00"),
        (Window.MONTH, "2026-02-28T23:30+00:00", "2026-02-28T23:00+00:00", "2026-03-31T22:00+00:00"),
        (Window.MONTH, "2026-12-31T22:00+00:00", "2026-11-30T23:00+00:00", "2026-12-31T23:00+00:00"),
    ],
)
def test_windows_in_berlin(kind: Window, at: str, begins: str, ends: str) -> None:
    assert windows.around(kind, BERLIN, ms(at)) == (ms(begins), ms(ends))


@given(st.sampled_from(list(Window)), st.sampled_from(ZONES), st.datetimes(datetime(1980, 1, 1), datetime(2090, 1, 1)))  # noqa: DTZ001
def test_windows_follow_one_another(kind: Window, zone: object, at: datetime) -> None:
    now = round(at.replace(tzinfo=UTC).timestamp() * 1000)
    begins, ends = windows.around(kind, zone, now)  # type: ignore[arg-type]
    assert begins <= now < ends
    assert windows.around(kind, zone, begins) == (begins, ends)  # type: ignore[arg-type]
    assert windows.around(kind, zone, ends - 1) == (begins, ends)  # type: ignore[arg-type]
    if kind is not Window.TOTAL:
        assert windows.around(kind, zone, ends)[0] == ends  # type: ignore[arg-type]


def test_a_calendar_remembers_the_present_window() -> None:
    calendar = windows.Calendar(Window.DAY, BERLIN)
    at = ms("2026-05-04T10:00+00:00")
    first = calendar.around(at)
    assert calendar.around(at + 1000) is not None
    assert calendar.around(at + 86_400_000) == (first[1], first[1] + 86_400_000)


def test_days() -> None:
    assert windows.day("2026-01-31") == ms("2026-01-31T00:00+00:00")
    assert windows.day("2026-01-31T10:00+02:00") == ms("2026-01-31T08:00+00:00")
    assert timedelta(milliseconds=windows.FOREVER) > timedelta(days=365 * 8000)
    for wrong in ("31.1.2026", "soon", ""):
        with pytest.raises(UsageError, match="is none; expected one such as"):
            windows.day(wrong)


@pytest.mark.parametrize("name", ["Europe/Bielefeld", "", "../etc/passwd", "x" * 500])
def test_a_zone_that_is_none(name: str) -> None:
    with pytest.raises(UsageError, match="is not known"):
        windows.zone(name)
