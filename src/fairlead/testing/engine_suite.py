"""What every engine must keep, whoever wrote it.

::

    @pytest.mark.parametrize("check", engine_suite.CHECKS, ids=lambda check: check.__name__)
    async def test_my_engine(check):
        await check(engine_suite.Subject(lambda: MyEngine(options)))

Prompts are plain English and answers are greedy, so that a question gives the same answer twice. A check makes an
engine of its own where it stops one; ``Subject.engine`` may be started already, and serves all the others.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from fairlead.contracts.engine import Engine, Event, Running
from fairlead.contracts.errors import ContextTooLong, FairleadError, InputError, Unavailable
from fairlead.contracts.generation import Begun, Ended, Format, Generation, Message, Piece, Sampling, Tool
from fairlead.testing.hearing import Heard

SAY: Final = (
    "Once upon a time there was a little girl who liked to play in the park with her friends and her big red ball "
    "and one day she saw a bird in a tree that could not fly so she went to help it and they were happy"
)
_LONG: Final = 24
"""Tokens of an answer that is long enough to be cancelled in the middle."""


@dataclass(frozen=True, slots=True)
class Subject:
    """``make``: a new engine.  ``seconds``: for one answer of 24 tokens, at most.  ``chats``: it takes conversations.

    ``counts``: it counts prompts exactly.  ``same``: alone and among others it gives the same answer.
    ``engine``: one that runs, to be used where none is stopped: for those that start slowly.
    ``repeats``: the same question gives the same answer.
    """

    make: Callable[[], Engine]
    seconds: float = 20.0
    chats: bool = True
    counts: bool = True
    same: bool = False
    repeats: bool = True
    engine: Engine | None = None
    text: str = field(default=SAY)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Engine]:
        if self.engine is not None:
            yield self.engine
            return
        engine = self.make()
        await engine.start()
        try:
            yield engine
        finally:
            await engine.stop()

    def asked(self, text: str = "", most: int = _LONG, **sampling: object) -> Generation:
        """A question that is answered at length."""
        said = text or self.text
        prompt: tuple[Message, ...] | str = (Message("user", said),) if self.chats else said
        wanted = Sampling(temperature=0.0, most=most, **sampling)  # type: ignore[arg-type]
        return Generation(f"check-{os.urandom(6).hex()}", "checked", prompt, wanted)


Check = Callable[[Subject], Awaitable[None]]


async def an_answer_begins_once_and_ends_once(subject: Subject) -> None:
    async with subject.running() as engine:
        heard = await _answer(subject, engine, subject.asked())
        events = heard.events
        _expect(isinstance(events[-1], Ended), f"it ends with Ended, not with {events[-1]!r}")
        begun = [place for place, event in enumerate(events) if isinstance(event, Begun)]
        _expect(begun in ([], [0]), f"Begun comes at most once and first, not at {begun}")
        _expect(bool(heard.text), "something is said")


async def its_usage_adds_up(subject: Subject) -> None:
    async with subject.running() as engine:
        asked = subject.asked()
        counted = await engine.count(asked)
        heard = await _answer(subject, engine, asked)
        ended = heard.ended
        _expect(min(ended.usage) >= 0, f"no class of {ended.usage} is below 0")
        said = sum(piece.tokens for piece in heard.pieces)
        if engine.traits.counts:
            _expect(ended.exact, "where traits.counts, usage is exact")
            exact = not subject.counts or ended.usage.prompt == counted
            _expect(exact, f"the prompt has {counted} tokens, as counted, not {ended.usage.prompt}")
            _expect(0 < said <= ended.usage.completion, f"{said} told, of {ended.usage.completion}")


async def it_ends_for_its_length(subject: Subject) -> None:
    async with subject.running() as engine:
        for most in (1, 5):
            ended = (await _answer(subject, engine, subject.asked(most=most))).ended
            _expect(ended.reason == "length", f"the reason is length, not {ended.reason}")
            if engine.traits.counts:
                _expect(ended.usage.completion == most, f"{most} tokens, not {ended.usage.completion}")


async def the_same_is_said_twice(subject: Subject) -> None:
    async with subject.running() as engine:
        first = (await _answer(subject, engine, subject.asked())).text
        again = (await _answer(subject, engine, subject.asked())).text
        _expect("\ufffd" not in first, "no character is cut in two")
        if subject.repeats:
            _expect(first == again, f"greedy twice is the same: {first!r} and {again!r}")


async def stop_strings_end_it_and_are_left_out(subject: Subject) -> None:
    if not subject.repeats:
        return
    async with subject.running() as engine:
        whole = (await _answer(subject, engine, subject.asked())).text
        for start, length in ((len(whole) // 2, 5), (len(whole) // 3, 1), (2 * len(whole) // 3, 9)):
            stop = whole[start : start + length]
            if not stop.strip():
                continue
            heard = await _answer(subject, engine, subject.asked(stop=("\u0001never", stop)))
            _expect(heard.text == whole[: whole.index(stop)], f"{stop!r}: {heard.text!r} is what stands before it")
            _expect(heard.ended.reason == "stop", f"the reason is stop, not {heard.ended.reason}")


async def many_at_once_all_end(subject: Subject) -> None:
    async with subject.running() as engine:
        texts = [f"{number} {subject.text}" for number in range(16)]
        alone = (
            [(await _answer(subject, engine, subject.asked(text))).text for text in texts[:3]] if subject.same else []
        )
        many = [_begin(engine, subject.asked(text)) for text in texts]
        for heard, _ in many:
            await _end(subject, heard, 16)
            _expect(isinstance(heard.events[-1], Ended), f"each ends with Ended, not with {heard.events[-1]!r}")
        for text, (heard, _) in zip(alone, many, strict=False):
            _expect(heard.text == text, f"what it says among others, {heard.text!r}, it says alone: {text!r}")
        await _idle(engine)


async def cancel_ends_it_in_every_phase(subject: Subject) -> None:
    async with subject.running() as engine:
        for phase in ("at once", "Begun", "first piece", "third piece", "Ended"):
            await _cancelled(subject, engine, phase)
        await _idle(engine)
        _expect(
            isinstance((await _answer(subject, engine, subject.asked())).events[-1], Ended), "the next one ends well"
        )


async def cancel_hurts_no_neighbour(subject: Subject) -> None:
    async with subject.running() as engine:
        many = [_begin(engine, subject.asked(f"{number} {subject.text}")) for number in range(8)]
        for heard, running in many[::2]:
            running.cancel()
            running.cancel()
            heard.cancelled = True
        for heard, _ in many[1::2]:
            await _end(subject, heard, 8)
            _expect(isinstance(heard.events[-1], Ended), f"it ends with Ended, not with {heard.events[-1]!r}")
        await _idle(engine)
        for heard, _ in many:
            heard.check()


async def its_load_falls_back_to_zero(subject: Subject) -> None:
    async with subject.running() as engine:
        await _idle(engine)
        many = [_begin(engine, subject.asked()) for _ in range(4)]
        load = engine.load()
        _expect(load.waiting >= 0 and load.running >= 0 and 0.0 <= load.memory <= 1.0, f"{load} makes sense")
        for heard, _ in many:
            await _end(subject, heard, 4)
        await _idle(engine)


async def what_it_cannot_do_is_an_error(subject: Subject) -> None:
    async with subject.running() as engine:
        traits, asked = engine.traits, subject.asked()
        if not traits.tools:
            tool = Tool("f", "does it", {"type": "object", "properties": {}})
            await _refused(subject, engine, replace(asked, tools=(tool,)), InputError)
        if not traits.schemas:
            await _refused(subject, engine, replace(asked, format=Format("a", {"type": "object"})), InputError)
        too_many = replace(asked.sampling, logprobs=traits.logprobs + 1)
        await _refused(subject, engine, replace(asked, sampling=too_many), InputError)
        if traits.logprobs > 0:
            heard = await _answer(subject, engine, replace(asked, sampling=replace(asked.sampling, logprobs=1)))
            chosen = [one for piece in heard.pieces for one in piece.logprobs]
            _expect(bool(chosen) and all(one.logprob <= 0.0 for one in chosen), "logprobs come, and are below 0")


async def a_prompt_that_is_too_long_is_an_error(subject: Subject) -> None:
    async with subject.running() as engine:
        if not engine.traits.context:
            return
        asked = subject.asked("word " * (2 * engine.traits.context))
        await _refused(subject, engine, asked, ContextTooLong)
        try:
            await engine.count(asked)
        except ContextTooLong:
            return
        raise AssertionError("count raises ContextTooLong for what does not fit")


async def a_bad_prompt_is_an_error_and_no_harm(subject: Subject) -> None:
    async with subject.running() as engine:
        good = subject.asked()
        lone = "a \ud800 surrogate"
        bad: Sequence[Generation] = (
            replace(good, prompt=()),
            replace(good, prompt=(-1, 5)),
            replace(good, prompt=(2**40,)),
            replace(good, prompt=lone),
            replace(good, prompt=(Message("user", lone),)),
            replace(good, sampling=replace(good.sampling, temperature=float("nan"))),
        )
        neighbour, _ = _begin(engine, good)
        for one in bad:
            await _refused(subject, engine, one, InputError)
        await _end(subject, neighbour, 2)
        _expect(isinstance(neighbour.events[-1], Ended), "what runs beside it ends well")
        await _idle(engine)


async def stop_ends_all_that_runs(subject: Subject) -> None:
    engine = subject.make()
    await engine.start()
    many = [_begin(engine, subject.asked()) for _ in range(6)]
    cancelled, running = many[0]
    running.cancel()
    cancelled.cancelled = True
    await engine.stop()
    for heard, _ in many[1:]:
        last = heard.events[-1] if heard.events else None
        _expect(isinstance(last, Ended | Unavailable), f"each ends, with Unavailable, not with {last!r}")
        heard.check()
    _expect((engine.load().waiting, engine.load().running) == (0, 0), "nothing is left")
    await engine.stop()


async def it_is_unavailable_before_and_after(subject: Subject) -> None:
    engine = subject.make()
    await _refused(subject, engine, subject.asked(), Unavailable)
    await engine.start()
    await engine.stop()
    await _refused(subject, engine, subject.asked(), Unavailable)


async def it_leaves_nothing_behind(subject: Subject) -> None:
    first = subject.make()  # what is loaded once and kept, is kept from now on
    await first.start()
    await first.stop()
    before, tasks = _descriptors(), len(asyncio.all_tasks())
    engine = subject.make()
    await engine.start()
    await _answer(subject, engine, subject.asked())
    for _ in range(3):
        _begin(engine, subject.asked())
    await engine.stop()
    for _ in range(100):
        if _descriptors() <= before and len(asyncio.all_tasks()) <= tasks:
            return
        await asyncio.sleep(0.02)
    names = [task.get_coro() for task in asyncio.all_tasks()]
    raise AssertionError(f"descriptors: {before} before, {_descriptors()} after; tasks: {tasks} before, now {names}")


CHECKS: Final[tuple[Check, ...]] = (
    an_answer_begins_once_and_ends_once,
    its_usage_adds_up,
    it_ends_for_its_length,
    the_same_is_said_twice,
    stop_strings_end_it_and_are_left_out,
    many_at_once_all_end,
    cancel_ends_it_in_every_phase,
    cancel_hurts_no_neighbour,
    its_load_falls_back_to_zero,
    what_it_cannot_do_is_an_error,
    a_prompt_that_is_too_long_is_an_error,
    a_bad_prompt_is_an_error_and_no_harm,
    stop_ends_all_that_runs,
    it_is_unavailable_before_and_after,
    it_leaves_nothing_behind,
)


def _begin(engine: Engine, asked: Generation, heard: Heard | None = None) -> tuple[Heard, Running]:
    heard = heard or Heard()
    return heard, engine.generate(asked, heard)


async def _end(subject: Subject, heard: Heard, times: int = 1) -> None:
    async with asyncio.timeout(subject.seconds * times):
        await heard.over.wait()
    heard.check()


async def _answer(subject: Subject, engine: Engine, asked: Generation) -> Heard:
    heard, _ = _begin(engine, asked)
    await _end(subject, heard)
    return heard


async def _refused(subject: Subject, engine: Engine, asked: Generation, kind: type[FairleadError]) -> None:
    heard = await _answer(subject, engine, asked)
    last = heard.events[-1]
    _expect(isinstance(last, kind), f"{kind.__name__} is told, not {last!r}")
    _expect(not heard.pieces, "nothing is said before it is refused")


async def _cancelled(subject: Subject, engine: Engine, phase: str) -> None:
    """Cancel inside what is told, the second time right behind the first."""
    held: list[Running] = []

    class Cancelling(Heard):
        def __call__(self, event: Event) -> None:
            super().__call__(event)
            if held and not self.cancelled and _reached(phase, self):
                _twice(held[0], self)

    heard = Cancelling()
    held.append(engine.generate(subject.asked(), heard))
    if phase == "at once" and not heard.over.is_set():
        _twice(held[0], heard)
    for _ in range(int(subject.seconds * 100)):
        if heard.over.is_set() or heard.cancelled:
            break
        await asyncio.sleep(0.01)
    else:
        raise AssertionError(f"cancelled at {phase!r}, it neither ends nor gets there")
    held[0].cancel()
    await asyncio.sleep(0.05)
    heard.check()


def _twice(running: Running, heard: Heard) -> None:
    running.cancel()
    heard.cancelled = True
    running.cancel()


def _reached(phase: str, heard: Heard) -> bool:
    last = heard.events[-1]
    if phase in ("Begun", "Ended"):
        return isinstance(last, Begun if phase == "Begun" else Ended)
    return isinstance(last, Piece) and len(heard.pieces) >= (1 if phase == "first piece" else 3)


async def _idle(engine: Engine) -> None:
    for _ in range(500):
        load = engine.load()
        if load.waiting == load.running == 0:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"its load falls back to 0, and does not stay at {engine.load()}")


def _descriptors() -> int:
    """Of this process; 0 where the system does not say."""
    folder = Path("/dev/fd")
    return len([*folder.iterdir()]) if folder.is_dir() else 0


def _expect(condition: bool, what: str) -> None:
    if not condition:
        raise AssertionError(what)
