from __future__ import annotations

import pytest

from fairlead.contracts.errors import UsageError
from fairlead.contracts.limits import Limits, Measure, Period, Quota, Rate
from fairlead.kit.spec.read import parse
from fairlead.wiring import specs, specs_limits


def spec(access: str = "{}", top: str = "{}", more: str = "") -> str:
    return f"access: {top}\nendpoints:\n  churn:\n    model: m\n    access: {access}\n{more}"


def test_limits_are_read() -> None:
    text = spec(
        "{rate: 500/s, burst: 50, rows: 10k/min, rows_burst: 2000, bytes: 64MB/s, quota: '5M/day, 100M rows/month', "
        "concurrency: 32, per_caller: {rate: 20/s}}",
        "{required: true, limits: {rate: '50/s, 1000/min burst 1k', quota: 1M/day}, tenants: {acme: {bytes: 1G/hour}}, "
        "when_down: closed}",
        "redis: redis://127.0.0.1:6379/0",
    )
    file = parse(text, "f.yaml")
    specs_limits.check(file)
    rules = specs_limits.rules(file.spec)
    assert rules.endpoints["churn"].own == Limits(
        (
            Rate(500, 1, burst=50),
            Rate(10_000, 60, Measure.ROWS, 2000),
            Rate(64e6, 1, Measure.BYTES),
        ),
        (Quota(5_000_000, Period.DAY), Quota(100_000_000, Period.MONTH, Measure.ROWS)),
        32,
    )
    assert rules.endpoints["churn"].each == Limits((Rate(20, 1),))
    assert rules.every == Limits((Rate(50, 1), Rate(1000, 60, burst=1000)), (Quota(1_000_000, Period.DAY),))
    assert rules.tenants == {"acme": Limits((Rate(1e9, 3600, Measure.BYTES),))}
    assert rules.closed


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (spec("{rate: '5'}"), "f.yaml:5: endpoints.churn.access.rate: limit '5' is none; expected 200/s"),
        (spec("{rate: 5/s burst 0}"), "f.yaml:5: endpoints.churn.access.rate: burst '0' is none; expected a whole"),
        (spec("{rate: 5/s burst 9, burst: 8}"), "access.burst is 8, and rate says a burst of its own; leave one of"),
        (spec("{rate: 0/s}"), "f.yaml:5: endpoints.churn.access.rate: .*out of range; expected above 0"),
        (spec("{rate: 5 rows/s}"), "f.yaml:5: endpoints.churn.access.rate: it counts rows; expected requests"),
        (spec("{rows: 5MB/s}"), "f.yaml:5: endpoints.churn.access.rows: it counts bytes; expected rows"),
        (spec("{quota: 5/s}"), "f.yaml:5: endpoints.churn.access.quota: limit '5/s' is none; expected 5M/day"),
        (spec("{quota: 5k tokens/day}"), "f.yaml:5: endpoints.churn.access.quota counts tokens, and no endpoint"),
        (spec("{burst: 5}"), "f.yaml:5: endpoints.churn.access.burst is 5, and there is no rate; give one"),
        (spec("{rate: '5/s, 100/min', burst: 5}"), "access.burst is 5, and there is several rates; give one"),
        (
            spec("\n      rate: 50/s\n      burst: 500\n      quota: 100/hour"),
            (
                r"f.yaml:7: endpoints.churn.access.burst lets 500 requests come at once, and "
                r"f.yaml:8: endpoints.churn.access.quota allows 100 in a whole hour; lower the burst"
            ),
        ),
        (spec("{}", "\n  limits: {rate: 50/s, quota: 20/day}"), "f.yaml:2: access.limits.rate lets 50 requests come"),
        (spec("{rate: '10/s, 1000/min'}"), "allows more than f.yaml:5: endpoints.churn.access.rate does, at every mom"),
        (spec("{quota: '5/day, 6/day'}"), "are two quotas of requests in one day; keep the smaller"),
        (spec("{per_caller: {rate: x}}"), "f.yaml:5: endpoints.churn.access.per_caller.rate: limit 'x' is none"),
        (spec("{}", "{tenants: {acme: {rate: x}}}"), "f.yaml:1: access.tenants.acme.rate: limit 'x' is none"),
        (spec("{}", "{when_down: closed}"), "f.yaml:1: access.when_down is about limits that are shared, and the spec"),
    ],
)
def test_limits_that_contradict_themselves_are_refused_with_their_lines(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        specs_limits.check(parse(text, "f.yaml"))


@pytest.mark.parametrize(
    "access",
    [
        "{rate: '50/s burst 10, 1000/min burst 1000'}",
        "{rate: 5/s, burst: 90, quota: 100/hour}",
        "{rate: 5/s, quota: '5/day, 9 rows/day'}",
    ],
)
def test_limits_that_each_decide_something_are_not(access: str) -> None:
    specs_limits.check(parse(spec(access), "f.yaml"))


@pytest.mark.parametrize("access", ["{concurrency: 0}", "{burst: -1}", "{redis: x}", "{rate: [5/s]}"])
def test_what_no_limit_can_be_is_refused_by_the_reader(access: str) -> None:
    with pytest.raises(UsageError, match="f.yaml:5: endpoints.churn.access"):
        parse(spec(access), "f.yaml")


def test_a_redis_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="f.yaml:6: redis is"):
        parse(spec(more="redis: http://127.0.0.1"), "f.yaml")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (spec(top="{limits: {rate: 1/s}}"), "access.limits"),
        (spec(top="{tenants: {acme: {rate: 1/s}}}"), "access.tenants.acme"),
        (spec("{per_caller: {concurrency: 1}}"), "endpoints.churn.access.per_caller"),
    ],
)
def test_limits_of_callers_where_nobody_says_who_they_are_are_refused(text: str, name: str) -> None:
    found = parse(text, "f.yaml").spec
    with pytest.raises(UsageError, match=rf"{name} is what a caller may have, .* say access: \{{required: true\}}"):
        specs.rules(found)
    assert specs.rules(found, access=False) is None
    assert specs.rules(found, access=True) is not None
    specs.rules(parse(spec("{rate: 1/s}"), "f.yaml").spec)
