"""Text out of tokens, one by one: no character is cut in two, and a stop string never shows, nor its beginning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

_BEFORE: Final = 5
"""Tokens of the prompt that are decoded with the first ones, so that a space between them is kept."""
_CUT: Final = "\ufffd"


class Writing:
    """``decode``: the text of ids."""

    def __init__(self, decode: Callable[[list[int]], str], prompt: Sequence[int], stop: Sequence[str]) -> None:
        self._decode = decode
        self._ids = [*prompt[-_BEFORE:]]
        self._shown = decode(self._ids)  # of the ids, what was said or is held
        self._stop = [one for one in stop if one]
        self._held = ""
        self.stopped = False
        """By a stop string: nothing more is said."""

    def add(self, token: int) -> str:
        """What may be said now."""
        self._ids.append(token)
        text = self._decode(self._ids)
        if text.endswith(_CUT) or len(text) <= len(self._shown):
            return ""
        said = text[len(self._shown) :]
        if len(self._ids) > 4 * _BEFORE:  # what is far back changes nothing
            self._ids = self._ids[-_BEFORE:]
            self._shown = self._decode(self._ids)
        else:
            self._shown = text
        return self._free(said)

    def rest(self) -> str:
        """What was held back, at the end of an answer."""
        held, self._held = self._held, ""
        return "" if self.stopped else held

    def _free(self, said: str) -> str:
        text = self._held + said
        found = min((at for stop in self._stop if (at := text.find(stop)) >= 0), default=-1)
        if found >= 0:
            self.stopped, self._held = True, ""
            return text[:found]
        keep = 0
        for stop in self._stop:
            for size in range(min(len(stop) - 1, len(text)), keep, -1):
                if text.endswith(stop[:size]):
                    keep = size
                    break
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]
