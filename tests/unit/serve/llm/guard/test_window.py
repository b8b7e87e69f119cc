from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.contracts.guardrail import Action, Channel, DetectorOptions, Finding
from fairlead.serve.llm.guard.masks import masked, stretches
from fairlead.serve.llm.guard.pii.detector import Pii
from fairlead.serve.llm.guard.rules import Rule, look
from fairlead.serve.llm.guard.window import Window

RULES = (Rule("pii", Action.MASK, Pii(DetectorOptions("pii"))),)
JWT = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0." + "x" * 50
BEGIN, END = "-----BEGIN RSA PRIVATE KEY-----", "-----END RSA PRIVATE KEY-----"
ATOMS = [
    "bob@example.com", "@", "a.b", "4111 1111 1111 1111", "4111111111111111", "1 ", "12", "-", ".", " ", " and ", "\n",
    "555-123-4567", "(020) 7946 0958", JWT, "sk-" + "a1B2" * 9, "GB29 NWBK 6016 1331 9268 19", BEGIN, END, "MIIE" * 20,
    "-----", "Bearer ", "call ", "office", "ssn ", "078-05-1120", "10.0.0.1", "fe80::1:2:3", "\u200b", "\u200b" * 5,
    "\uff11\uff12", "x" * 70, "https://u:p4ss@h.io/", "api_key = ", "tel ",
    "ext 5", "AKIAIOSFODNN7EXAMPLE", "é", "1" * 30,
]  # fmt: skip


def at_once(text: str, rules: tuple[Rule, ...] = RULES) -> str:
    return masked(text, stretches(look(rules, text, Channel.ANSWER)))


def in_pieces(text: str, cuts: list[int], rules: tuple[Rule, ...] = RULES) -> str:
    window = Window(rules, Channel.ANSWER)
    told, at = [], 0
    for cut in [*cuts, len(text)]:
        told.append(window.feed(text[at : at + cut]).text)
        assert window.held <= window.reach
        at += cut
        if at >= len(text):
            break
    told.append(window.end().text)
    return "".join(told)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(ATOMS), min_size=1, max_size=20).map("".join), st.lists(st.integers(1, 60), max_size=200)
)
def test_any_split_gives_what_the_whole_gives(text: str, cuts: list[int]) -> None:
    assert in_pieces(text, cuts) == at_once(text)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(ATOMS), min_size=1, max_size=15).map("".join))
def test_a_character_a_piece_gives_what_the_whole_gives(text: str) -> None:
    assert in_pieces(text, [1] * len(text)) == at_once(text)


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="1234567890 -.()@+xab:/\u200b\uff11\n", max_size=120), st.integers(1, 9))
def test_text_of_nothing_but_what_could_be_something(text: str, size: int) -> None:
    assert in_pieces(text, [size] * len(text)) == at_once(text)


@pytest.mark.parametrize("at", range(1, 19))
def test_a_card_split_anywhere(at: int) -> None:
    text = "my card is 4111 1111 1111 1111, thanks"
    window = Window(RULES, Channel.ANSWER)
    told = window.feed(text[: 11 + at]).text
    assert "4111" not in told
    told += window.feed(text[11 + at :]).text + window.end().text
    assert told == "my card is <CARD>, thanks"


def test_plain_words_wait_for_one_word_only() -> None:
    window = Window(RULES, Channel.ANSWER)
    assert window.feed("The quick brown fox ").text == "The quick brown fox "
    assert window.feed("jumps over").text == "jumps "
    assert window.held == 4


def test_a_token_longer_than_the_window_leaves_nothing() -> None:
    token = "sk-" + "a1" * 5000
    window = Window(RULES, Channel.ANSWER)
    told = window.feed("key: ").text
    for at in range(0, len(token), 7):
        told += window.feed(token[at : at + 7]).text
        assert window.held <= window.reach
    assert told + window.feed(" end").text + window.end().text == "key: <KEY> end"


def test_a_private_key_that_never_ends_is_masked_to_the_end() -> None:
    window = Window(RULES, Channel.ANSWER)
    told = "".join(window.feed(one).text for one in ("here: ", BEGIN, "\n", *["MIIEowIBAAKCAQEA\n"] * 50))
    assert told + window.end().text == "here: <PRIVATE_KEY>"


def test_what_is_blocked_ends_before_it() -> None:
    window = Window((Rule("pii", Action.BLOCK, Pii(DetectorOptions("pii"))),), Channel.ANSWER)
    decided = window.feed("write to bob@example.com now ")
    assert (decided.text, decided.blocked and decided.blocked.kind) == ("write to ", "email")


def test_flags_change_nothing_and_are_told_once() -> None:
    window = Window((Rule("pii", Action.FLAG, Pii(DetectorOptions("pii"))),), Channel.ANSWER)
    text = "bob@example.com and " * 40
    told, found = "", 0
    for at in range(0, len(text), 3):
        decided = window.feed(text[at : at + 3])
        told, found = told + decided.text, found + len(decided.found)
    last = window.end()
    assert (told + last.text, found + len(last.found)) == (text, 40)


class Stranger:
    """A detector that knows nothing of streams: finds ``secret`` and ``se``."""

    name, reach, cost = "stranger", 6, 0.0

    def find(self, text: str, channel: Channel) -> list[Finding]:
        return [Finding("word", at, at + 6, 1.0) for at in range(len(text)) if text.startswith("secret", at)]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
def test_a_detector_that_knows_nothing_of_streams_waits_for_its_reach(size: int) -> None:
    rules = (Rule("stranger", Action.MASK, Stranger()),)
    text = "a secret is no secretsecret when se cret " * 5
    assert in_pieces(text, [size] * len(text), rules) == at_once(text, rules)


def test_two_detectors_at_once() -> None:
    rules = (*RULES, Rule("stranger", Action.MASK, Stranger()))
    rng = random.Random(5)
    for _ in range(40):
        text = "".join(rng.choice([*ATOMS, "secret", "sec"]) for _ in range(12))
        assert in_pieces(text, [rng.randint(1, 30) for _ in range(900)], rules) == at_once(text, rules)
