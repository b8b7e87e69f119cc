"""Who may come in, against a count by hand."""

from __future__ import annotations

import json
import resource
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from fairlead.serve.callers import SPARE, Callers, refusal, room

STEPS = st.lists(st.tuples(st.booleans(), st.sampled_from("abc")), max_size=200)


@given(STEPS, st.integers(1, 8), st.integers(0, 4))
def test_nobody_is_over_a_limit_and_nobody_under_it_is_refused(
    steps: list[tuple[bool, str]], most: int, each: int
) -> None:
    callers, there = Callers(most, each), Counter[str]()
    for comes, address in steps:
        if comes:
            fits = there.total() < most and (not each or there[address] < each)
            assert bool(callers.admit(address)) is not fits
            there[address] += fits
        elif there[address]:
            callers.gone(address)
            there[address] -= 1
        assert callers.open == there.total() <= most
        assert all(callers.of(one) == there[one] for one in "abc")


def test_the_sentence_names_the_limit_that_was_met() -> None:
    callers = Callers(2, 1)
    assert callers.admit("a") == ""
    assert "max_connections_per_address" in callers.admit("a")
    assert callers.admit("b") == ""
    assert "(max_connections)" in callers.admit("c")


def test_several_of_an_address_end_at_once() -> None:
    callers = Callers(5)
    for _ in range(3):
        callers.admit("a")
    callers.gone("a", 3)
    assert (callers.open, callers.of("a")) == (0, 0)


def test_a_refusal_is_a_whole_answer() -> None:
    head, _, body = refusal("too many").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1" in head
    assert int(head.lower().partition(b"content-length: ")[2].split()[0]) == len(body)
    assert json.loads(body) == {"error": "too many", "code": "too_many_connections"}


def test_there_is_room_for_what_open_files_allow() -> None:
    kept = resource.getrlimit(resource.RLIMIT_NOFILE)
    hard = min(kept[1], 2**20) if kept[1] != resource.RLIM_INFINITY else 2**20
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, hard), kept[1]))
        assert room(10) == 10
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(1024, hard), "no more than is needed"
        assert room(2000) == min(2000, hard - SPARE)
        assert room(0) == hard - SPARE
        assert room(10**9) == hard - SPARE
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, kept)
