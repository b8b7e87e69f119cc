"""What every detector must do, whoever wrote it.

::

    @pytest.mark.parametrize("check", guardrail_suite.CHECKS, ids=lambda check: check.__name__)
    def test_my_detector(check):
        check(lambda: MyDetector(DetectorOptions("mine")), "a text in which it finds something")

``made``: a fresh local detector each time.  ``bad``: a text of the user in which it finds something.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from fairlead.contracts.guardrail import Channel, Detector, Eager

Make = Callable[[], Detector]

TEXTS: Final = (
    "",
    " ",
    "Hello, how are you?",
    "\u200b\ufeff",
    "\U0001f600" * 50,
    "a" * 10_000,
    "\x00\ud7ff\n\r\t",
    "é漢字ع",
)
"""Harmless ones, of all sorts."""


def it_says_what_it_is(made: Make, _: str) -> None:
    detector = made()
    _expect(bool(detector.name), "a name")
    _expect(detector.reach >= 0, "a reach of at least 0")
    _expect(detector.cost >= 0, "a cost of at least 0")


def it_finds_something(made: Make, bad: str) -> None:
    _expect(len(made().find(bad, Channel.USER)) > 0, "something in the bad text")


def harmless_texts_are_let_pass(made: Make, _: str) -> None:
    for text in TEXTS:
        _expect(list(made().find(text, Channel.USER)) == [], f"nothing in {text[:20]!r}")


def findings_are_places_in_order(made: Make, bad: str) -> None:
    text = f"{bad} and {bad}"
    ends: dict[str, int] = {}
    before = 0
    for one in made().find(text, Channel.USER):
        _expect(0 <= one.start < one.end <= len(text), "a place in the text")
        _expect(0 <= one.score <= 1, "a score from 0 to 1")
        _expect(one.start >= before, "findings in order")
        _expect(one.start >= ends.get(one.kind, 0), "none that overlaps another of its kind")
        before, ends[one.kind] = one.start, one.end


def it_is_pure(made: Make, bad: str) -> None:
    detector = made()
    first = list(detector.find(bad, Channel.USER))
    for text in TEXTS:
        detector.find(text, Channel.TOOL)
    _expect(list(detector.find(bad, Channel.USER)) == first, "the same for the same text")
    _expect(list(made().find(bad, Channel.USER)) == first, "the same of another one")


def all_channels_are_taken(made: Make, bad: str) -> None:
    for channel in Channel:
        made().find(bad, channel)


def long_texts_take_no_more_than_their_length(made: Make, bad: str) -> None:
    detector = made()
    for unit in (bad, "a", "1 ", "@"):
        text = (unit * 100_000)[:100_000]
        began = time.process_time()
        detector.find(text, Channel.USER)
        _expect(time.process_time() - began < 20, "100,000 characters in 20 s")


def what_stands_near_decides(made: Make, bad: str) -> None:
    """Of those that find places: a finding depends on twice their reach before it, and on their reach from its start.

    It is what streams rely on.
    """
    detector = made()
    reach = detector.reach
    if not reach:
        return
    filler = "It began well, and nobody knew why. "
    text = f"{filler * (reach // 10)}\n{bad}. " * 3
    for one in detector.find(text, Channel.ANSWER):
        if one.end - one.start > reach:
            continue  # of open end
        start = max(0, one.start - 2 * reach)
        near = detector.find(text[start : one.start + reach], Channel.ANSWER)
        places = {(other.kind, other.start + start, other.end + start) for other in near}
        _expect((one.kind, one.start, one.end) in places, "the same finding where only what is near is seen")


def what_is_pending_is_no_more_than_there_is(made: Make, bad: str) -> None:
    detector = made()
    if isinstance(detector, Eager):
        for text in ("", bad, bad[: len(bad) // 2], f"{bad} and"):
            _expect(0 <= detector.pending(text) <= len(text), "a number of characters of the text")


CHECKS: Final = (
    it_says_what_it_is,
    it_finds_something,
    harmless_texts_are_let_pass,
    findings_are_places_in_order,
    it_is_pure,
    all_channels_are_taken,
    long_texts_take_no_more_than_their_length,
    what_stands_near_decides,
    what_is_pending_is_no_more_than_there_is,
)


def _expect(held: bool, what: str) -> None:
    if not held:
        raise AssertionError(f"expected {what}")
