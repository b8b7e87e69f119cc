"""An engine that speaks in ids of tokens, and says what a test tells it to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from fairlead.contracts.engine import EngineOptions, EngineTraits
from fairlead.contracts.errors import FairleadError, Unavailable
from fairlead.contracts.generation import Usage
from fairlead.contracts.tokens import TokenEvent, TokenGeneration, Tokens, TokensBegun, TokensEnded
from fairlead.kit.options import given
from fairlead.testing.engines import Busy


class SayingTokens:
    """A token engine for tests. ``delay``: seconds before each step, 0 for none.  ``context``: tokens of both.

    ``says``: the steps of every answer, ids that come together each; None: the prompt, an id a step.
    It ends before the first of ``ends``, and a likelihood is minus the place of the token.
    """

    def __init__(self, options: EngineOptions) -> None:
        found = given(options.options, {"delay": 0.0, "context": 4096}, "saying")
        self._delay, self._context = float(found["delay"]), int(found["context"])
        self.says: Sequence[Sequence[int]] | None = None
        self.asked: list[TokenGeneration] = []
        self._running: set[_Saying] = set()
        self._open = False

    @property
    def traits(self) -> EngineTraits:
        return EngineTraits("echo", self._context, 64, schemas=True, seeds=True, logprobs=0)

    async def start(self) -> None:
        self._open = True

    async def stop(self) -> None:
        self._open = False
        for one in list(self._running):
            one.end(Unavailable("the engine was stopped", retry_after=1))

    def load(self) -> Busy:
        return Busy(0, len(self._running))

    def troubles(self) -> list[str]:
        return []

    def generate(self, asked: TokenGeneration, tell: Callable[[TokenEvent], None]) -> _Saying:
        del self.asked[:-100]
        self.asked.append(asked)
        steps = [(one,) for one in asked.ids] if self.says is None else self.says
        made = _Saying(asked, tell, steps, self._running.discard)
        if not self._open:
            made.end(Unavailable("the engine is not started", retry_after=1))
            return made
        self._running.add(made)
        made.step(self._delay)
        return made


class _Saying:
    """One answer."""

    def __init__(
        self,
        asked: TokenGeneration,
        tell: Callable[[TokenEvent], None],
        steps: Sequence[Sequence[int]],
        gone: Callable[[_Saying], None],
    ) -> None:
        self._asked, self._gone = asked, gone
        self._tell: Callable[[TokenEvent], None] | None = tell
        self._steps = list(steps)
        self._said = -1
        self._made = 0

    def step(self, delay: float) -> None:
        """One after the other: all at once where there is no delay."""
        while self._tell is not None:
            self._one(self._tell)
            if delay and self._tell is not None:
                asyncio.get_running_loop().call_later(delay, self.step, delay)
                return

    def _one(self, tell: Callable[[TokenEvent], None]) -> None:
        if self._said < 0:
            self._said = 0
            tell(TokensBegun(Usage(input=len(self._asked.ids))))
            return
        room = self._asked.most - self._made
        if self._said == len(self._steps) or room <= 0:
            self.end(TokensEnded(room > 0, self._usage()))
            return
        ids = tuple(self._steps[self._said])[:room]
        self._said += 1
        ending = next((place for place, one in enumerate(ids) if one in self._asked.ends), None)
        ids = ids[:ending]
        self._made += len(ids)
        if ids:
            logprobs = tuple(-float(one) for one in range(len(ids)))
            tell(Tokens(ids, logprobs if self._asked.sampling.logprobs is not None else ()))
        if ending is not None:
            self.end(TokensEnded(True, self._usage()))

    def _usage(self) -> Usage:
        return Usage(input=len(self._asked.ids), output=self._made)

    def end(self, last: TokensEnded | FairleadError) -> None:
        tell, self._tell = self._tell, None
        self._gone(self)
        if tell is not None:
            tell(last)

    def cancel(self) -> None:
        self._tell = None
        self._gone(self)
