"""What every engine of tokens must do, whoever wrote it.

::

    @pytest.mark.parametrize("check", token_engine_suite.CHECKS, ids=lambda check: check.__name__)
    async def test_my_engine(check):
        engine = MyEngine(options)
        await engine.start()
        await check(engine, token_engine_suite.Site(prompt))
        await engine.stop()

``LIVES`` are those that start and stop engines themselves: ``await check(make, site)``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from fairlead.contracts.engine import Running
from fairlead.contracts.errors import ContextTooLong, FairleadError, InputError, Unavailable
from fairlead.contracts.generation import Sampling, Usage
from fairlead.contracts.tokens import TokenEngine, TokenEvent, TokenGeneration, Tokens, TokensBegun, TokensEnded

PATIENCE: Final = 60.0
"""Seconds for an answer, at most."""

GREEDY: Final = Sampling(temperature=0.0)


@dataclass(frozen=True, slots=True)
class Site:
    """``prompt``: ids that the engine knows, three different ones at least."""

    prompt: tuple[int, ...]


Make = Callable[[], TokenEngine]


@dataclass
class Heard:
    """What was told of one answer. ``at``: called with each event, before it is noted."""

    at: Callable[[TokenEvent], None] | None = None
    events: list[TokenEvent] = field(default_factory=list)
    running: Running | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, event: TokenEvent) -> None:
        if self.at is not None:
            self.at(event)
        self.events.append(event)
        if isinstance(event, TokensEnded | FairleadError):
            self.ended.set()

    @property
    def ids(self) -> list[int]:
        return [one for event in self.events if isinstance(event, Tokens) for one in event.ids]

    @property
    def last(self) -> TokenEvent:
        return self.events[-1]

    async def end(self) -> Heard:
        async with asyncio.timeout(PATIENCE):
            await self.ended.wait()
        return self


def asked(
    prompt: Sequence[int], most: int = 12, sampling: Sampling = GREEDY, ends: tuple[int, ...] = ()
) -> TokenGeneration:
    asked.count += 1  # type: ignore[attr-defined]
    return TokenGeneration(f"suite-{asked.count}", tuple(prompt), most, sampling, ends)  # type: ignore[attr-defined]


asked.count = 0  # type: ignore[attr-defined]


def begin(engine: TokenEngine, what: TokenGeneration, at: Callable[[TokenEvent], None] | None = None) -> Heard:
    heard = Heard(at)
    heard.running = engine.generate(what, heard.tell)
    return heard


async def whole(engine: TokenEngine, what: TokenGeneration) -> Heard:
    return await begin(engine, what).end()


# Each of these takes an engine that is started.


async def it_begins_once_and_ends_once(engine: TokenEngine, site: Site) -> None:
    heard = await whole(engine, asked(site.prompt))
    await asyncio.sleep(0.05)
    kinds = [type(event) for event in heard.events]
    _expect(kinds[0] is TokensBegun, f"it begins first: {kinds[0].__name__}")
    _expect(kinds.count(TokensBegun) == 1, "it begins once")
    _expect(kinds[-1] is TokensEnded and kinds.count(TokensEnded) == 1, f"it ends once, and last: {heard.last!r}")
    _expect(all(event.ids for event in heard.events if isinstance(event, Tokens)), "what it says is not empty")


async def its_usage_adds_up(engine: TokenEngine, site: Site) -> None:
    for length, most in ((1, 1), (len(site.prompt), 9), (3, 2)):
        prompt = _stretched(site.prompt, length)
        heard = await whole(engine, asked(prompt, most))
        first, last = heard.events[0], heard.last
        assert isinstance(first, TokensBegun)  # noqa: S101 - of an answer that is whole
        assert isinstance(last, TokensEnded)  # noqa: S101 - as above
        _expect(first.usage.prompt == length, f"the prompt's {length} tokens at first: {first.usage}")
        _expect(first.usage.completion == 0, f"nothing is written at first: {first.usage}")
        _expect(last.usage.prompt == length, f"the prompt's {length} tokens at the end: {last.usage}")
        _expect(last.usage.output == len(heard.ids), f"{len(heard.ids)} tokens that were told: {last.usage}")
        _expect(min(last.usage) >= 0 and last.usage.reasoning == 0, f"no class is below zero: {last.usage}")


async def at_most_is_kept(engine: TokenEngine, site: Site) -> None:
    for most in (1, 2, 17):
        heard = await whole(engine, asked(site.prompt, most))
        _expect(len(heard.ids) == most, f"{most} tokens: {len(heard.ids)}")
        _expect(heard.last == TokensEnded(False, _usage(heard)), f"it was not stopped: {heard.last!r}")


async def an_end_ends_it_and_is_not_told(engine: TokenEngine, site: Site) -> None:
    plain, place = await _with_an_end(engine, site)
    heard = await whole(engine, asked(site.prompt, len(plain), ends=(plain[place],)))
    _expect(heard.ids == plain[:place], f"{plain[:place]} and then its end: {heard.ids}")
    _expect(heard.last == TokensEnded(True, _usage(heard)), f"it was stopped: {heard.last!r}")
    _expect(_usage(heard).output == place, f"{place} tokens: {heard.last!r}")


async def an_end_is_not_said_too_early(engine: TokenEngine, site: Site) -> None:
    plain, place = await _with_an_end(engine, site)
    least = place + 3
    sampling = Sampling(temperature=0.0, least=least)
    heard = await whole(engine, asked(site.prompt, least + 4, sampling, (plain[place],)))
    _expect(len(heard.ids) >= least, f"{least} tokens at least: {len(heard.ids)}")
    _expect(plain[place] not in heard.ids, "no end among them")


async def an_end_may_be_ignored(engine: TokenEngine, site: Site) -> None:
    plain, place = await _with_an_end(engine, site)
    sampling = Sampling(temperature=0.0, ignore_end=True)
    heard = await whole(engine, asked(site.prompt, len(plain), sampling, (plain[place],)))
    _expect(heard.ids == plain, f"as without an end: {heard.ids}")


async def greedy_is_the_same_alone_and_among_eight(engine: TokenEngine, site: Site) -> None:
    alone = (await whole(engine, asked(site.prompt, 24))).ids
    others = [_stretched(site.prompt, length) for length in range(1, 8)]
    many = [begin(engine, asked(prompt, 24)) for prompt in (site.prompt, *others)]
    await asyncio.gather(*(one.end() for one in many))
    _expect(many[0].ids == alone, f"{alone}: {many[0].ids}")
    again = [(await whole(engine, asked(prompt, 24))).ids for prompt in others]
    _expect([one.ids for one in many[1:]] == again, "the others too")


async def a_seed_repeats(engine: TokenEngine, site: Site) -> None:
    if not engine.traits.seeds:
        return
    seeded = [await whole(engine, asked(site.prompt, 16, Sampling(seed=seed))) for seed in (7, 7, 8, -1, 2**63)]
    _expect(seeded[0].ids == seeded[1].ids, "the same seed, the same tokens")
    _expect(seeded[0].ids != seeded[2].ids, "another seed, other tokens")
    drawn = [(await whole(engine, asked(site.prompt, 16, Sampling()))).ids for _ in range(4)]
    _expect(any(ids != drawn[0] for ids in drawn), "without a seed it is not the same each time")


async def a_seed_repeats_among_others(engine: TokenEngine, site: Site) -> None:
    if not engine.traits.seeds:
        return
    alone = (await whole(engine, asked(site.prompt, 16, Sampling(seed=7)))).ids
    many = [begin(engine, asked(site.prompt, 16, Sampling(seed=seed))) for seed in (1, 2, 7, 3)]
    await asyncio.gather(*(one.end() for one in many))
    _expect(many[2].ids == alone, f"{alone}: {many[2].ids}")


async def it_tells_how_likely_tokens_were(engine: TokenEngine, site: Site) -> None:
    heard = await whole(engine, asked(site.prompt))
    _expect(all(not event.logprobs for event in heard.events if isinstance(event, Tokens)), "not unasked")
    if engine.traits.logprobs < 0:
        return
    heard = await whole(engine, asked(site.prompt, sampling=Sampling(temperature=0.0, logprobs=0)))
    told = [event for event in heard.events if isinstance(event, Tokens)]
    _expect(all(len(event.logprobs) == len(event.ids) for event in told), "one for each token")
    _expect(all(one <= 1e-4 for event in told for one in event.logprobs), "none is over zero")


async def cancelled_at_any_time_it_is_silent(engine: TokenEngine, site: Site) -> None:
    alone = (await whole(engine, asked(site.prompt))).ids
    for tokens in (-1, 0, 1, 3):  # before anything, as it begins, after so many tokens; inside `tell`
        beside = begin(engine, asked(site.prompt))
        gone = Heard()

        def at(_event: TokenEvent, gone: Heard = gone, tokens: int = tokens) -> None:
            if gone.running is not None and len(gone.ids) >= tokens:
                gone.running.cancel()

        gone.at = at
        gone.running = engine.generate(asked(site.prompt, 400), gone.tell)
        if tokens < 0:
            gone.running.cancel()
        await beside.end()
        await whole(engine, asked(site.prompt))
        gone.running.cancel()
        told = len(gone.events)
        await asyncio.sleep(0.05)
        _expect(len(gone.events) == told and not gone.ended.is_set(), f"{gone.events} after {tokens} tokens")
        _expect(tokens >= 0 or not gone.events, f"nothing is told: {gone.events}")
        _expect(beside.ids == alone, "its neighbour does not notice")
    await _idle(engine)


async def cancelled_after_its_end_nothing_happens(engine: TokenEngine, site: Site) -> None:
    heard = await whole(engine, asked(site.prompt))
    assert heard.running is not None  # noqa: S101 - it was begun
    heard.running.cancel()
    heard.running.cancel()
    _expect(isinstance(heard.last, TokensEnded), "it stays whole")
    await _idle(engine)


async def cancelled_while_it_waits_the_others_come(engine: TokenEngine, site: Site) -> None:
    count = min(engine.traits.parallel, 64) + 6
    many = [begin(engine, asked(site.prompt, 6)) for _ in range(count)]
    for one in many[::3]:
        assert one.running is not None  # noqa: S101 - it was begun
        one.running.cancel()
    rest = [one for place, one in enumerate(many) if place % 3]
    await asyncio.gather(*(one.end() for one in rest))
    _expect(all(len(one.ids) == 6 and isinstance(one.last, TokensEnded) for one in rest), "all others are whole")
    _expect(not any(one.ended.is_set() for one in many[::3]), "those are silent")
    await _idle(engine)


async def what_cannot_be_is_refused(engine: TokenEngine, site: Site) -> None:
    wrong = [asked(()), asked(site.prompt, 0), asked((*site.prompt, -1)), asked((*site.prompt, (1 << 31) - 1))]
    for one in wrong:
        heard = await whole(engine, one)
        _expect(isinstance(heard.last, InputError), f"{one.ids[-3:]}, {one.most}: {heard.last!r}")
        _expect(len(heard.events) == 1, f"nothing before it: {heard.events}")
    if context := engine.traits.context:
        heard = await whole(engine, asked(_stretched(site.prompt, context)))
        _expect(isinstance(heard.last, ContextTooLong), f"{context} tokens: {heard.last!r}")
        heard = await whole(engine, asked(_stretched(site.prompt, context - 2), 50))
        _expect(len(heard.ids) == 2, f"an answer of the two that fit: {len(heard.ids)}")
    await _idle(engine)


async def who_listens_may_ask_again(engine: TokenEngine, site: Site) -> None:
    second = Heard()

    def again(event: TokenEvent) -> None:
        if isinstance(event, TokensEnded):
            second.running = engine.generate(asked(site.prompt), second.tell)

    await begin(engine, asked(site.prompt), again).end()
    await second.end()
    _expect(isinstance(second.last, TokensEnded), f"{second.last!r}")


async def its_load_goes_up_and_down(engine: TokenEngine, site: Site) -> None:
    await _idle(engine)
    many = [begin(engine, asked(site.prompt, 200)) for _ in range(4)]
    load = engine.load()
    _expect(load.waiting + load.running == 4, f"four at once: {load}")
    await asyncio.gather(*(one.end() for one in many))
    await _idle(engine)
    _expect(engine.troubles() == [], f"{engine.troubles()}")


# Each of these starts what it needs.


async def before_it_starts_it_is_unavailable(make: Make, site: Site) -> None:
    heard = begin(make(), asked(site.prompt))
    _expect([type(event) for event in heard.events] == [Unavailable], f"{heard.events}")


async def stopping_ends_every_answer(make: Make, site: Site) -> None:
    engine = make()
    await engine.start()
    many = [begin(engine, asked(site.prompt, 400)) for _ in range(6)]
    await asyncio.sleep(0.02)
    over = [one for one in many if one.ended.is_set()]
    await engine.stop()
    rest = [one for one in many if one not in over]
    _expect(all(isinstance(one.last, Unavailable) for one in rest), f"{[one.last for one in rest]}")
    late = begin(engine, asked(site.prompt))
    _expect([type(event) for event in late.events] == [Unavailable], f"after it: {late.events}")
    told = [len(one.events) for one in many]
    await asyncio.sleep(0.05)
    _expect([len(one.events) for one in many] == told, "nothing after it")
    await engine.stop()


CHECKS: Final = (
    it_begins_once_and_ends_once,
    its_usage_adds_up,
    at_most_is_kept,
    an_end_ends_it_and_is_not_told,
    an_end_is_not_said_too_early,
    an_end_may_be_ignored,
    greedy_is_the_same_alone_and_among_eight,
    a_seed_repeats,
    a_seed_repeats_among_others,
    it_tells_how_likely_tokens_were,
    cancelled_at_any_time_it_is_silent,
    cancelled_after_its_end_nothing_happens,
    cancelled_while_it_waits_the_others_come,
    what_cannot_be_is_refused,
    who_listens_may_ask_again,
    its_load_goes_up_and_down,
)
LIVES: Final = (before_it_starts_it_is_unavailable, stopping_ends_every_answer)


async def _with_an_end(engine: TokenEngine, site: Site) -> tuple[list[int], int]:
    """What it says greedily, and the place of a token in it, after the first, that was not said before."""
    plain = (await whole(engine, asked(site.prompt, 12))).ids
    place = next((at for at in range(2, len(plain)) if plain[at] not in plain[:at]), 0)
    _expect(place > 0, f"the site's prompt gives an answer of different tokens: {plain}")
    return plain, place


async def _idle(engine: TokenEngine) -> None:
    load = engine.load()
    _expect((load.waiting, load.running, load.memory) == (0, 0, 0.0), f"nothing waits, runs or is held: {load}")


def _stretched(prompt: Sequence[int], length: int) -> tuple[int, ...]:
    return tuple(prompt[place % len(prompt)] for place in range(length))


def _usage(heard: Heard) -> Usage:
    last = heard.last
    return last.usage if isinstance(last, TokensEnded) else Usage()


def _expect(condition: bool, what: str) -> None:
    if not condition:
        raise AssertionError(what)
