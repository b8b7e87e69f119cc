"""A model on other servers: retries, their budget and pauses, hedges, and who is left out. Real servers, real time."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import pytest
from test_remote import Bench, Outcome, asking, bad_gateway, hung_up, never, until, values
from upstream_servers import Asked, Double, doubled, doubles, http

from fairlead.contracts.errors import CircuitOpen, DeadlineExceeded, ModelFailed, QueueFull, Unavailable
from fairlead.contracts.types import Reply
from fairlead.serve.remote.settings import Hedge, Outlying
from fairlead.serve.resilience.backoff import Backoff

Answer = Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]


def refusing(status: str, *headers: str) -> Answer:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(http(b'{"error": "not now"}', status, *headers))

    return answer


def first(bad: Answer, good: Answer, times: int = 1) -> Answer:
    """Bad so often, then good."""
    left = [times]

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        left[0] -= 1
        await (bad if left[0] >= 0 else good)(asked, writer)

    return answer


def sometimes(share: float, bad: Answer, good: Answer, seed: int = 1) -> Answer:
    chance = random.Random(seed)

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await (bad if chance.random() < share else good)(asked, writer)

    return answer


async def after(seconds: float, asked: Asked, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(seconds)
    writer.write(http(doubled(asked.rows)))


def retries(here: Bench) -> dict[str, int]:
    return dict(here.sink.meters["m", "upstream"].retries)


async def test_the_only_address_is_asked_again_after_a_pause() -> None:
    async with doubles() as (there,), asking(there.url, retries=3, backoff=Backoff(0.05, 0.08, 0.0)) as here:
        there.infer = first(refusing("503 Service Unavailable"), there.right, 3)
        began = time.monotonic()
        outcome = await here.ask(4.0)
        assert values(outcome) == [8.0]
        assert 0.05 + 0.08 + 0.08 <= time.monotonic() - began < 1.0
        assert retries(here) == {"sent": 3}
        assert isinstance(outcome, Reply)
        assert [name for name, _ in outcome.timing.steps] == ["try-1", "try-2", "try-3", "try-4"]


@pytest.mark.parametrize("status", ["503 Service Unavailable", "429 Too Many Requests"])
async def test_retry_after_is_the_least_pause(status: str) -> None:
    async with doubles() as (there,), asking(there.url, retries=1) as here:
        there.infer = first(refusing(status, "retry-after: 1"), there.right)
        began = time.monotonic()
        assert values(await here.ask(4.0)) == [8.0]
        assert 1.0 <= time.monotonic() - began < 2.0
        there.infer = refusing(status, "retry-after: 1")
        began = time.monotonic()
        outcome = await here.ask(4.0, deadline=0.8)
        assert isinstance(outcome, QueueFull | Unavailable)
        assert outcome.retry_after == 1
        assert time.monotonic() - began < 0.5
        assert retries(here) == {"sent": 1, "deadline": 1}


async def test_another_address_is_asked_at_once_also_by_who_is_full_or_fails() -> None:
    for bad in ("503 Service Unavailable", "429 Too Many Requests", "500 Internal Server Error"):
        async with doubles(2) as (sick, well), asking(sick.url, well.url, backoff=Backoff(5.0, 5.0)) as here:
            sick.infer = refusing(bad, "retry-after: 9")
            for one in range(10):
                assert values(await here.ask(one, deadline=2.0)) == [2.0 * one]
            assert len(sick.asked) == retries(here)["sent"]


async def test_an_error_of_the_model_is_shown_to_another_address_once_and_then_halved() -> None:
    async with doubles(2) as all_, asking(all_[0].url, all_[1].url) as here:

        async def poisoned(asked: Asked, writer: asyncio.StreamWriter) -> None:
            answer = refusing("500 Internal Server Error") if 13.0 in asked.rows else all_[0].right
            await answer(asked, writer)

        for one in all_:
            one.infer = poisoned
        outcomes = await asyncio.gather(*(here.ask(one) for one in range(20)))
        assert isinstance(outcomes.pop(13), ModelFailed)
        assert all(isinstance(one, Reply) for one in outcomes)
        assert retries(here) == {"sent": 1}
        assert here.live.executor.troubles() == []


async def deaf(port: int) -> None:
    """Until nobody listens there: what the system took in before that counts as sent."""
    for _ in range(200):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return
        writer.close()
        await asyncio.sleep(0.01)
    raise AssertionError("it still listens")


async def test_what_may_have_been_run_is_not_sent_again_where_that_would_matter() -> None:
    async with doubles(2) as all_, asking(all_[0].url, all_[1].url, idempotent=False, retries=3) as here:
        for one in all_:
            one.infer = hung_up
        for _ in range(3):
            assert isinstance(await here.ask(1.0), Unavailable)
        assert sum(len(one.asked) for one in all_) == 3
        for one in all_:
            one.infer = one.right
        all_[0].kill()  # nothing listens: it was never sent
        await deaf(all_[0].port)
        for number in range(10):
            assert values(await here.ask(number)) == [2.0 * number]


async def test_retries_are_a_share_of_the_calls() -> None:
    """Half of all requests fail: a fifth more is sent, and the rest of the callers is told."""
    async with doubles(2) as all_:
        urls = [one.url for one in all_]
        never_out = Outlying(errors=1.0)
        async with asking(*urls, retries=2, failures=1000, outlying=never_out, max_rows=1) as here:
            for seed, one in enumerate(all_):
                one.infer = sometimes(0.5, refusing("503 Service Unavailable"), one.right, seed)
            outcomes = []
            for _ in range(100):
                outcomes += await asyncio.gather(*(here.ask(1.0, deadline=5.0) for _ in range(10)))
            sent = sum(len(one.asked) for one in all_)
            assert 1.15 * 1000 <= sent <= 1.2 * 1000 + 10
            told = retries(here)
            assert told["sent"] == sent - 1000
            assert told["budget"] > 100
            well = sum(isinstance(one, Reply) for one in outcomes)
            assert well > 550  # without retries it is half of them


async def test_without_a_budget_there_are_no_retries_but_one_a_second() -> None:
    async with doubles(2) as all_, asking(*(one.url for one in all_), budget=0.0, failures=1000, max_rows=1) as here:
        for one in all_:
            one.infer = refusing("503 Service Unavailable")
        await asyncio.gather(*(here.ask(1.0) for _ in range(50)))
        assert retries(here)["sent"] == 10


async def test_a_second_request_answers_when_the_first_takes_long() -> None:
    async with doubles(2) as (one, other), asking(one.url, other.url, hedge=Hedge(0.9, 0.2), max_rows=1) as here:
        for _ in range(30):
            await here.ask(1.0)
        slow = one
        slow.infer = never
        hedges = here.sink.meters["m", "upstream"].hedges
        asked: list[Outcome] = []
        while hedges["won"] < 2:
            began = time.monotonic()
            asked.append(await here.ask(len(asked), deadline=5.0))
            assert time.monotonic() - began < 2.0
        assert [values(reply) for reply in asked] == [[2.0 * number] for number in range(len(asked))]
        await until(lambda: slow.hangups >= 2)
        told = next(reply.timing.steps for reply in asked if isinstance(reply, Reply) and reply.timing.steps)
        assert [name for name, _ in told] == ["try-1", "try-2"]
        assert all(seat.in_flight == 0 for seat in here.live.executor._fleet._balance.seats)  # type: ignore[attr-defined]


async def test_a_second_request_after_a_fixed_time_needs_no_history() -> None:
    async with doubles(2) as all_, asking(*(one.url for one in all_), hedge=Hedge(after=0.05), max_rows=1) as here:
        for one in all_:
            one.infer = first(never, one.right)
        all_[1].infer = all_[1].right
        began = time.monotonic()
        for _ in range(10):
            assert values(await here.ask(4.0)) == [8.0]
        assert time.monotonic() - began < 1.0
        assert len(all_[0].asked) == 1 or here.sink.meters["m", "upstream"].hedges["won"] == 1


async def test_second_requests_are_a_share_of_the_requests() -> None:
    async with doubles(2) as all_:
        urls = [one.url for one in all_]
        async with asking(*urls, hedge=Hedge(0.5, 0.05), max_rows=1, outlying=Outlying(slower=0)) as here:
            for one in all_:
                one.infer = lambda asked, writer: after(random.uniform(0.001, 0.02), asked, writer)
            for _ in range(40):
                await asyncio.gather(*(here.ask(1.0) for _ in range(10)))
            hedges = here.sink.meters["m", "upstream"].hedges
            assert 10 <= hedges["sent"] <= 0.05 * 400 + 2
            assert hedges["budget"] > 20


async def test_a_hedged_call_that_is_cancelled_is_cancelled_at_both() -> None:
    async with doubles(2) as all_, asking(*(one.url for one in all_), hedge=Hedge(0.9, 1.0), max_rows=1) as here:
        for _ in range(30):
            await here.ask(1.0)
        for one in all_:
            one.infer = never
        before = sum(one.hangups for one in all_), sum(len(one.asked) for one in all_)
        call, answered = here.begin(1.0)
        await until(lambda: sum(len(one.asked) for one in all_) == before[1] + 2)
        here.live.cancel(call)
        await answered
        await until(lambda: sum(one.hangups for one in all_) == before[0] + 2)
        assert here.live.idle
        outcome = await here.ask(1.0, deadline=0.2)
        assert isinstance(outcome, DeadlineExceeded)
        assert all(seat.in_flight == 0 for seat in here.live.executor._fleet._balance.seats)  # type: ignore[attr-defined]


async def test_of_two_failures_the_next_address_is_asked() -> None:
    async with (
        doubles(3) as all_,
        asking(*(one.url for one in all_), hedge=Hedge(0.9, 1.0), max_rows=1, retries=1) as here,
    ):
        for _ in range(40):
            await here.ask(1.0)
        failing = set()

        async def slowly_fails(asked: Asked, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(0.2)
            await bad_gateway(asked, writer)

        for one in all_[:2]:
            one.infer = slowly_fails
            failing.add(one)
        for number in range(10):
            assert values(await here.ask(number)) == [2.0 * number]


async def test_half_of_its_answers_wrong_is_left_out_and_not_asked_until_its_time_is_over() -> None:
    async with (
        doubles(2) as (sick, well),
        asking(sick.url, well.url, seconds=2.0, outlying=Outlying(requests=10)) as here,
    ):
        sick.infer = sometimes(0.6, refusing("503 Service Unavailable"), sick.right)
        async with asyncio.timeout(10):
            while not here.live.executor.troubles():
                assert isinstance(await here.ask(1.0), Reply)
        meter = here.sink.meters["m", "upstream"]
        assert dict(meter.ejections) in ({(sick.url, "errors"): 1}, {(sick.url, "failures"): 1})
        asked = len(sick.asked)
        for _ in range(50):
            assert isinstance(await here.ask(1.0), Reply)
        assert len(sick.asked) == asked


async def test_while_all_are_out_nobody_is_asked_and_the_first_that_is_back_is_used() -> None:
    async with doubles(2) as all_, asking(*(one.url for one in all_), failures=2, seconds=1.0, retries=0) as here:
        for one in all_:
            one.infer = hung_up
        for _ in range(4):
            assert isinstance(await here.ask(1.0), Unavailable)
        asked = sum(len(one.asked) for one in all_)
        began = time.monotonic()
        for _ in range(50):
            outcome = await here.ask(1.0)
            assert isinstance(outcome, CircuitOpen)
            assert "is left out, and one is asked again in 1 seconds" in str(outcome)
        assert time.monotonic() - began < 0.4
        assert sum(len(one.asked) for one in all_) == asked
        all_[1].infer = all_[1].right
        all_[0].kill()
        await until(lambda: len(here.live.executor.troubles()) < 2)
        assert values(await here.ask(3.0)) == [6.0]


async def test_who_is_many_times_slower_than_the_others_is_left_out() -> None:
    async with doubles(3) as all_:
        slow: Double = all_[0]
        how = Outlying(requests=2, window=1.0)
        async with asking(*(one.url for one in all_), max_rows=1, connections=2, outlying=how) as here:
            for _ in range(20):
                await asyncio.gather(*(here.ask(1.0) for _ in range(3)))
            slow.infer = lambda asked, writer: after(0.2, asked, writer)
            async with asyncio.timeout(15):
                while not here.live.executor.troubles():
                    await asyncio.gather(*(here.ask(1.0) for _ in range(12)))
            assert set(here.sink.meters["m", "upstream"].ejections) == {(slow.url, "slow")}
            assert "slow beside those of the others" in here.live.executor.troubles()[0]
