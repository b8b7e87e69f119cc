from __future__ import annotations

import math

import pytest

from fairlead.contracts.errors import MalformedBody
from fairlead.kit.codec import json


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"a": 1, x', "JSON is malformed: object keys must be strings (byte 9)"),
        (b"[NaN]", "JSON is malformed: invalid character (byte 1)"),
        (b"[Infinity]", "JSON is malformed: invalid character (byte 1)"),
        (b"[1] 2", "JSON is malformed: trailing characters (byte 5)"),
        (b"[1,", "JSON is malformed: it ends too early (byte 3)"),
        (b'["ab\xff"]', "JSON is malformed: not UTF-8 (byte 4)"),
    ],
)
def test_malformed_says_where(body: bytes, words: str) -> None:
    with pytest.raises(MalformedBody) as caught:
        json.decode(json.ANY, body)
    assert str(caught.value) == words


def test_nesting_has_an_end() -> None:
    with pytest.raises(MalformedBody, match="nests too deep|too early"):
        json.decode(json.ANY, b"[" * 200_000 + b"]" * 200_000)


def test_nan_is_null() -> None:
    assert json.encode([math.nan, math.inf, -math.inf, 0.5]) == b"[null,null,null,0.5]"
