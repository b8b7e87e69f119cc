"""What goes out: answers with what lets a consumer trace and deduplicate them, dead letters with the reason."""

from __future__ import annotations

import json

from fairlead.contracts.broker import Message, Outgoing, Place
from fairlead.contracts.errors import MalformedBody
from fairlead.serve.streams.letters import Letters, emptied, one_line

PLACE = Place("nats", "h:1", "orders")
MESSAGE = Message(
    "17",
    b"{}",
    {"traceparent": "00-a-b-01", "x-request-id": "r1", "idempotency-key": "theirs", "own": "kept"},
    "k",
    2,
    1_700_000_000_000.4,
)


def test_an_answer_says_what_it_answers() -> None:
    letter = Letters(PLACE, "g").answer(MESSAGE, b"body", {"content-type": "application/json"}, "r1", "3", "p-1")
    assert letter == Outgoing(
        b"body",
        {
            "content-type": "application/json",
            "x-request-id": "r1",
            "fairlead-version": "3",
            "fairlead-source-id": "17",
            "fairlead-prediction-id": "p-1",
            "traceparent": "00-a-b-01",
        },
        "k",
        "g:orders:17@1700000000000",
    )


def test_the_same_message_has_the_same_idempotency_key_and_another_group_another() -> None:
    said = [
        Letters(PLACE, group).answer(one, b"", {}, "r", "1", "").idempotency
        for group, one in (("g", MESSAGE), ("g", MESSAGE._replace(deliveries=9)), ("h", MESSAGE))
    ]
    assert said[0] == said[1] != said[2]


def test_a_dead_letter_is_the_message_with_the_reason() -> None:
    letter = Letters(PLACE, "g").dead(MESSAGE, MalformedBody("line 1\nline 2 " + "x" * 2000), 1, told=False)
    assert letter.body == b"{}"
    assert letter.headers["fairlead-error-code"] == "malformed_body"
    assert letter.headers["fairlead-error"].startswith("line 1 line 2 xxx")
    assert len(letter.headers["fairlead-error"]) == 1000
    assert letter.headers["fairlead-source"] == "orders"
    assert letter.headers["fairlead-deliveries"] == "2"
    assert letter.headers["own"] == "kept"
    assert "idempotency-key" not in letter.headers
    assert letter.key == "k"
    assert letter.idempotency.endswith(":dead")


def test_without_a_place_for_dead_letters_the_answer_is_the_error() -> None:
    letter = Letters(PLACE, "g").dead(MESSAGE, MalformedBody("not JSON"), 1, told=True)
    assert json.loads(letter.body) == {"error": "not JSON", "code": "malformed_body"}
    assert letter.headers["content-type"] == "application/json"


def test_a_dead_letter_that_fits_anywhere_says_where_its_body_is() -> None:
    letter = emptied(Letters(PLACE, "g").dead(MESSAGE, MalformedBody("x"), 1, told=False))
    assert letter.body == b""
    assert letter.headers["fairlead-body"] == "left out: 2 bytes"
    assert letter.headers["fairlead-source-id"] == "17"
    assert "own" not in letter.headers


def test_a_header_is_one_line() -> None:
    assert one_line("a\r\nb\x00c") == "a  b c"
    assert one_line("ünchanged 50 %") == "ünchanged 50 %"
