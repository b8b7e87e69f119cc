"""Endpoints that are made of others: what the spec may say, and what comes of it."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
import pytest

from fairlead.contracts.engine import EngineOptions, EngineTraits, Event
from fairlead.contracts.errors import Unavailable, UsageError
from fairlead.contracts.generation import Ended, Generation, Message, Piece
from fairlead.kit.clock import SystemClock
from fairlead.kit.config import Home, home
from fairlead.kit.spec.read import parse
from fairlead.serve.catalog import Catalog
from fairlead.serve.llm.ask import Ask, over
from fairlead.serve.llm.cascade.auditing import Alarm
from fairlead.serve.llm.chats import Chats
from fairlead.serve.llm.fair.settings import Sharing
from fairlead.serve.llm.route.settings import Routing
from fairlead.testing.engines import EchoEngine
from fairlead.testing.sinks import MemorySink
from fairlead.wiring.llm import cascades, composing, fair, routes, specs
from fairlead.wiring.llm.around import Building, Surroundings
from fairlead.wiring.llm.caches import caching
from fairlead.wiring.llm.opening import openings

BASE = """endpoints:
  a: {llm: {engine: echo}}
  b: {llm: {engine: echo}}
  churn: {model: ./churn.onnx}
"""


def checked(more: str) -> None:
    file = parse(BASE + more, "f.yaml")
    for name, endpoint in file.spec.endpoints.items():
        if endpoint.speaks:
            specs.check(file, name, endpoint)


@pytest.mark.parametrize(
    "more",
    [
        "  c: {route: {replicas: [a, b]}}\n",
        "  c: {llm: {engine: echo}, route: {fallback: [a], cheaper: b}, scheduling: {weights: {gold: 2.0}}}\n",
        "  c: {cascade: {steps: [a, b]}}\n",
        "  c: {llm: {engine: echo}, cascade: {steps: [a, c]}}\n",
        "  c: {route: {replicas: [a]}, cascade: {steps: [b, c], threshold: 0.9}}\n",
        "  c: {route: {replicas: [a]}}\n  d: {route: {replicas: [c], fallback: [b]}}\n",
    ],
)
def test_what_can_be_said(more: str) -> None:
    checked(more)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (
            "  c: {route: {replicas: [aa]}}\n",
            "c.route.replicas is 'aa', no language model of this spec; did you mean a?",
        ),
        ("  c: {route: {replicas: [churn]}}\n", "is 'churn', no language model"),
        ("  c: {route: {fallback: [a]}}\n", "c.route has no replicas, and c has no llm"),
        ("  c: {route: {replicas: [a], fallback: [a]}}\n", "names an endpoint twice"),
        ("  c: {route: {replicas: [a, c]}}\n", "names c itself"),
        ("  c: {route: {replicas: [d]}}\n  d: {route: {replicas: [c]}}\n", "leads back to itself: c -> d -> c"),
        ("  c: {cascade: {steps: [a, a]}}\n", "names an endpoint twice"),
        ("  c: {cascade: {steps: [a, c]}}\n", "leads back to c itself"),
        (
            "  c: {llm: {engine: echo}, cascade: {steps: [a, b]}}\n",
            "c has a model of its own, so that it must be the last",
        ),
        ("  c: {llm: {engine: echo}, cascade: {steps: [d, c]}}\n  d: {route: {replicas: [c]}}\n", "c -> d -> c"),
        ("  c: {route: {replicas: [a]}, scheduling: {queue: 5}}\n", "c.scheduling shares an engine, and c has none"),
        (
            "  c: {llm: {engine: echo}, cache: {semantic: {embedding: a}}}\n",
            "is 'a', no endpoint of this spec that embeds",
        ),
        (
            "  c: {llm: {engine: echo}, cache: {semantic: {embedding: x}}}\n  y: {embedding: {model: m}}\n",
            "(there are: y)",
        ),
        ("  c: {route: {replicas: [a]}, batching: {max_rows: 5}}\n", "batching is for a model of tensors"),
    ],
)
def test_what_cannot(more: str, told: str) -> None:
    with pytest.raises(UsageError) as raised:
        checked(more)
    assert told in str(raised.value)


@pytest.mark.parametrize(
    "more", ["  c: {}\n", "  c: {scheduling: {}}\n", "  c: {model: ./m.onnx, llm: {engine: echo}}\n"]
)
def test_an_endpoint_is_something_and_one_thing(more: str) -> None:
    with pytest.raises(UsageError, match="give one of"):
        parse(BASE + more, "f.yaml")


def test_settings_are_those_of_the_spec() -> None:
    text = BASE + (
        "  c:\n    llm: {engine: echo}\n    route: {fallback: [a], retry_budget: 50%, wake: 1m, failures: 7}\n"
        "    scheduling: {queue: 5, parallel: 3, spare: 1, weights: {gold: 2.0}, age: 2m}\n"
    )
    endpoint = parse(text, "f.yaml").spec.endpoints["c"]
    assert endpoint.scheduling is not None
    assert endpoint.route is not None
    assert fair.sharing(endpoint.scheduling) == Sharing(queue=5, parallel=3, spare=1, weights={"gold": 2.0}, age=120.0)
    found = routes.routing(endpoint.route, own=True)
    assert (found.fallback, found.budget, found.wake, found.own) == (("a",), 0.5, 60.0, True)
    assert found.breaker.fail_max == 7
    assert routes.routing(type(endpoint.route)(), own=False) == Routing()


class Server:
    """All language models of a spec, open."""

    def __init__(self, text: str, at: Home) -> None:
        self.chats = Chats()
        self.sink = MemorySink()
        spec = parse(text, "f.yaml").spec
        around = Surroundings(at, self.sink, SystemClock(), self.chats)
        self.openings = openings(specs.wanted(spec), around, Catalog())

    async def __aenter__(self) -> Self:
        for one in self.openings:
            await one.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        for one in self.openings:
            await one.close()

    async def ask(self, model: str, text: str = "one two three") -> tuple[str, Event, Ask]:
        told: list[Event] = []
        ended = asyncio.get_running_loop().create_future()

        def tell(event: Event) -> None:
            told.append(event)
            if over(event):
                ended.set_result(None)

        clock = SystemClock()
        asked = Generation("1", model, (Message("user", text),), deadline=clock.now() + 5)
        ask = Ask(asked, clock.now(), "r")
        self.chats.resolve(model).enter(ask, tell)
        await asyncio.wait_for(ended, 5)
        return "".join(one.text for one in told if isinstance(one, Piece)), told[-1], ask


async def test_a_spec_with_all_of_it_answers(tmp_path: Path) -> None:
    text = BASE.replace("  churn: {model: ./churn.onnx}\n", "") + (
        "  dying: {llm: {engine: echo, options: {dies_after: 1}}}\n"
        "  routed: {route: {replicas: [dying, a], continues: true}}\n"
        "  own: {llm: {engine: echo}, route: {fallback: [b]}}\n"
        "  sure: {cascade: {steps: [a, routed], threshold: 0.9}}\n"
        "  unfitted: {cascade: {steps: [a, b]}}\n"
    )
    async with Server(text, home(tmp_path)) as server:
        said, end, ask = await server.ask("own")
        assert (said, ask.notes.headers["fairlead-route"]) == ("one two three", "own")
        assert isinstance(end, Ended)
        said, end, ask = await server.ask("sure")
        assert (said, ask.notes.headers["fairlead-route"]) == ("one two three", "a")
        assert ask.notes.facts["confidence"] == 1.0
        said, end, ask = await server.ask("unfitted")
        assert (said, ask.notes.headers["fairlead-route"]) == ("one two three", "b")
        assert server.chats.troubles() == ["unfitted: no answer of a is kept: fit it: fairlead cascade fit"]
        relay = server.chats.resolve("sure").engine
        assert await relay.count(ask.generation) == 4
        assert relay.traits.platform == "echo"
        assert relay.load().running == 0
        told: list[Event] = []
        relay.generate(ask.generation, told.append)
        assert isinstance(told[0], Unavailable)
        for _ in range(6):
            said, end, ask = await server.ask("routed")
            assert isinstance(end, Ended)
            assert said == "one two three"
        assert "dying" in str(server.sink.render()[0])


async def test_stages_in_front_of_an_own_engine_tell_their_troubles(tmp_path: Path) -> None:
    text = BASE.replace("  churn: {model: ./churn.onnx}\n", "") + (
        "  c: {llm: {engine: echo}, cascade: {steps: [a, c]}}\n"
    )
    async with Server(text, home(tmp_path)) as server:
        assert server.chats.troubles() == ["c: no answer of a is kept: fit it: fairlead cascade fit"]


def test_a_cache_that_is_off_is_told(tmp_path: Path) -> None:
    spec = parse(
        "endpoints:\n  c:\n    llm: {engine: echo}\n    cache: {semantic: {embedding: e, threshold: 0.999}}\n"
        "  e: {embedding: {model: m}}\n",
        "f.yaml",
    ).spec
    pytest.importorskip("usearch")

    async def embed(_name: str, _text: str) -> np.ndarray:
        raise AssertionError

    around = Surroundings(home(tmp_path), MemorySink(), SystemClock(), Chats(), embed=embed)
    (wanted,) = [one for one in specs.wanted(spec) if one.name == "c"]
    building = Building(wanted, EchoEngine(EngineOptions("c", "")), around)
    assert caching(building) is not None
    (told,) = building.troubles
    assert told() == ["the semantic cache is off: too many of its hits were false"]


async def test_what_a_maker_makes_of_little(tmp_path: Path) -> None:
    text = BASE.replace("  churn: {model: ./churn.onnx}\n", "") + (
        "  c: {llm: {engine: echo, options: {context: 3}}, route: {cheaper: a}}\n"
    )
    async with Server(text, home(tmp_path)) as server:
        assert (await server.ask("c", "one"))[0] == "one"
        (c,) = [one.wanted for one in server.openings if one.wanted.name == "c"]  # type: ignore[attr-defined]
        building = Building(c, server.chats.resolve("c").engine, server.openings[0].around)  # type: ignore[attr-defined]
        assert routes.route(building) is None
        assert routes.cheaper(building) is not None
        assert cascades.cascade(building) is None


def test_an_alarm_is_kept(tmp_path: Path) -> None:
    where = tmp_path / "deep" / "alarms.jsonl"
    alarm = Alarm("assistant", "small", 40, 0.5, 0.4, 0.2, math.inf, 17)
    cascades.Alarms(where).tell(alarm)
    cascades.Alarms(where).tell(replace(alarm, threshold=0.9))
    first, second = map(json.loads, where.read_text().splitlines())
    assert (first["threshold"], first["share"], second["threshold"]) == (None, 0.5, 0.9)
    (tmp_path / "file").write_text("")
    cascades.Alarms(tmp_path / "file" / "alarms.jsonl").tell(alarm)  # is logged, at least


def test_another_server_takes_many_unless_it_says_how_many() -> None:
    assert fair.at_once(EngineTraits("openai", local=False)) == fair.ELSEWHERE
    assert fair.at_once(EngineTraits("openai", local=False, parallel=8)) == 8
    assert fair.at_once(EngineTraits("embedded", parallel=1)) == 1


async def test_an_endpoint_whose_others_are_gone(tmp_path: Path) -> None:
    text = BASE.replace("  churn: {model: ./churn.onnx}\n", "") + "  c: {route: {replicas: [a], wake: 0}}\n"
    async with Server(text, home(tmp_path)) as server:
        server.chats.remove("a")
        _, end, ask = await server.ask("c")
        assert isinstance(end, Unavailable)
        engine = server.chats.resolve("c").engine
        with pytest.raises(Unavailable, match="none of a is there"):
            await engine.count(ask.generation)
        assert engine.traits.platform == "relay"
        assert engine.load().waiting == 0


def test_who_is_behind_whom() -> None:
    found = specs.wanted(parse(BASE + "  c: {cascade: {steps: [a, b]}}\n", "f.yaml").spec)
    (one,) = [one for one in found if one.name == "c"]
    assert (one.engine, composing.behind(one)) == ("", ["b", "a"])
