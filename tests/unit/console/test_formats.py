"""Numbers as the console writes them."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from fairlead.console import formats
from fairlead.console.formats import FILTERS, none

NAMES = [name for name in FILTERS if name not in ("ago", "middle", "prose")]


def plain(text: Any) -> str:
    return re.sub(r"<[^>]+>", "", str(text)).replace("\N{NARROW NO-BREAK SPACE}", " ")


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("count", 1234, "1,234"),
        ("count", 0, "0"),
        ("short", 999, "999"),
        ("short", 12_345, "12.3 k"),
        ("short", 10_000_000, "10.0 M"),
        ("rate", 0, "0 /s"),
        ("rate", 0.0213, "0.0213 /s"),
        ("rate", 17_345, "17.3 k/s"),
        ("seconds", 0, "0 ms"),
        ("seconds", 34e-6, "34.0 µs"),
        ("seconds", 0.00412, "4.12 ms"),
        ("seconds", 1.2, "1.20 s"),
        ("seconds", 300, "5 min"),
        ("duration", 129_600_000, "1.5 days"),
        ("percent", 0, "0 %"),
        ("percent", 0.0012, "0.12 %"),
        ("percent", 1, "100 %"),
        ("percent", 0.123, "12.3 %"),
        ("percent", 0.00001, "&lt;0.01 %"),
        ("size", 1_200_000, "1.20 MB"),
        ("money", 120_000, "0.00012 USD"),
        ("number", 0.81234, "0.812"),
        ("probability", 0.0004, "&lt; 0.001"),
        ("at", 1_700_000_000_000, "2023-11-14 22:13:20 UTC"),
    ],
)
def test_with_their_units(name: str, value: float, told: str) -> None:
    assert plain(FILTERS[name](value)) == told


def test_what_stands_between_backticks_is_code() -> None:
    said = formats.prose("run `fairlead <up>` & wait; one ` is none")
    assert said == "run <code>fairlead &lt;up&gt;</code> &amp; wait; one ` is none"
    assert formats.prose("a" * 50, 10) == "aaaaaaaaa…"
    assert formats.prose(Markup("<b>done</b>")) == "<b>done</b>"


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_there_is_a_dash_that_says_why(name: str) -> None:
    missing: list[Any] = [None] if name == "money" else [None, math.nan, math.inf, -math.inf]
    for value in missing:
        why = {"why": "<no calls>"}
        assert FILTERS[name](value, **why) == none("<no calls>")
        assert "<no calls>" not in FILTERS[name](value, **why)


@given(st.floats(allow_nan=True, allow_infinity=True), st.sampled_from([name for name in NAMES if name != "money"]))
def test_every_number_can_be_written(value: float, name: str) -> None:
    told = FILTERS[name](value)
    assert "nan" not in str(told)
    assert told


def test_long_names_lose_their_middle_and_are_escaped() -> None:
    assert formats.middle("<b>") == Markup("&lt;b&gt;")
    told = formats.middle("a" * 300 + "<z>", 20)
    assert len(plain(told).replace("&gt;", ">").replace("&lt;", "<")) <= 20
    assert "<z>" not in told


@pytest.mark.parametrize(
    ("ms", "told"),
    [(0, "just now"), (40_000, "40 s ago"), (180_000, "3 min ago"), (-7_200_000, "in 2 h"), (2e9, "23 d ago")],
)
def test_how_long_ago(ms: float, told: str) -> None:
    assert formats.since(ms) == told
