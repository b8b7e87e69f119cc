from __future__ import annotations

import random

import pytest

from fairlead.adapters.engines.transformers.messages import Ask, Frames, Said, packed
from fairlead.adapters.engines.transformers.writing import Writing


def decode(ids: list[int]) -> str:
    return bytes(ids).decode("utf-8", "replace")


def said(text: str, *stop: str) -> tuple[list[str], Writing]:
    writing = Writing(decode, b"prompt", stop)
    found = []
    for byte in text.encode():
        if writing.stopped:
            break
        found.append(writing.add(byte))
    found.append(writing.rest())
    return found, writing


def test_no_character_is_cut_in_two() -> None:
    text = "naïve 日本語 🙂 end" * 5
    found, _ = said(text)
    assert "".join(found) == text
    assert not any("\ufffd" in one for one in found)


@pytest.mark.parametrize("stop", [("END",), ("xEND", "EN"), ("D", "never"), ("zz", "STOP END")])
def test_a_stop_string_never_shows_nor_its_beginning(stop: tuple[str, ...]) -> None:
    text = "go on STOP END and more"
    first = min((text.find(one) for one in stop if one in text), default=len(text))
    found, writing = said(text, *stop)
    # what ends first stops it
    ends = {text.find(one) + len(one): text.find(one) for one in stop if one in text}
    assert "".join(found) == (text[: ends[min(ends)]] if ends else text)
    assert writing.stopped == bool(ends)
    assert first <= len(text)


def test_what_only_looked_like_a_stop_string_is_said_at_the_end() -> None:
    found, writing = said("hello EN", "END")
    assert "".join(found) == "hello EN"
    assert not writing.stopped


def test_frames_are_whole_wherever_they_are_cut() -> None:
    messages = [Said(1, "a" * size, 1) for size in (0, 5, 300)] + [Ask(2, [1, 2], {}, count=True)]
    data, drawn, frames = b"".join(map(packed, messages)), random.Random(7), Frames()
    found, at = [], 0
    while at < len(data):
        size = drawn.randint(1, 40)
        found += [*frames.feed(data[at : at + size])]
        at += size
    assert [packed(one)[4:] for one in messages] == found


def test_a_frame_has_a_size_that_makes_sense() -> None:
    with pytest.raises(ValueError, match="a frame of"):
        [*Frames().feed(b"\xff\xff\xff\xff")]
