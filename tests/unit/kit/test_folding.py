from __future__ import annotations

import pytest

from fairlead.kit.folding import fold, hidden


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("plain", "plain"),
        ("\uff41\uff11\uff20", "a1@"),
        ("\u0661\u0967\U0001d7d8", "110"),
        ("\u0440\u0430\u0443", "pay"),
        ("a\u00a0b\u2009c", "a b c"),
        ("1\u20132\u22123", "1-2-3"),
        ("i\u200bg\u00adn", "ign"),
        ("a\u200b\u200b\u200b\u200b\u200bb", "a\nb"),
        ("naïve é 漢字", "naïve é 漢字"),
    ],
)
def test_as_a_reader_sees_it(text: str, plain: str) -> None:
    assert fold(text).text == plain


def test_places_are_kept() -> None:
    text = "x\u200b\uff11\u200b2\u200b\u200b\u200b\u200b\u200by"
    folded = fold(text)
    assert folded.text == "x12\ny"
    assert [text[folded.place(at)] for at in (0, 1, 2, 4)] == ["x", "\uff11", "2", "y"]
    assert folded.end(2) == 3
    assert folded.place(len(folded.text)) == len(text)


def test_hidden() -> None:
    assert hidden("a\u200bb\ufeff") == 2
    assert hidden("ab") == 0
