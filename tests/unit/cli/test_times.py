from __future__ import annotations

import pytest

from fairlead.cli.times import since_ms
from fairlead.contracts.errors import UsageError

NOW = 1_767_225_600_000  # 2026-01-01T00:00:00Z


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("30s", 30_000),
        ("15m", 900_000),
        (" 12h ", 43_200_000),
        ("7d", 604_800_000),
        ("1.5h", 5_400_000),
        ("0s", 0),
        ("2025-12-31", 86_400_000),
        ("2025-12-31T23:00", 3_600_000),
        ("2025-12-31T23:00:00Z", 3_600_000),
        ("2026-01-01T00:30+01:00", 1_800_000),
    ],
)
def test_a_time_ago_or_a_time(text: str, ago: int) -> None:
    assert since_ms(text, NOW) == NOW - ago


def test_what_lies_before_1970_is_the_beginning() -> None:
    assert since_ms("99999d", NOW) == since_ms("1900-01-01", NOW) == 0


@pytest.mark.parametrize(
    "text", ["", "7", "d", "-1h", "1w", "1 h", "yesterday", "\u0661d", "2026-13-01", "9" * 99 + "d"]
)
def test_anything_else_is_wrong_use(text: str) -> None:
    with pytest.raises(UsageError, match="--since is .*30s, 15m, 12h or 7d, or an ISO time"):
        since_ms(text, NOW)


def test_a_time_to_come_is_wrong_use() -> None:
    with pytest.raises(UsageError, match="--after 2026-01-02 lies in the future"):
        since_ms("2026-01-02", NOW, "--after")
