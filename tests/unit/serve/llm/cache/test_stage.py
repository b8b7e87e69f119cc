"""What is answered out of the cache, for whom, and how it is told."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from fairlead.contracts.access import Caller
from fairlead.contracts.engine import EngineOptions, Event, Running, Tell
from fairlead.contracts.errors import EngineLost, Unavailable
from fairlead.contracts.generation import (
    Begun,
    Chosen,
    Ended,
    Format,
    Generation,
    Message,
    Piece,
    Sampling,
    Tool,
    Usage,
)
from fairlead.serve.llm.ask import CACHED, OVER, Ask, Notes, line
from fairlead.serve.llm.cache.meaning import Meaning
from fairlead.serve.llm.cache.shelf import Kept, Shelf
from fairlead.serve.llm.cache.stage import AUDITS, Caching, Rules
from fairlead.serve.llm.cache.trial import Trial
from fairlead.testing.clock import ManualClock
from fairlead.testing.engines import EchoEngine
from fairlead.testing.vectors import BruteIndex

TURNS = (Message("system", "Be brief."), Message("user", "How do I reset my password?"))
BASE = Generation("1", "chat", TURNS, Sampling(temperature=0.0))


async def embed(text: str) -> np.ndarray:
    """Letters counted: close for texts of the same letters."""
    vector = np.zeros(26, np.float32)
    for letter in text.casefold():
        if "a" <= letter <= "z":
            vector[ord(letter) - 97] += 1
    return vector


ANYBODY = Rules()


class World:
    def __init__(
        self, *, rules: Rules = ANYBODY, semantic: bool = False, embed=embed, threshold: float = 0.9, swaps: int = 0
    ) -> None:
        self.clock, self.told = ManualClock(), Counter()
        self.engine = EchoEngine(EngineOptions("chat", ""))
        meaning = None
        self.shelf = Shelf(2**20, 100.0)
        if semantic:
            meaning = Meaning(self.shelf, BruteIndex, Trial(threshold, 0.01), swaps=swaps)
        self.meaning = meaning
        told = lambda outcome: self.told.update([outcome])  # noqa: E731
        self.stage = Caching(self.shelf, self.clock, rules, told, meaning, embed if semantic else None, Random(1))
        self.enter = line([self.stage], self.engine)

    async def ask(
        self, generation: Generation = BASE, caller: Caller | None = None, **more
    ) -> tuple[list[Event], Notes]:
        if not self.engine._open:
            await self.engine.start()
        heard: list[Event] = []
        notes = Notes()
        self.enter(Ask(generation, self.clock.now(), "r", caller, notes=notes, **more), heard.append)
        for _ in range(20):
            await asyncio.sleep(0)
        return heard, notes


def said(heard: list[Event]) -> str:
    return "".join(one.text for one in heard if isinstance(one, Piece))


async def test_the_same_question_gets_the_same_answer_piece_for_piece():
    world = World()
    first, notes = await world.ask()
    assert CACHED not in notes.headers
    world.clock.advance(12)
    second, notes = await world.ask(replace(BASE, id="2"))
    assert second == first
    assert isinstance(second[0], Begun)
    assert isinstance(second[-1], Ended)
    assert (notes.headers[CACHED], notes.facts["cache"]) == ("exact; age=12", "exact")
    assert len(world.engine.asked) == 1
    assert world.told == {"miss": 1, "exact": 1}


async def test_answers_grow_old():
    world = World()
    await world.ask()
    world.clock.advance(101)
    await world.ask()
    assert world.told == {"miss": 2}


@pytest.mark.parametrize(
    "other",
    [
        replace(BASE, model="other"),
        replace(BASE, sampling=Sampling(temperature=0.1)),
        replace(BASE, sampling=Sampling(temperature=0.0, seed=1)),
        replace(BASE, tools=(Tool("t", parameters={"type": "object"}),)),
        replace(BASE, format=Format("f", {"type": "object"})),
        replace(BASE, adapter="lora"),
        replace(BASE, prompt=(Message("system", "Be long."), TURNS[1])),
        replace(BASE, prompt=(TURNS[0], Message("user", "How do I reset my passwords?"))),
        replace(BASE, prompt=(TURNS[1],)),
        replace(BASE, resumes=True),
    ],
)
async def test_another_question_is_another(other):
    world = World()
    await world.ask()
    await world.ask(other)
    assert world.told == {"miss": 2}


ANNA, BEN, CARL = (
    Caller(name, "key", (), tenant) for name, tenant in (("anna", "acme"), ("ben", "acme"), ("carl", "x"))
)


@pytest.mark.parametrize(
    ("scope", "hits"),
    [("key", (True, False, False)), ("tenant", (True, True, False)), ("endpoint", (True, True, True))],
)
@pytest.mark.parametrize("semantic", [False, True])
async def test_nobody_gets_an_answer_of_another_scope(scope, hits, semantic):
    world = World(rules=Rules(scope), semantic=semantic)
    await world.ask(caller=ANNA)
    found = [(await world.ask(caller=one))[1].facts.get("cache") is not None for one in (ANNA, BEN, CARL)]
    assert tuple(found) == hits


async def test_the_answer_about_one_town_is_none_about_another():
    asked = "book a table in {} for my brother tonight please"
    for swaps, hits in ((0, 0), (1, 1)):
        world = World(semantic=True, rules=Rules(audit=0.0), threshold=0.5, swaps=swaps)
        for town in ("rome", "oslo"):
            await world.ask(replace(BASE, prompt=(TURNS[0], Message("user", asked.format(town)))))
        assert (world.told["semantic"], world.told["guarded"]) == (hits, 1 - hits)


async def test_what_means_the_same_is_answered_and_what_looks_alike_is_not():
    world = World(semantic=True, rules=Rules(audit=0.0))
    await world.ask()
    near = replace(BASE, prompt=(TURNS[0], Message("user", "How can I reset my password?")))
    heard, notes = await world.ask(near)
    assert said(heard) == "How do I reset my password?"
    assert notes.facts["cache"] == "semantic"
    unlike = replace(BASE, prompt=(TURNS[0], Message("user", "How do I not reset my password?")))
    heard, _ = await world.ask(unlike)
    assert said(heard) == "How do I not reset my password?"
    assert world.told == {"miss": 1, "semantic": 1, "guarded": 1}


async def test_another_system_prompt_is_another_world_whatever_the_embedding_says():
    world = World(semantic=True, threshold=0.01)
    await world.ask()
    await world.ask(replace(BASE, prompt=(Message("system", "Be rude."), Message("user", "How can I reset it?"))))
    assert world.told == {"miss": 2}


async def test_false_hits_raise_the_threshold_until_the_cache_is_off():
    world = World(semantic=True, rules=Rules(audit=1.0), threshold=0.5)
    for number in range(400):
        text = f"How do I reset my password {'ab'[number % 2] * 2}{'cdefgh'[number % 6]}?"
        await world.ask(replace(BASE, id=str(number), prompt=(TURNS[0], Message("user", text))))
        if world.meaning.trial.threshold > 0.5:
            break
    world.stage._agree = lambda *_: _false()
    for number in range(4000):
        text = f"How do I reset my password {number:b}?".replace("0", "x").replace("1", "y")
        await world.ask(replace(BASE, id=str(number), prompt=(TURNS[0], Message("user", text))))
        if world.meaning.trial.off:
            break
    assert world.meaning.trial.threshold > 0.5
    assert world.told["false"] > 0


async def _false() -> bool:
    return False


async def test_an_embedder_that_fails_is_no_cache_and_no_error():
    async def broken(_text: str) -> np.ndarray:
        raise Unavailable("gone")

    world = World(semantic=True, embed=broken)
    for number in range(2):
        heard, _ = await world.ask(replace(BASE, prompt=(Message("user", f"Hello {number}"),)))
        assert isinstance(heard[-1], Ended)


async def test_what_could_not_be_embedded_is_kept_for_the_same_question():
    async def broken(_text: str) -> np.ndarray:
        raise Unavailable("gone")

    world = World(semantic=True, embed=broken)
    await world.ask()
    _, notes = await world.ask()
    assert notes.facts["cache"] == "exact"


@pytest.mark.parametrize("fails", ["nearest", "add"])
async def test_an_index_that_fails_costs_nobody_the_answer(fails, monkeypatch, caplog):
    def broken(*_args) -> None:
        raise RuntimeError("out of memory")

    world = World(semantic=True, rules=Rules(audit=0.0))
    await world.ask()
    monkeypatch.setattr(BruteIndex, fails, broken)
    other = replace(BASE, prompt=(TURNS[0], Message("user", "Where is the key of my old house?")))
    heard, _ = await world.ask(other)
    assert said(heard) == "Where is the key of my old house?"
    assert isinstance(heard[-1], Ended)
    assert caplog.records


async def test_audits_are_nobodys_and_few_at_once():
    world = World(semantic=True, rules=Rules("endpoint", audit=1.0))
    await world.ask(caller=ANNA)
    asked: list[tuple[Ask, Tell]] = []

    def never(ask: Ask, tell: Tell) -> Running:
        asked.append((ask, tell))
        return OVER

    enter = world.stage.stage(never)
    near = replace(BASE, tenant="acme", prompt=(TURNS[0], Message("user", "How can I reset my password?")))
    for _ in range(AUDITS + 3):
        enter(Ask(near, 0.0, "r", ANNA), lambda _: None)
        for _ in range(20):
            await asyncio.sleep(0)
    assert [(one.caller, one.generation.tenant) for one, _ in asked] == [(None, "")] * AUDITS
    for _, tell in asked:
        tell(EngineLost("x"))
    for _ in range(20):
        await asyncio.sleep(0)
    assert world.stage.settled
    enter(Ask(near, 0.0, "r", ANNA), lambda _: None)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(asked) == AUDITS + 1
    asked[-1][1](EngineLost("x"))


async def test_one_that_is_slow_is_not_waited_for():
    async def slow(_text: str) -> np.ndarray:
        await asyncio.sleep(60)
        raise AssertionError

    world = World(semantic=True, embed=slow, rules=Rules(patience=0.01))
    heard, _ = await world.ask()
    await asyncio.sleep(0.05)
    assert isinstance(heard[-1], Ended)


async def test_who_cancels_while_it_is_looked_up_hears_nothing_and_costs_nothing():
    world = World(semantic=True)
    await world.engine.start()
    heard: list[Event] = []
    running = world.enter(Ask(BASE, 0.0, "r"), heard.append)
    running.cancel()
    running.cancel()
    for _ in range(20):
        await asyncio.sleep(0)
    assert heard == []
    assert world.engine.asked == []
    assert world.stage.settled


async def test_who_cancels_inside_a_replay_hears_no_more():
    world = World(semantic=True, rules=Rules(audit=0.0))
    await world.ask()
    heard: list[Event] = []
    near = replace(BASE, prompt=(TURNS[0], Message("user", "How can I reset my password?")))

    def tell(event: Event) -> None:
        heard.append(event)
        running.cancel()

    running = world.enter(Ask(near, 0.0, "r"), tell)
    for _ in range(20):
        await asyncio.sleep(0)
    assert world.told["semantic"] == 1
    assert [type(event) for event in heard] == [Begun]


@pytest.mark.parametrize("more", [{"first": False}, {"notes": Notes(facts={"several": True})}])
async def test_several_answers_to_one_question_are_all_made(more):
    world = World()
    await world.ask()
    heard: list[Event] = []
    world.enter(Ask(BASE, 0.0, "r", **more), heard.append)
    assert len(world.engine.asked) == 2


async def test_what_is_not_whole_is_not_kept():
    world = World()
    world.engine.dies_after = 2
    heard, _ = await world.ask()
    assert isinstance(heard[-1], EngineLost)
    world.engine.dies_after = 0
    await world.ask()
    assert world.told == {"miss": 2}


def test_a_shelf_is_bounded_and_lets_the_least_wanted_go():
    gone: list[bytes] = []
    shelf = Shelf(20_000, 10.0)
    shelf.gone = gone.append
    answer = Kept((Piece("x" * 500),), Ended("stop", Usage()), 0.0)
    for number in range(40):
        shelf.put(bytes([number]), answer)
        shelf.get(b"\0", 1.0)
    assert shelf.size <= 20_000
    assert shelf.get(b"\0", 1.0) is answer
    assert gone[0] == b"\1"
    assert len(shelf) + len(gone) == 40
    shelf.put(b"huge", Kept((Piece("x" * 9000),), Ended("stop", Usage()), 0.0))
    assert shelf.get(b"huge", 1.0) is None
    assert shelf.get(b"\0", 11.0) is None


def test_a_shelf_counts_probabilities_of_tokens_and_letters_of_all_scripts():
    others = (("a", -1.0, b"a"),) * 20
    plain = Kept((Piece("x"),), Ended("stop", Usage()), 0.0)
    likely = Kept((Piece("x", logprobs=(Chosen("x", -0.1, b"x", others),)),), Ended("stop", Usage()), 0.0)
    thought = Kept((Piece("x", reasoning="\u6c34" * 1000),), Ended("stop", Usage()), 0.0)
    assert likely.size - plain.size >= 4000
    assert thought.size - plain.size >= 2000


def test_what_left_the_shelf_leaves_the_index_and_a_key_that_never_was_is_no_error():
    shelf = Shelf(20_000, 10.0)
    meaning = Meaning(shelf, BruteIndex, Trial(0.9, 0.01))
    vector = np.ones(3, np.float32)
    for number in range(60):
        key = bytes([number])
        shelf.put(key, Kept((Piece("x" * 500),), Ended("stop", Usage()), 0.0, "Hello"))
        meaning.put(b"", key, vector)
        meaning.drop(b"never there")
    [index] = meaning._indexes.values()
    assert len(index) == len(shelf) == len(meaning._keys) == len(meaning._places)
    assert meaning.find(b"", vector, "Hello", 1.0).kept is not None
    assert meaning.find(b"", vector, "Hello", 100.0).kept is None
    assert meaning.find(b"other", vector, "Hello", 1.0).kept is None
