from __future__ import annotations

import gzip
import json
import os
import time
from pathlib import Path

import pytest

from fairlead.contracts.errors import UsageError
from fairlead.contracts.guardrail import Channel, DetectorOptions
from fairlead.serve.llm.guard.pii.detector import KINDS, Pii
from fairlead.serve.llm.guard.pii.numbers import luhn

PII = Pii(DetectorOptions("pii"))


def found(text: str, detector: Pii = PII) -> list[tuple[str, str]]:
    return [(one.kind, text[one.start : one.end]) for one in detector.find(text, Channel.USER)]


ARABIC = "\u0664" + "\u0661" * 15
KEY = "fl_abcdefghij234567_" + "a2b3c4d5" * 4
JWT = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxIn0.abc-_123"


@pytest.mark.parametrize(
    ("text", "kind", "what"),
    [
        ("mail bob.o'neil+x@mail.example.co.uk.", "email", "bob.o'neil+x@mail.example.co.uk"),
        ("BOB\uff20EXAMPLE.COM", "email", "BOB\uff20EXAMPLE.COM"),
        ("b\u043eb@example.com", "email", "b\u043eb@example.com"),
        ("card 4111-1111-1111-1111!", "card", "4111-1111-1111-1111"),
        ("card \uff14\uff11\uff11\uff11 1111 1111 1111", "card", "\uff14\uff11\uff11\uff11 1111 1111 1111"),
        ("card 4\u200b111\u200b1111\u200b1111\u200b1111", "card", "4\u200b111\u200b1111\u200b1111\u200b1111"),
        ("card " + ARABIC, "card", ARABIC),
        ("4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", "card", "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1"),
        ("amex 3782 822463 10005", "card", "3782 822463 10005"),
        ("IBAN DE89 3704 0044 0532 0130 00 to", "iban", "DE89 3704 0044 0532 0130 00"),
        ("gb82west12345698765432", "iban", "gb82west12345698765432"),
        ("ssn 078051120", "ssn", "078051120"),
        ("it is 219-09-9999.", "ssn", "219-09-9999"),
        ("from 192.168.1.254:80", "ip", "192.168.1.254"),
        ("at 2001:db8::8a2e:370:7334.", "ip", "2001:db8::8a2e:370:7334"),
        ("call +44 20 7946 0958 now", "phone", "+44 20 7946 0958"),
        ("(555) 123-4567", "phone", "(555) 123-4567"),
        ("tel. 030 123456-78", "phone", "030 123456-78"),
        ("555.123.4567 ext. 89", "phone", "555.123.4567 ext. 89"),
        ("token AKIAIOSFODNN7EXAMPLE.", "key", "AKIAIOSFODNN7EXAMPLE"),
        (f"my key is {KEY}", "key", KEY),
        ("OPENAI=sk-proj-abcdefghij0123456789ABCD", "key", "sk-proj-abcdefghij0123456789ABCD"),
        ('api_key = "0123456789abcdef0123"', "key", "0123456789abcdef0123"),
        (f"jwt {JWT}.", "jwt", JWT),
        ("Authorization: Bearer abc123def456ghi789", "bearer", "abc123def456ghi789"),
        ("postgres://app:s3cr3t@db/x", "url_credentials", "app:s3cr3t"),
        ("-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----", "private_key",
         "-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----"),
    ],
)  # fmt: skip
def test_found(text: str, kind: str, what: str) -> None:
    assert found(text) == [(kind, what)]


@pytest.mark.parametrize(
    "text",
    [
        "no one @ home", "user@localhost", "a@b", "@handle and @other.one", "version 1.2.3.4.5", "v1.2.3", "10:30:45",
        "std::vector<int>", "order 4111111111111112", "in 1999-12-31 and 31.12.1999", "1,234,567.89 dollars",
        "ISBN 978-3-16-148410-0", "GB82 WEST 1234 5698 7654 33", "000-12-3456", "666-12-3456", "900-12-3456",
        "999.999.999.999", "https://example.com/a@b:c", "postgres://app:${DB}@db", "sk-short", "a risky-business",
        "password = getpass.getpass()", "bearer of bad news", "pi is 3.14159265358979", "1 000 000 people",
        "2024 2025 2026",
        "id 12345678", "-----BEGIN PUBLIC KEY-----", "eyJoke", "AKIAIOSFODNN7EXAMPLEX",
    ],
)  # fmt: skip
def test_not_found(text: str) -> None:
    assert found(text) == []


