"""Texts that end an answer, found across the borders of tokens.

One automaton for all of them (A. Aho, M. Corasick, "Efficient string matching", 1975): a character costs the same for
one text and for thousands, and no more is held back than may still become one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from fairlead.contracts.errors import InvalidParameter

MOST: Final = 65_536
"""Characters of all texts together."""


class Automaton:
    """Of some texts; shared by nothing that changes. Raises InvalidParameter for too much of them, or an empty one."""

    def __init__(self, texts: Sequence[str]) -> None:
        size = sum(map(len, texts))
        if size > MOST:
            raise InvalidParameter(f"stop: the texts have {size} characters in all; at most {MOST} are looked for")
        if "" in texts:
            raise InvalidParameter("stop: an empty text ends nothing; leave it out")
        self.next: list[dict[str, int]] = [{}]
        self.depth = [0]
        self.length = [0]
        """Of the longest text that ends in a state; 0: none does."""
        for text in texts:
            self._add(text)
        self.back = [0] * len(self.next)
        self._link()

    def _add(self, text: str) -> None:
        state = 0
        for one in text:
            following = self.next[state].get(one)
            if following is None:
                following = len(self.next)
                self.next[state][one] = following
                self.next.append({})
                self.depth.append(self.depth[state] + 1)
                self.length.append(0)
            state = following
        self.length[state] = len(text)

    def _link(self) -> None:
        waiting = deque(self.next[0].values())
        while waiting:
            state = waiting.popleft()
            for one, following in self.next[state].items():
                back = self.back[state]
                while back and one not in self.next[back]:
                    back = self.back[back]
                self.back[following] = self.next[back].get(one, 0)
                waiting.append(following)
            self.length[state] = self.length[state] or self.length[self.back[state]]


class Stops:
    """One answer's way through an automaton."""

    __slots__ = ("_automaton", "_held", "_state", "found")

    def __init__(self, automaton: Automaton) -> None:
        self._automaton = automaton
        self._state = 0
        self._held = ""
        self.found = False
        """Whether one of the texts was there: what comes after it is nothing."""

    def feed(self, text: str) -> str:
        """What may be told now."""
        automaton, state = self._automaton, self._state
        for place, one in enumerate(text):
            following = automaton.next[state].get(one)
            while following is None and state:
                state = automaton.back[state]
                following = automaton.next[state].get(one)
            state = following or 0
            if automaton.length[state]:
                self.found = True
                whole = self._held + text[: place + 1]
                self._held = ""
                return whole[: -automaton.length[state]]
        self._state = state
        whole = self._held + text
        kept = len(whole) - automaton.depth[state]
        self._held = whole[kept:]
        return whole[:kept]

    def end(self) -> str:
        """What was held back."""
        held, self._held = self._held, ""
        return held
