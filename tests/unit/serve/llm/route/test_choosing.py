"""Which replica gets the next request."""

from __future__ import annotations

import random
from collections import Counter

from fairlead.contracts.generation import Generation, Message
from fairlead.serve.llm.route.choosing import FORCED, HASH, LEAST, ORDER, PREFIX, Choosing
from fairlead.serve.llm.route.prefixes import DEEPEST, Seen, blocks
from fairlead.serve.llm.route.ring import Ring
from fairlead.serve.llm.route.settings import Routing


def asked(prompt: str) -> Generation:
    return Generation("x", "chat", prompt)


def talk(*texts: str) -> Generation:
    return Generation("x", "chat", tuple(Message("user", text) for text in texts))


def test_a_prompt_is_known_by_all_that_comes_before() -> None:
    one, other = blocks(asked("a" * 256 + "b" * 256), 256), blocks(asked("c" * 256 + "b" * 256), 256)
    assert len(one) == len(other) == 2
    assert not set(one) & set(other)
    assert blocks(asked("a" * 256 + "x" * 300), 256)[0] == one[0]
    assert blocks(asked("a" * 255), 256) == []
    assert len(blocks(asked("a" * 10**6), 256)) == DEEPEST


def test_a_conversation_that_goes_on_has_the_same_beginning() -> None:
    first = blocks(talk("long " * 200), 256)
    later = blocks(talk("long " * 200, "answer", "and then?"), 256)
    assert first
    assert later[: len(first)] == first
    assert (
        blocks(Generation("x", "chat", (1, 2, 3) * 100), 64)
        == blocks(Generation("x", "chat", (1, 2, 3) * 101), 64)[
            : len(blocks(Generation("x", "chat", (1, 2, 3) * 100), 64))
        ]
    )
    assert blocks(talk("\ud800" * 600), 256)  # half of a pair: whatever JSON may hold


def test_what_was_seen_is_bounded_and_the_beginnings_stay_longest() -> None:
    seen = Seen(3)
    seen.learn([1, 2, 3], 0)
    seen.learn([1, 2, 9], 1)
    assert len(seen) == 3
    assert seen.match([1, 2, 9]) == (3, 0b10)
    assert seen.match([1, 2, 3]) == (2, 0b11)
    assert seen.match([7]) == (0, 0)
    seen.forget(1)
    assert seen.match([1, 2, 9]) == (2, 0b01)


def test_the_ring_moves_few_when_a_replica_goes() -> None:
    chance = random.Random(3)
    places = [chance.getrandbits(64) for _ in range(2000)]
    four, three = Ring(list("abcd")), Ring(list("abc"))
    before = ["abcd"[next(four.walk(place))] for place in places]
    after = ["abc"[next(three.walk(place))] for place in places]
    moved = sum(one != other for one, other in zip(before, after, strict=True))
    assert moved == before.count("d")
    assert all(count > 300 for count in Counter(before).values())
    assert sorted(four.walk(places[0])) == [0, 1, 2, 3]


def test_the_same_beginning_goes_to_the_same_replica() -> None:
    choosing = Choosing(list("abc"), 3, Routing())
    found = blocks(asked("s" * 1000), 256)
    first = choosing.pick(found, 0.0, ())
    assert first is not None
    assert first.why == HASH
    choosing.done(first, False, 1.0, 1.0)
    again = choosing.pick([*found, 77], 1.0, ())
    assert again is not None
    assert (again.at, again.why) == (first.at, PREFIX)


def test_a_busy_replica_is_passed_over() -> None:
    choosing = Choosing(list("abc"), 3, Routing())
    found = blocks(asked("s" * 1000), 256)
    picks = [choosing.pick(found, 0.0, ()) for _ in range(30)]
    assert all(picks)
    assert max(choosing.loads) <= 13  # 1.25 times an even share, rounded up
    assert min(choosing.loads) >= 6


def test_a_short_prompt_goes_to_the_least_busy() -> None:
    choosing = Choosing(list("ab"), 2, Routing())
    whys = [pick.why for _ in range(4) if (pick := choosing.pick([], 0.0, ()))]
    assert whys == [LEAST] * 4
    assert choosing.loads == [2, 2]


def test_failures_leave_one_out_and_one_request_shows_whether_it_is_back() -> None:
    choosing = Choosing(list("ab"), 2, Routing())
    for _ in range(3):
        pick = choosing.pick([], 0.0, (1,))
        assert pick is not None
        choosing.done(pick, True, 0.1, 0.0)
    assert choosing.left_out() == ["a"]
    picks = [choosing.pick([], 1.0, ()) for _ in range(4)]
    assert {pick.at for pick in picks if pick is not None} == {1}
    probe = choosing.pick([], 6.0, ())
    assert probe is not None
    assert probe.at == 0
    also = choosing.pick([], 6.0, ())
    assert also is not None
    assert also.at == 1
    choosing.done(probe, False, 0.1, 6.5)
    assert choosing.left_out() == []


def test_fallbacks_come_in_their_order_and_only_then() -> None:
    choosing = Choosing(["a", "x", "y"], 1, Routing())
    order = []
    avoid: list[int] = []
    while (pick := choosing.pick([], 0.0, avoid)) is not None:
        order.append((choosing.names[pick.at], pick.why))
        avoid.append(pick.at)
    assert order == [("a", LEAST), ("x", ORDER), ("y", ORDER)]


def test_a_forced_one_that_answers_is_back() -> None:
    choosing = Choosing(["a"], 1, Routing())
    for _ in range(3):
        pick = choosing.pick([], 0.0, ())
        assert pick is not None
        choosing.done(pick, True, 0.1, 0.0)
    assert choosing.pick([], 0.0, ()) is None
    assert not choosing.able((), 0.0)
    assert choosing.soonest(0.0) == 5.0
    forced = choosing.force(())
    assert forced is not None
    assert forced.why == FORCED
    assert choosing.force((0,)) is None
    choosing.done(forced, False, 0.1, 0.0)
    assert choosing.able((), 0.0)
