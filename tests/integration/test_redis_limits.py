"""Limits in a real Redis: the script against the same decisions made here."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec
import pytest
import redis as library
from tests import services

from fairlead.adapters.limits import redis as adapter
from fairlead.adapters.limits.redis import RedisLimits
from fairlead.adapters.limits.script import SCRIPT
from fairlead.contracts.errors import Unavailable, UsageError
from fairlead.contracts.limits import Charge, Measure, Period, Quota, Rate
from fairlead.kit import gcra
from fairlead.serve.limits.calendar import period


@pytest.fixture(scope="module")
def service() -> Iterator[services.Service]:
    with services.redis() as found:
        yield found


@pytest.fixture
def url(service: services.Service) -> str:
    library.Redis(port=service.port).flushall()
    return f"redis://127.0.0.1:{service.port}/0"


class Script:
    """The script at a time that the test says, microseconds since 1970."""

    def __init__(self, port: int) -> None:
        self._client = library.Redis(port=port)
        clock = "redis.call('TIME')"
        assert SCRIPT.count(clock) == 1
        self._script = self._client.register_script(SCRIPT.replace(clock, "{ARGV[3], ARGV[4]}"))

    def __call__(self, now: int, *calls: list[Charge]) -> list[tuple[int, int, list[int]]]:
        keys: dict[str, int] = {}
        asked = [
            [[keys.setdefault(one.key, len(keys) + 1), *adapter._terms(one.limit), one.cost] for one in call]
            for call in calls
        ]
        seconds, rest = divmod(now, 1_000_000)
        found = self._script(keys=list(keys), args=[msgspec.msgpack.encode(asked), 0, seconds, rest])
        return msgspec.msgpack.decode(found, type=list[tuple[int, int, list[int]]])


class Here:
    """The oracle: the same in exact whole numbers of Python."""

    def __init__(self) -> None:
        self.tat: dict[str, int] = {}
        self.used: dict[tuple[str, int], int] = {}

    def take(self, now: int, call: list[Charge]) -> tuple[int, list[int]]:
        waits, then = [], []
        for one in call:
            if isinstance(one.limit, Quota):
                begins, ends = period(one.limit.period, now // 1000)
                used = self.used.get((one.key, begins), 0)
                room = used + one.cost <= one.limit.amount
                never = -1 if one.cost > one.limit.amount else (ends - now // 1000) * 1000
                waits.append(0 if room else never)
                then.append(((one.key, begins), used + one.cost))
            else:
                terms = gcra.terms(one.limit, 10**6)
                tat = self.tat.get(one.key, 0)
                waits.append(gcra.wait(terms, tat, now, one.cost))
                then.append((one.key, gcra.after(terms, tat, now, one.cost)))
        wait = -1 if -1 in waits else max(waits)
        if not wait:
            for key, value in then:
                (self.tat if isinstance(key, str) else self.used)[key] = value  # type: ignore[index]
        return wait, waits


@pytest.mark.parametrize("seed", range(6))
def test_the_script_decides_as_the_same_arithmetic_here(url: str, service: services.Service, seed: int) -> None:
    chance, script, here = random.Random(seed), Script(service.port), Here()
    limits: list[Rate | Quota] = [
        Rate(7, 1, burst=3), Rate(100_000, 60, Measure.ROWS), Rate(0.3, 1), Rate(64e6, 1, Measure.BYTES),
        Quota(40, Period.HOUR), Quota(900, Period.DAY), Quota(2_000, Period.WEEK), Quota(5_000, Period.MONTH),
    ]  # fmt: skip
    now = round(datetime(2024, 2, 28, 23, 59, tzinfo=UTC).timestamp() * 1e6) + seed
    outcomes = set()
    for _ in range(400):
        now += chance.choice([0, 1, 10_000, 142_857, 3_000_000, 900_000_000])
        calls = [
            [
                Charge(f"k{at}-{chance.randrange(2)}", limits[at], chance.choice([0, 1, 1, 2, 5]))
                for at in sorted(chance.sample(range(len(limits)), chance.randrange(1, 5)))
            ]
            for _ in range(chance.randrange(1, 4))
        ]
        for call, (wait, refused, left) in zip(calls, script(now, *calls), strict=True):
            expected, waits = here.take(now, call)
            assert wait == expected
            assert (refused == 0) == (wait == 0)
            assert not refused or waits[refused - 1] == wait
            assert len(left) == 2 * len(call)
            outcomes.add((wait > 0) - (wait < 0))
    assert outcomes == {0, 1, -1}


@pytest.mark.parametrize("kind", list(Period))
def test_the_script_knows_the_calendar(url: str, service: services.Service, kind: Period) -> None:
    script, chance = Script(service.port), random.Random(1)
    ends = round(datetime(2105, 1, 1, tzinfo=UTC).timestamp())
    times = [chance.randrange(ends) * 1_000_000 for _ in range(300)]
    times += [round(datetime(year, 2, 29, 23, 59, 59, tzinfo=UTC).timestamp() * 1e6) for year in (2000, 2024, 2096)]
    for now in times:
        (_, _, (_, rest)) = script(now, [Charge(f"q{now}", Quota(1, kind), 1)])[0]
        assert rest == (period(kind, now // 1000)[1] - now // 1000) * 1000


def test_a_clock_that_is_set_back_keeps_nobody_out_for_longer(url: str, service: services.Service) -> None:
    script, now = Script(service.port), 1_700_000_000_000_000
    assert script(now, [Charge("k", Rate(1, 1), 1)])[0][0] == 0
    before = now - 3600 * 1_000_000
    assert script(before, [Charge("k", Rate(1, 1), 1)])[0][0] == 1_000_000
    assert script(before + 1_000_000, [Charge("k", Rate(1, 1), 1)])[0][0] == 0


async def test_calls_of_one_question_are_charged_one_after_another(url: str) -> None:
    store = RedisLimits(url)
    call = [Charge("a", Rate(1, 60, burst=3), 1), Charge("b", Quota(100, Period.DAY), 1)]
    verdicts = await store.take([call] * 5)
    assert [one.refused for one in verdicts] == [-1, -1, -1, 0, 0]
    assert [one.left[1][0] for one in verdicts] == [99, 98, 97, 97, 97]
    assert 59 < verdicts[3].wait <= 60
    await store.add([Charge("b", Quota(100, Period.DAY), 500)])
    assert (await store.take([[Charge("b", Quota(100, Period.DAY), 1)]]))[0].refused == 0
    assert await store.take([]) == []
    await store.close()


async def test_what_is_idle_is_forgotten(url: str, service: services.Service) -> None:
    store, client = RedisLimits(url), library.Redis(port=service.port)
    await store.take([[Charge("a", Rate(10, 1), 3), Charge("b", Quota(5, Period.HOUR), 1)]])
    ages = {key: client.pttl(key) for key in client.keys("{fairlead}:limits:*")}
    assert len(ages) == 2
    assert all(0 < age <= 3_660_000 for age in ages.values())
    assert 0 < client.pttl("{fairlead}:limits:a") <= 1300
    await store.close()


async def test_many_clients_take_exactly_what_there_is(url: str) -> None:
    stores = [RedisLimits(url) for _ in range(4)]
    call, ends = [Charge("a", Rate(500, 1, burst=50), 1)], time.monotonic() + 2

    async def ask(store: RedisLimits) -> tuple[int, float, float]:
        let_in, first, last = 0, 0.0, 0.0
        while time.monotonic() < ends:
            let_in += sum(one.refused < 0 for one in await store.take([call] * 8))
            first, last = first or time.monotonic(), time.monotonic()
        return let_in, first, last

    found = await asyncio.gather(*(ask(store) for store in stores))
    seconds = max(last for *_, last in found) - min(first for _, first, _ in found)
    let_in = sum(count for count, *_ in found)
    assert 500 * seconds * 0.9 < let_in <= 500 * (seconds + 0.05) + 50 + 1
    for store in stores:
        await store.close()


async def test_what_was_not_taken_is_given_back_and_no_more(url: str) -> None:
    store = RedisLimits(url)
    rate, quota = Rate(6000, 60.0, Measure.TOKENS, 6000), Quota(6000, Period.MONTH, Measure.TOKENS)
    call = [Charge("rate", rate, 5000), Charge("quota", quota, 5000)]
    assert (await store.take([call]))[0].refused < 0
    assert (await store.take([call]))[0].refused >= 0
    await store.add([Charge("rate", rate, -4900), Charge("quota", quota, -4900)])
    (verdict,) = await store.take([call])
    assert verdict.refused < 0
    assert verdict.left[1][0] == 900
    await store.add([Charge("rate", rate, -100_000), Charge("quota", quota, -100_000)])
    (verdict,) = await store.take([[Charge("rate", rate, 6000), Charge("quota", quota, 6000)]])
    assert verdict.refused < 0
    assert [left for left, _ in verdict.left] == [0, 0]
    await store.close()


async def test_it_says_where_it_is_and_never_the_password() -> None:
    store = RedisLimits("redis://user:hunter2@127.0.0.1:1/0")
    with pytest.raises(Unavailable, match=r"redis://\*\*\*@127.0.0.1:1/0 cannot count limits") as refused:
        await store.take([])
    assert "hunter2" not in str(refused.value)
    with pytest.raises(UsageError, match="expected redis://HOST:PORT/DB"):
        RedisLimits("redis://127.0.0.1:port/0")


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("/abc", "/abc is no number of a database"),
        ("/0?decode_responses=true", "it says decode_responses, and only what begins with ssl_ can be said so"),
        ("/0?ssl_nonsense=1", "ssl_nonsense"),
    ],
)
def test_a_url_that_says_something_odd_is_refused_at_the_start(rest: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        RedisLimits(f"redis://:hunter2@127.0.0.1:1{rest}")
    assert "hunter2" not in str(refused.value)
    RedisLimits("rediss://127.0.0.1:1?ssl_ca_certs=/etc/ca.pem")
