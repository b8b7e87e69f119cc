"""The pieces of one answer, through a window for each of its texts."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from fairlead.contracts.generation import Chosen, Piece
from fairlead.contracts.guardrail import Channel
from fairlead.serve.llm.guard.rules import Found, Rule
from fairlead.serve.llm.guard.window import Decided, Window


@dataclass(slots=True)
class _Likely:
    """What was told of the tokens of one piece. It goes where its text goes, and nowhere where that is masked."""

    start: int
    end: int
    chosen: tuple[Chosen, ...]
    masked: bool = False


class Pieces:
    """``rules``: quick ones. What is held is at most the window of each text."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._text, self._reasoning, self._refusal = (Window(rules, Channel.ANSWER) for _ in range(3))
        self._likely: deque[_Likely] = deque()
        self._came = 0
        self._owed = 0
        self._found: list[Found] = []

    def feed(self, piece: Piece) -> tuple[Piece | None, Found | None]:
        """What may be told now, and what ends the answer after it."""
        self._owed += piece.tokens
        if piece.logprobs:
            end = self._came + (len(piece.text) or 1)
            self._likely.append(_Likely(self._came, end, piece.logprobs))
        self._came += len(piece.text)
        text = self._text.feed(piece.text) if piece.text else None
        reasoning = self._reasoning.feed(piece.reasoning) if piece.reasoning else None
        refusal = self._refusal.feed(piece.refusal) if piece.refusal else None
        return self._told(text, reasoning, refusal, last=False)

    def end(self) -> tuple[Piece | None, Found | None]:
        """There are no more."""
        return self._told(self._text.end(), self._reasoning.end(), self._refusal.end(), last=True)

    def taken(self) -> list[Found]:
        """What was found since this was asked last."""
        found, self._found = self._found, []
        return found

    def owed(self) -> int:
        """Tokens that were made and not told of yet."""
        owed, self._owed = self._owed, 0
        return owed

    def _told(
        self, text: Decided | None, reasoning: Decided | None, refusal: Decided | None, *, last: bool
    ) -> tuple[Piece | None, Found | None]:
        blocked = None
        for one in (text, reasoning, refusal):
            if one is not None:
                self._found += one.found
                blocked = blocked or one.blocked
        likely = self._settled(text, last) if self._likely else ()
        told = Piece(
            text.text if text is not None else "",
            0,
            (),
            reasoning.text if reasoning is not None else "",
            refusal.text if refusal is not None else "",
            likely,
        )
        if not (told.text or told.reasoning or told.refusal or likely):
            return None, blocked
        return told._replace(tokens=self.owed()), blocked

    def _settled(self, text: Decided | None, last: bool) -> tuple[Chosen, ...]:
        """Of the pieces that are decided and not masked."""
        if text is None:
            return ()
        for stretch in text.covered:
            for one in self._likely:
                one.masked = one.masked or (one.start < stretch.end and stretch.start < one.end)
        told: list[Chosen] = []
        while self._likely and (self._likely[0].end <= text.until or (last and text.blocked is None)):
            one = self._likely.popleft()
            if not one.masked:
                told += one.chosen
        return tuple(told)
