"""What a model thinks before it answers: ``<think>`` to ``</think>``, told apart from the answer as it comes."""

from __future__ import annotations

from typing import Final

OPEN: Final = "<think>"
CLOSE: Final = "</think>"


class Thinking:
    """Pure. ``inside``: the prompt has opened it already. Only what begins an answer is thought: later it is text."""

    __slots__ = ("_fresh", "_held", "_state")

    _BEFORE, _INSIDE, _AFTER, _TEXT = range(4)

    def __init__(self, inside: bool) -> None:
        self._state = self._INSIDE if inside else self._BEFORE
        self._held = ""
        self._fresh = True

    @property
    def inside(self) -> bool:
        return self._state == self._INSIDE

    def feed(self, text: str) -> tuple[str, str]:
        """Thought and answer."""
        if self._state == self._TEXT:
            return "", text
        self._held += text
        thought = ""
        if self._state == self._BEFORE:
            begun = self._held.lstrip()
            if OPEN.startswith(begun) and begun != OPEN:
                return "", ""
            if not begun.startswith(OPEN):
                self._state = self._TEXT
                return "", self.end()[1]
            self._state = self._INSIDE
            self._held = begun.removeprefix(OPEN)
        if self._state == self._INSIDE:
            if self._fresh:
                self._held = self._held.lstrip("\n")
                self._fresh = not self._held
            thought, closed, rest = self._held.partition(CLOSE)
            if not closed:
                kept = len(thought) - _beginning(thought, CLOSE)
                thought, self._held = thought[:kept], thought[kept:]
                return thought, ""
            thought = thought.removesuffix("\n")
            self._state, self._held = self._AFTER, rest
        self._held = self._held.lstrip("\n")
        if not self._held:
            return thought, ""
        self._state = self._TEXT
        return thought, self.end()[1]

    def end(self) -> tuple[str, str]:
        """What was held back."""
        held, self._held = self._held, ""
        return (held, "") if self._state == self._INSIDE else ("", held)


def _beginning(text: str, mark: str) -> int:
    """How much of the end of a text may become a mark, with the line break before it."""
    for length in range(min(len(mark) - 1, len(text)), 0, -1):
        if text.endswith(mark[:length]):
            return length + text[:-length].endswith("\n")
    return int(text.endswith("\n"))
