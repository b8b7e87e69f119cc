"""A question that is asked again behind the caller's back, one at a time: the answer is compared, and thrown away."""

from __future__ import annotations

from collections.abc import Callable

from fairlead.contracts.engine import Event
from fairlead.contracts.generation import Ended, Piece
from fairlead.serve.llm.ask import Ask, Enter, over
from fairlead.serve.llm.cascade.auditing import agree


class Reasking:
    """``busy``: one is under way."""

    def __init__(self) -> None:
        self.busy = False

    def ask(self, enter: Enter, ask: Ask, text: str, told: Callable[[bool], None]) -> None:
        """``told``: whether the answer agrees with ``text``; not called where there is none."""
        self.busy = True
        said: list[str] = []

        def hear(event: Event) -> None:
            if isinstance(event, Piece):
                said.append(event.text)
            elif over(event):
                self.busy = False
                if isinstance(event, Ended):
                    told(agree(text, "".join(said)))

        enter(ask, hear)