def test_scores_are_shares() -> None:
    text = "Tel: +1 (212) 555-0199 ext. 5, office 001-212-555-0199 x5, SSN 219-09-9999, visa card 4111111111111111"
    told = PII.find(text, Channel.USER)
    assert len(told) == 4
    assert all(0 < one.score <= 1 for one in told)


def test_kinds_and_thresholds() -> None:
    text = "ann@example.com 219-09-9999"
    assert [kind for kind, _ in found(text, Pii(DetectorOptions("pii", ("ssn",))))] == ["ssn"]
    assert found(text, Pii(DetectorOptions("pii", ("ssn",), 0.9))) == []
    with pytest.raises(UsageError, match="finds no 'emial'; did you mean email"):
        Pii(DetectorOptions("pii", ("emial",)))


def test_reach_is_that_of_the_kinds() -> None:
    assert Pii(DetectorOptions("pii", ("card",))).reach < PII.reach == 136
    assert set(KINDS) >= {"email", "phone", "card", "iban", "ssn", "ip", "key", "jwt", "private_key", "bearer"}


@pytest.mark.parametrize(("digits", "holds"), [("79927398713", True), ("79927398710", False), ("0", True)])
def test_luhn(digits: str, holds: bool) -> None:
    assert luhn(digits) is holds


HARD = [
    "a", "1", "1 ", "@", "a@", "a.b@c.", "eyJ", "-----BEGIN PRIVATE KEY-----", "sk-", "(1)", "+1 ", "0:", "::", "1.",
    "://a:b", "GB29", "4111 ", "x@y.z-", "bearer ", "api_key = ", "\u200b1", "é\uff11", "- ", "((", "1-", "1 (", "a:@",
    "-----BEGIN ", "http://", "a" * 63 + ".", "secret:", "\u200b", "0.0.0.0.", "1 1 1a",
]  # fmt: skip


@pytest.mark.parametrize("unit", HARD, ids=repr)
def test_time_grows_with_the_length_only(unit: str) -> None:
    def seconds(length: int) -> float:
        text = (unit * length)[:length]
        began = time.process_time()
        PII.find(text, Channel.USER)
        return time.process_time() - began

    short = min(seconds(10_000) for _ in range(2))
    assert seconds(80_000) < 0.05 + 40 * short  # eight times the length; a quadratic one would take 64 times


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["1 ", "a@", "-----BEGIN ", "0:", "\u200b1", "sk-"], ids=repr)
def test_a_megabyte_of_it(unit: str) -> None:
    began = time.process_time()
    PII.find((unit * 1_000_000)[:1_000_000], Channel.USER)
    assert time.process_time() - began < 10


NAMES = {
    "EMAIL_ADDRESS": "email", "PHONE_NUMBER": "phone", "CREDIT_CARD": "card", "IBAN_CODE": "iban", "US_SSN": "ssn",
    "IP_ADDRESS": "ip",
}  # fmt: skip


@pytest.mark.skipif("FAIRLEAD_DATA" not in os.environ, reason="FAIRLEAD_DATA is not set")
@pytest.mark.parametrize("file", ["synth_v2", "generated_large"])
def test_the_bar_on_public_sentences(file: str) -> None:
    right = wrong = 0
    with gzip.open(Path(os.environ["FAIRLEAD_DATA"], f"pii-presidio/{file}.jsonl.gz"), "rt") as handle:
        for line in handle:
            one = json.loads(line)
            told = {(f.kind, f.start, f.end) for f in PII.find(one["full_text"], Channel.USER)}
            wanted = {
                (NAMES[span["entity_type"]], span["start_position"], span["end_position"])
                for span in one["spans"]
                if span["entity_type"] in NAMES
            }
            right += len(told & wanted)
            wrong += len(told ^ wanted)
    assert 2 * right / (2 * right + wrong) >= 0.98
