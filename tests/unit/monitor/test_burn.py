"""Error budgets against a brute force over the same windows, and against what the workbook says."""

from __future__ import annotations

import random

import numpy as np
import pytest

from fairlead.contracts.events import Window
from fairlead.monitor.burn import BURNS, CALLERS, FEWEST, HOUR_MS, OWN, Count, Objective, Sums
from fairlead.monitor.latency import Latency

MINUTE = 60_000
NOW = 1_700_000_000_000 // HOUR_MS * HOUR_MS + 25 * MINUTE
AVAILABLE = Objective("availability", 0.99, 30 * 86_400)
QUICK = Objective("latency", 0.95, 30 * 86_400, 0.1)


def window(
    start_ms: int, codes: dict[str, int], *, worker: str = "w0", seconds: float = 0.01, ms: int = MINUTE
) -> Window:
    calls = sum(codes.values())
    latency = Latency.of(np.full(calls, seconds)).to_bytes()
    return Window("churn", "1", "champion", worker, start_ms, ms, calls, calls, codes, latency, {})


def put(sums: Sums, windows: list[Window], since_ms: int) -> None:
    sums.put(since_ms, (NOW // HOUR_MS + 1) * HOUR_MS, windows)


@pytest.mark.parametrize(
    ("codes", "count"),
    [
        ({"": 90, "model_failed": 7, "deadline_exceeded": 3}, Count(10, 100)),
        ({"": 90, "invalid_input": 5, "rate_limited": 5, "internal": 1}, Count(1, 91)),
        ({"": 5, "degraded": 5}, Count(0, 10)),
        ({"invalid_input": 5}, Count(0, 0)),
    ],
)
def test_which_calls_count(codes: dict[str, int], count: Count) -> None:
    assert AVAILABLE.count(window(0, codes)) == count
    assert not set(OWN) & set(CALLERS)


def test_latency_counts_calls_over_the_bound_within_its_error() -> None:
    rng = np.random.default_rng(7)
    seconds = rng.lognormal(-3, 1, 20_000)
    one = Window("churn", "1", "champion", "w", 0, MINUTE, 20_000, 20_000, {}, Latency.of(seconds).to_bytes(), {})
    found = QUICK.count(one)
    assert found.valid == 20_000
    assert (seconds > 0.1 * 1.05).sum() <= found.bad <= (seconds > 0.1 / 1.05).sum()


def test_sums_are_those_of_a_brute_force_whatever_is_put_again() -> None:
    random.seed(11)
    minutes = [NOW // MINUTE * MINUTE - place * MINUTE for place in range(76 * 60)]
    known = {
        (start, worker): window(start, {"": random.randrange(50), "internal": random.randrange(3)}, worker=worker)
        for start in random.sample(minutes, 3_000)
        for worker in ("a", "b")
    }
    sums = Sums(AVAILABLE, NOW)
    hour = NOW // HOUR_MS * HOUR_MS
    put(sums, [one for (start, _), one in known.items() if start >= hour], hour)
    for back in range(6, 80, 6):  # in parts, backwards
        since, until = hour - back * HOUR_MS, hour - (back - 6) * HOUR_MS
        sums.put(since, until, [one for (start, _), one in known.items() if since <= start < until])
    for start in random.sample(minutes[:60], 30):  # late, or again and larger
        known[start, "a"] = window(start, {"": 70, "internal": 9}, worker="a")
    put(sums, [one for (start, _), one in known.items() if start >= hour - HOUR_MS], hour - HOUR_MS)
    for span in (5, 30, 60, 120, 360, 1440, 4320):
        reached = [one for (start, _), one in known.items() if start + MINUTE > NOW - span * MINUTE - MINUTE + 1]
        lately = [
            one for (start, _), one in known.items() if (start + MINUTE) // MINUTE > (NOW - span * MINUTE) // MINUTE
        ]
        assert sums.lately(span * MINUTE, NOW) == total(lately), span
        assert total(reached).valid >= sums.lately(span * MINUTE, NOW).valid
    assert sums.budget(NOW) is None, "nobody read thirty days"
    sums.put(NOW // HOUR_MS * HOUR_MS - 800 * HOUR_MS, hour - 78 * HOUR_MS, [])
    whole = total(list(known.values()))
    assert sums.budget(NOW) == pytest.approx(1 - whole.bad / whole.valid / 0.01)


def total(windows: list[Window]) -> Count:
    found = [AVAILABLE.count(one) for one in windows]
    return Count(sum(one.bad for one in found), sum(one.valid for one in found))


def test_hours_that_no_budget_reaches_are_forgotten() -> None:
    sums = Sums(AVAILABLE, NOW)
    old = NOW // HOUR_MS * HOUR_MS - 722 * HOUR_MS
    sums.put(old, old + HOUR_MS, [window(old, {"internal": 1000})])
    put(sums, [window(NOW // MINUTE * MINUTE, {"": 10})], old + HOUR_MS)
    assert sums.budget(NOW) == 1.0
    before = len(sums._hours)
    sums.forget(NOW)
    assert len(sums._hours) == before - 1


def test_a_constant_rate_uses_the_share_of_the_budget_that_the_table_says() -> None:
    """At the threshold of each burn, all of the long window, the named share of the month's budget is gone."""
    for burn, factor in AVAILABLE.burns():
        calls = 1_000_000
        bad_in_long = factor * 0.01 * calls * burn.hours
        assert bad_in_long / (0.01 * calls * 30 * 24) == pytest.approx(burn.budget)
    assert [round(factor, 1) for _, factor in AVAILABLE.burns()] == [14.4, 6, 3, 1]
    assert [burn.long for burn, _ in Objective("availability", 0.99, 7 * 86_400).burns()] == ["1h", "6h"]
    assert next(Objective("availability", 0.9, 90 * 86_400).burns())[0].long == "1d", "18 times 10 % cannot be"


@pytest.mark.parametrize(
    ("short", "long", "fires"),
    [(0.2, 0.2, True), (0.0, 0.2, False), (0.2, 0.01, False), (0.16, 0.15, True), (0.14, 0.2, False)],
)
def test_both_windows_must_burn(short: float, long: float, *, fires: bool) -> None:
    windows = []
    for back in range(60):
        share = short if back <= 5 else long
        bad = round(1000 * share)
        windows.append(window(NOW // MINUTE * MINUTE - back * MINUTE, {"": 1000 - bad, "internal": bad}))
    sums = Sums(AVAILABLE, NOW)
    put(sums, windows, NOW // HOUR_MS * HOUR_MS - 2 * HOUR_MS)
    (found,) = sums.readings(NOW)
    burn, rule, reading = found
    assert (burn.long, rule.above) == ("1h", pytest.approx(14.4))
    assert reading.value is not None
    assert rule.broken(reading.value) == fires


def test_few_bad_calls_and_no_calls_burn_nothing() -> None:
    for bad, value in ((FEWEST - 1, 0.0), (FEWEST, 100.0)):
        sums = Sums(AVAILABLE, NOW)
        put(sums, [window(NOW // MINUTE * MINUTE, {"internal": bad})], NOW // HOUR_MS * HOUR_MS - 2 * HOUR_MS)
        assert next(iter(sums.readings(NOW)))[2].value == pytest.approx(value)
    sums = Sums(AVAILABLE, NOW)
    put(sums, [], NOW // HOUR_MS * HOUR_MS - 2 * HOUR_MS)
    assert next(iter(sums.readings(NOW)))[2].value == 0.0
    assert len(BURNS) == 4


def test_windows_of_an_hour_reach_into_the_last_minutes() -> None:
    sums = Sums(AVAILABLE, NOW)
    start = NOW // HOUR_MS * HOUR_MS
    put(sums, [window(start, {"": 50, "internal": 50}, ms=HOUR_MS)], start - 2 * HOUR_MS)
    assert sums.lately(5 * MINUTE, NOW) == Count(50, 100)


def test_long_windows_of_before_do_not_make_short_ones_long() -> None:
    sums = Sums(AVAILABLE, NOW)
    hour = NOW // HOUR_MS * HOUR_MS
    old = window(hour - 5 * HOUR_MS, {"": 50, "internal": 50}, ms=HOUR_MS)
    put(sums, [old, window(hour, {"internal": 7}), window(NOW // MINUTE * MINUTE, {"": 10})], hour - 6 * HOUR_MS)
    assert sums.length_ms == HOUR_MS
    assert sums.lately(5 * MINUTE, NOW) == Count(0, 10)


def test_part_of_an_hour_is_put_in_place_of_what_it_had() -> None:
    sums, hour = Sums(AVAILABLE, NOW), NOW // HOUR_MS * HOUR_MS
    minutes = [window(hour + place * MINUTE, {"": 10, "internal": place}) for place in range(25)]
    put(sums, minutes, hour - HOUR_MS)
    sums.put(hour + 5 * MINUTE, hour + 10 * MINUTE, [window(hour + 7 * MINUTE, {"internal": 1})])
    bad = sum(range(25)) - (5 + 6 + 7 + 8 + 9) + 1
    assert sums.lately(HOUR_MS, NOW) == sums.whole(NOW) == Count(bad, 20 * 10 + bad)
