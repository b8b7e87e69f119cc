"""What is known to have been used of an answer while it is made."""

from __future__ import annotations

from fairlead.contracts.engine import Event
from fairlead.contracts.generation import Begun, Piece, Usage
from fairlead.serve.llm import worst
from fairlead.serve.llm.ask import Ask


class Seen:
    """``begun``: an engine has taken it up.  ``output``: tokens so far, of reasoning too."""

    __slots__ = ("_ask", "_prompt", "_reasoning", "begun", "output")

    def __init__(self, ask: Ask) -> None:
        self.begun = False
        self.output = 0
        self._ask = ask
        self._prompt: Usage | None = None
        self._reasoning = 0

    def hear(self, event: Event) -> None:
        if type(event) is Piece:
            self.begun = True
            tokens = event.tokens or worst.piece_guess(event.text or event.reasoning or event.refusal)
            self.output += tokens
            if event.reasoning and not event.text:
                self._reasoning += tokens
        elif type(event) is Begun:
            self.begun = True
            if event.usage.prompt:
                self._prompt = event.usage

    def usage(self) -> Usage:
        """So far; a prompt that nobody has counted is guessed."""
        prompt = self._prompt
        if prompt is None:
            counted = self._ask.prompt
            prompt = self._prompt = Usage(counted if counted >= 0 else worst.prompt_guess(self._ask.generation))
        return Usage(prompt.input, prompt.cached, self.output - self._reasoning, self._reasoning)
