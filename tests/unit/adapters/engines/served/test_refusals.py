from __future__ import annotations

import json

import pytest

from fairlead.adapters.engines.served.refusals import Whom, broken, later, meaning, read, status_in
from fairlead.contracts import errors

WHOM = Whom("the server at http://a:1", "m", "env:KEY", "sk-secret")


def error(message: str = "no", code: object = None, kind: str = "") -> bytes:
    return json.dumps({"error": {"message": message, "code": code, "type": kind}}).encode()


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, error("maximum context length is 10 tokens"), errors.ContextTooLong),
        (400, error(code="context_length_exceeded"), errors.ContextTooLong),
        (
            400,
            error("the request exceeds the available context size", 400, "exceed_context_size_error"),
            errors.ContextTooLong,
        ),
        (422, b'{"detail": [{"loc": ["body"], "msg": "wrong"}]}', errors.InvalidParameter),
        (400, b'{"object": "error", "message": "bad n", "code": 400}', errors.InvalidParameter),
        (400, error(code="content_filter"), errors.ContentBlocked),
        (413, b"<html>too large</html>", errors.BodyTooLarge),
        (401, error("Incorrect API key provided: sk-secret"), errors.Unavailable),
        (403, b"", errors.Unavailable),
        (404, error("The model `m` does not exist", "model_not_found"), errors.Unavailable),
        (402, b"pay", errors.Unavailable),
        (429, error(code="rate_limit_exceeded"), errors.RateLimited),
        (429, error(kind="requests"), errors.RateLimited),
        (429, error(code="queue_full"), errors.QueueFull),
        (429, b"", errors.QueueFull),
        (429, error(code="insufficient_quota"), errors.Unavailable),
        (500, error(), errors.Unavailable),
        (503, b'{"error": "loading model"}', errors.Unavailable),
        (529, error(kind="overloaded_error"), errors.Overloaded),
        (302, b"", errors.Unavailable),
    ],
)
def test_statuses_and_codes(status: int, body: bytes, kind: type[errors.FairleadError]) -> None:
    found = meaning(status, read(body), None, WHOM)
    assert type(found) is kind
    assert "sk-secret" not in str(found)
    assert "sk-secret" not in repr(WHOM)


def test_it_is_said_when_to_come_again() -> None:
    assert later({b"retry-after": b"7"}) == 7.0
    assert later({b"retry-after-ms": b"250"}) == 0.25
    assert later({b"retry-after": b"99999999"}) == 3600.0
    assert later({b"retry-after": b"Wed, 21 Oct 2015 07:28:00 GMT"}) is None
    assert later({}) is None
    assert meaning(429, read(b""), 7.0, WHOM).retry_after == 7.0


def test_a_server_that_repeats_the_credential_is_not_repeated() -> None:
    assert "sk-secret" not in str(meaning(400, read(error("header Bearer sk-secret is odd")), None, WHOM))
    assert "***" in str(meaning(400, read(error("header Bearer sk-secret is odd")), None, WHOM))


def test_long_and_odd_words_are_cut() -> None:
    found = str(meaning(500, read(b"a\r\n\x00b" + b"c" * 5000), None, WHOM))
    assert "a b" in found
    assert len(found) < 450


def test_errors_inside_a_stream_say_their_status() -> None:
    assert [status_in(read(one)) for one in (error(code=503), error(kind="rate_limit_error"), error())] == [503, 429, 0]


def test_an_answer_that_breaks_off() -> None:
    assert type(broken("gone", WHOM, said=True)) is errors.EngineLost
    assert type(broken("gone", WHOM, said=False)) is errors.Unavailable
