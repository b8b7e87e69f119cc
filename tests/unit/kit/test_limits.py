import pytest

from fairlead.contracts.errors import UsageError
from fairlead.contracts.limits import Measure, Period, Quota, Rate
from fairlead.kit.limits import quota, rate


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("200/s", Rate(200, 1)),
        ("0.5/s", Rate(0.5, 1)),
        ("10k rows/min", Rate(10_000, 60, Measure.ROWS)),
        ("1 request/hour", Rate(1, 3600)),
        ("5/s burst 20", Rate(5, 1, burst=20)),
        ("10k rows/min burst 50k", Rate(10_000, 60, Measure.ROWS, 50_000)),
        ("64MB/s", Rate(64e6, 1, Measure.BYTES)),
        ("64MiB / s", Rate(64 * 2**20, 1, Measure.BYTES)),
        ("60k tokens/m", Rate(60_000, 60, Measure.TOKENS)),
    ],
)
def test_a_rate_is_read(text: str, expected: Rate) -> None:
    assert rate(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5M/day", Quota(5_000_000, Period.DAY)),
        ("100k rows/month", Quota(100_000, Period.MONTH, Measure.ROWS)),
        ("1GB/w", Quota(10**9, Period.WEEK, Measure.BYTES)),
    ],
)
def test_a_quota_is_read(text: str, expected: Quota) -> None:
    assert quota(text) == expected


@pytest.mark.parametrize(
    "text", ["", "200", "/s", "-1/s", "0/s", "200/day", "5 apples/s", "1e9/s", "5MB rows/s", "nan/s"]
)
def test_what_is_no_rate_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match=r"200/s|above 0"):
        rate(text)


@pytest.mark.parametrize("text", ["", "5M", "5M/s", "1.5/day", "0/day"])
def test_what_is_no_quota_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        quota(text)
