"""What the workers measured, and who is waited for."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.contracts.sink import Part
from fairlead.serve.tally import Tally


def add(parts: Sequence[Part]) -> bytes:
    return b"%d" % sum(int(part.text or b"0") for part in parts)


def test_the_gone_are_added_up() -> None:
    tally = Tally(add)
    tally.said(1, b"5")
    tally.said(2, b"7")
    tally.said(1, b"6")
    tally.ended(1)
    tally.ended(1)
    tally.ended(9)
    assert tally.parts([(2, "1", False)], but=0) == [Part("", b"6", gone=True), Part("1", b"7")]
    tally.ended(2)
    assert tally.parts([], but=0) == [Part("", b"13", gone=True)]


def test_the_asker_and_the_unheard_are_left_out_and_the_leaving_are_marked() -> None:
    tally = Tally(add)
    tally.said(1, b"1")
    tally.said(2, b"2")
    assert tally.parts([(1, "0", False), (2, "1", True), (3, "2", False)], but=1) == [Part("1", b"2", gone=True)]


def test_a_scrape_ends_when_all_have_answered() -> None:
    tally = Tally(add)
    asked = tally.ask(1, 7, [2, 3])
    assert tally.said(2, b"1") == []
    assert tally.said(3, b"1") == [asked]
    assert not tally.give_up(asked)


def test_a_scrape_does_not_wait_for_the_gone() -> None:
    tally = Tally(add)
    asked = tally.ask(1, 7, [2])
    other = tally.ask(2, 1, [1])
    assert tally.ended(2) == [asked]
    assert tally.waiting == []
    assert not tally.give_up(other)  # who asked is gone


def test_who_is_late_is_known() -> None:
    tally = Tally(add)
    asked = tally.ask(1, 7, [2, 3])
    tally.said(3, b"1")
    assert tally.give_up(asked)
    assert asked.awaited == {2}
    assert tally.said(2, b"1") == []
