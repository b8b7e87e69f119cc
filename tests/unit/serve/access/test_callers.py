from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from fairlead.contracts.access import Caller
from fairlead.contracts.errors import Unauthenticated
from fairlead.kit.scopes import scope
from fairlead.serve.access import callers, keys
from fairlead.serve.access.asking import Visit
from fairlead.serve.access.callers import Callers, mark_of
from fairlead.serve.access.credentials import LONGEST, mapping, shown, single
from fairlead.serve.access.keys import Key, KeyRing


class Clock:
    """Both clocks, in the test's hand."""

    def __init__(self) -> None:
        self.seconds, self.ms = 100.0, 5_000_000

    def now(self) -> float:
        return self.seconds

    def wall_ms(self) -> int:
        return self.ms

    def pass_(self, seconds: float) -> None:
        self.seconds += seconds
        self.ms += round(seconds * 1000)


class Known:
    """A verifier of some tokens."""

    def __init__(self, *tokens: str) -> None:
        self.tokens, self.asked = set(tokens), 0

    def verify(self, token: str, now: float) -> Caller:
        assert now == pytest.approx(5_000, abs=100)
        self.asked += 1
        if token not in self.tokens:
            raise Unauthenticated("no")
        return Caller(token, "jwt", ())


KEY, TEXT = keys.made(Key("web", (scope("churn:predict"),), (), 0), 0)


def ask(found: Callers, clock: Clock, headers: Mapping[bytes, bytes], certificate: Any = None) -> str:
    asking = Visit(headers, "/x", clock.now(), "id", certificate)
    return found.find(asking, mark_of(headers)).caller.name


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({}, None),
        ({b"authorization": b"Bearer a"}, b"a"),
        ({b"authorization": b"bEARER  a "}, b"a"),
        ({b"x-api-key": b"a"}, b"a"),
        ({b"api-key": b"a"}, b"a"),
        ({b"authorization": b"Bearer a", b"x-api-key": b"a", b"api-key": b"a"}, b"a"),
    ],
)
def test_what_is_shown(headers: dict[bytes, bytes], found: bytes | None) -> None:
    assert shown(headers) == found


@pytest.mark.parametrize(
    "headers",
    [
        {b"authorization": b"Basic a"},
        {b"authorization": b"a"},
        {b"authorization": b"Bearer"},
        {b"authorization": b"Bearer "},
        {b"authorization": b"Bearer a, Bearer b"},
        {b"authorization": b"Bearer a", b"x-api-key": b"b"},
        {b"x-api-key": b"a", b"api-key": b"b"},
        {b"x-api-key": b""},
        {b"x-api-key": b"a" * (LONGEST + 1)},
    ],
)
def test_what_shows_nothing(headers: dict[bytes, bytes]) -> None:
    with pytest.raises(Unauthenticated, match="known callers only"):
        shown(headers)


def test_repeated_headers() -> None:
    raw = [(b"x-api-key", b"a"), (b"accept", b"1"), (b"accept", b"2")]
    assert mapping(raw) == {b"x-api-key": b"a", b"accept": b"2"}
    assert single(raw)
    twice = [*raw, (b"x-api-key", b"a")]
    assert not single(twice)
    with pytest.raises(Unauthenticated):
        shown(mapping(twice))


def test_a_key_is_looked_for_once_until_the_keys_change(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, asked = Clock(), 0
    found = Callers(clock, KeyRing([KEY]))
    real = keys.digest

    def counted(credential: bytes) -> str:
        nonlocal asked
        asked += 1
        return real(credential)

    monkeypatch.setattr(keys, "digest", counted)
    headers = {b"x-api-key": TEXT.encode()}
    assert [ask(found, clock, headers) for _ in range(5)] == ["web"] * 5
    assert asked == 1
    clock.pass_(callers.KEY_SECONDS + 1)
    assert ask(found, clock, headers) == "web"
    assert asked == 2
    found.know(KeyRing())
    with pytest.raises(Unauthenticated):
        ask(found, clock, headers)


def test_a_remembered_key_ends_when_it_expires() -> None:
    clock = Clock()
    key, text = keys.made(Key("short", (scope("a:predict"),), (), 0, expires_ms=clock.ms + 2_000), 0)
    found, headers = Callers(clock, KeyRing([key])), {b"x-api-key": text.encode()}
    assert ask(found, clock, headers) == "short"
    clock.pass_(1.9)
    assert ask(found, clock, headers) == "short"
    clock.pass_(0.1)
    with pytest.raises(Unauthenticated):
        ask(found, clock, headers)


def test_tokens_go_to_the_verifiers_in_turn_and_soon_again() -> None:
    clock, first, second = Clock(), Known("a"), Known("b")
    found = Callers(clock, KeyRing([KEY]), verifiers=(first, second))
    headers = {b"authorization": b"Bearer b"}
    assert [ask(found, clock, headers) for _ in range(3)] == ["b"] * 3
    assert (first.asked, second.asked) == (1, 1)
    second.tokens.clear()
    clock.pass_(callers.TOKEN_SECONDS)
    with pytest.raises(Unauthenticated):
        ask(found, clock, headers)
    for odd in (b"Bearer fl_unknown", b"Bearer \xff\xfe"):  # a key is for no verifier, and text is ASCII
        with pytest.raises(Unauthenticated):
            ask(found, clock, {b"authorization": odd})
    assert second.asked == 2


def test_a_certificate_counts_where_nothing_else_is_shown() -> None:
    clock = Clock()
    known = {"good": Caller("machine", "mtls", ())}
    found = Callers(clock, KeyRing([KEY]), certificates=lambda shows: known.get(shows["name"]))
    assert ask(found, clock, {}, {"name": "good"}) == "machine"
    assert ask(found, clock, {b"x-api-key": TEXT.encode()}, {"name": "good"}) == "web"
    for shows in ({"name": "other"}, None):
        with pytest.raises(Unauthenticated):  # what another connection showed is not remembered
            ask(found, clock, {}, shows)
    with pytest.raises(Unauthenticated):
        ask(Callers(clock, KeyRing()), clock, {}, {"name": "good"})


def test_the_memory_has_an_end() -> None:
    clock = Clock()
    tokens = [f"t{number}" for number in range(callers.REMEMBERED + 10)]
    found = Callers(clock, KeyRing(), verifiers=(Known(*tokens, "x" * 5_000),))
    for token in tokens:
        ask(found, clock, {b"x-api-key": token.encode()})
    assert len(found._known) <= callers.REMEMBERED
    before = len(found._known)
    assert ask(found, clock, {b"x-api-key": b"x" * 5_000}) == "x" * 5_000
    assert len(found._known) == before
