"""A fake engine of tokens with the semantics of real ones: it says the ids of its prompt, again and again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fairlead.contracts.engine import EngineOptions, EngineTraits
from fairlead.contracts.errors import (
    ContextTooLong,
    EngineLost,
    FairleadError,
    InvalidParameter,
    QueueFull,
    Unavailable,
)
from fairlead.contracts.generation import Usage
from fairlead.contracts.tokens import TokenEvent, TokenGeneration, Tokens, TokensBegun, TokensEnded
from fairlead.kit.options import given

Tell = Callable[[TokenEvent], None]


@dataclass(frozen=True, slots=True)
class Busy:
    waiting: int
    running: int
    memory: float = 0.0


class EchoTokens:
    """Engine ``echo``. Sampled (a temperature over 0), it draws among the ids of the prompt.

    ``delay``: seconds before each token, 0: all at once, on the next turn of the loop.  ``parallel``: answers at once;
    ``queue`` more wait.  ``vocabulary``: ids are below it.  ``dies_after``: tokens after which every answer fails with
    EngineLost, 0 for never.
    """

    def __init__(self, options: EngineOptions) -> None:
        known = {"delay": 0.0, "parallel": 64, "queue": 256, "context": 4096, "vocabulary": 1 << 17, "dies_after": 0}
        found = given(options.options, known, "token engine 'echo'")
        self.delay = float(found["delay"])
        self.parallel, self.queue = int(found["parallel"]), int(found["queue"])
        self.context, self.vocabulary = int(found["context"]), int(found["vocabulary"])
        self.dies_after = int(found["dies_after"])
        self._waiting: list[_Echo] = []
        self._running: set[_Echo] = set()
        self._open = False
        self.asked: list[TokenGeneration] = []
        """Everything that it was asked, for tests to look at; at most the last thousand."""

    @property
    def traits(self) -> EngineTraits:
        return EngineTraits("echo", self.context, self.parallel, seeds=True, logprobs=0)

    async def start(self) -> None:
        self._open = True

    async def stop(self) -> None:
        self._open = False
        for one in [*self._waiting, *self._running]:
            one.end(Unavailable("the engine was stopped", retry_after=1))

    def load(self) -> Busy:
        return Busy(len(self._waiting), len(self._running))

    def troubles(self) -> list[str]:
        return []

    def generate(self, asked: TokenGeneration, tell: Tell) -> _Echo:
        made = _Echo(self, asked, tell)
        error = self._refusal(asked)
        if error is not None:
            made.end(error)
            return made
        if len(self.asked) >= 1000:
            del self.asked[:500]
        self.asked.append(asked)
        if len(self._running) < self.parallel:
            self._begin(made)
        else:
            self._waiting.append(made)
        return made

    def gone(self, made: _Echo) -> None:
        """An answer is over."""
        self._running.discard(made)
        if made in self._waiting:
            self._waiting.remove(made)
        while self._open and self._waiting and len(self._running) < self.parallel:
            self._begin(self._waiting.pop(0))

    def _begin(self, made: _Echo) -> None:
        self._running.add(made)
        made.later(0.0)

    def _refusal(self, asked: TokenGeneration) -> FairleadError | None:
        if not self._open:
            return Unavailable("the engine is not started", retry_after=1)
        if len(self._running) >= self.parallel and len(self._waiting) >= self.queue:
            return QueueFull(f"{self.queue} answers wait, the most that may", retry_after=1)
        if not asked.ids or asked.most < 1:
            return InvalidParameter("the prompt must have a token at least, and the answer room for one")
        if not all(0 <= one < self.vocabulary for one in asked.ids):
            return InvalidParameter(f"the prompt has a token that is not 0 to {self.vocabulary - 1}")
        if len(asked.ids) >= self.context:
            return ContextTooLong(
                f"the prompt has {len(asked.ids)} tokens; the model takes {self.context} with the answer"
            )
        return None


class _Echo:
    """One answer."""

    def __init__(self, engine: EchoTokens, asked: TokenGeneration, tell: Tell) -> None:
        self._engine, self._asked = engine, asked
        self._tell: Tell | None = tell
        self._timer: asyncio.TimerHandle | None = None
        self._next = _next(asked)
        self._made = 0
        self._begun = False

    def later(self, delay: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(delay, self._step)

    def cancel(self) -> None:
        if self._tell is not None:
            self._over()

    def end(self, last: TokensEnded | FairleadError) -> None:
        tell = self._tell
        if tell is not None:
            self._over()
            tell(last)

    def _over(self) -> None:
        self._tell = None
        if self._timer is not None:
            self._timer.cancel()
        self._engine.gone(self)

    def _step(self) -> None:
        if self._tell is not None and not self._begun:
            self._begun = True
            self._tell(TokensBegun(self._usage()))
        elif self._tell is not None:
            self._one()
        if self._tell is None:
            return
        if self._engine.delay:
            self.later(self._engine.delay)
        else:
            self._step()

    def _one(self) -> None:
        asked = self._asked
        if self._engine.dies_after and self._made >= self._engine.dies_after:
            return self.end(EngineLost("the engine ended while it wrote the answer", retry_after=1))
        token = next(self._next)
        ends = () if asked.sampling.ignore_end else asked.ends
        while token in ends and self._made < asked.sampling.least:
            token = (token + 1) % self._engine.vocabulary
        room = min(asked.most, self._engine.context - len(asked.ids))
        if token in ends or self._made >= room:
            return self.end(TokensEnded(self._made < room, self._usage()))
        self._made += 1
        assert self._tell is not None  # noqa: S101 - asked before
        self._tell(Tokens((token,), () if asked.sampling.logprobs is None else (0.0,)))
        return None

    def _usage(self) -> Usage:
        return Usage(len(self._asked.ids), 0, self._made)


def _next(asked: TokenGeneration) -> Iterator[int]:
    """The ids that it says; endless."""
    ids, sampling = asked.ids, asked.sampling
    draw = random.Random(sampling.seed)  # noqa: S311 - a fake
    place = 0
    while True:
        yield ids[place % len(ids)] if sampling.temperature == 0.0 else draw.choice(ids)
        place += 1
