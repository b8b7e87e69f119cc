"""A fake engine with the semantics of real ones: it says what it was asked, a word a step."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from fairlead.contracts.engine import EngineOptions, EngineTraits, Tell
from fairlead.contracts.errors import EngineLost, FairleadError, InputError, Unavailable
from fairlead.contracts.generation import Begun, CallDelta, Chosen, Ended, Generation, Message, Piece, Usage
from fairlead.kit.fitting import too_long, unfit
from fairlead.kit.options import given

CONTEXT = 4096


@dataclass(slots=True)
class Busy:
    waiting: int = 0
    running: int = 0
    memory: float = 0.0


class EchoEngine:
    """Engine ``echo``: a token is a word with the space before it. ``delay``: seconds before each, 0 for none.

    ``parallel``: answers at once; more wait.  ``dies_after``: tokens after which every answer fails with EngineLost.
    A conversation is answered with its last message; with a tool by name where one must be called.
    """

    def __init__(self, options: EngineOptions) -> None:
        found = given(options.options, {"delay": 0.0, "parallel": 0, "context": CONTEXT, "dies_after": 0}, "echo")
        self._delay = float(found["delay"])
        self._parallel = int(found["parallel"])
        self._context = int(found["context"])
        self.dies_after = int(found["dies_after"])
        self._waiting: list[_Echo] = []
        self._running: set[_Echo] = set()
        self._open = False
        self.asked: list[Generation] = []
        """Everything that it was asked, for tests to look at; at most the last thousand."""

    @property
    def traits(self) -> EngineTraits:
        return EngineTraits(
            "echo", self._context, self._parallel or 64, tools=True, schemas=True, seeds=True, logprobs=20, resumes=True
        )

    async def start(self) -> None:
        self._open = True

    async def stop(self) -> None:
        self._open = False
        for one in [*self._waiting, *self._running]:
            one.end(Unavailable("the engine was stopped", retry_after=1))

    async def count(self, asked: Generation) -> int:
        error = self._refusal(asked)
        if error is not None:
            raise error
        return tokens(asked)

    def _refusal(self, asked: Generation) -> InputError | None:
        return unfit(asked, self.traits) or too_long(tokens(asked), asked, self.traits)

    def load(self) -> Busy:
        return Busy(len(self._waiting), len(self._running))

    def troubles(self) -> list[str]:
        return []

    def generate(self, asked: Generation, tell: Tell) -> _Echo:
        made = _Echo(self, asked, tell)
        if not self._open:
            made.end(Unavailable("the engine is not started", retry_after=1))
            return made
        if len(self.asked) >= 1000:
            del self.asked[:500]
        self.asked.append(asked)
        error = self._refusal(asked)
        if error is not None:
            made.end(error)
        elif self._parallel and len(self._running) >= self._parallel:
            self._waiting.append(made)
        else:
            self._begin(made)
        return made

    def _begin(self, made: _Echo) -> None:
        self._running.add(made)
        if self._delay:
            made.step(self._delay)
        else:
            made.whole()

    def gone(self, made: _Echo) -> None:
        """An answer is over."""
        self._running.discard(made)
        if made in self._waiting:
            self._waiting.remove(made)
        while self._open and self._waiting and len(self._running) < self._parallel:
            self._begin(self._waiting.pop(0))


class _Echo:
    """One answer."""

    def __init__(self, engine: EchoEngine, asked: Generation, tell: Tell) -> None:
        self._engine, self._asked = engine, asked
        self._tell: Tell | None = tell
        self._timer: asyncio.TimerHandle | None = None
        self._prompt = tokens(asked)
        room = engine.traits.context - self._prompt
        most = room if asked.sampling.most is None else min(asked.sampling.most, room)
        self._pieces, self._reason = _answer(asked, most)
        self._said = 0
        self._begun = False

    def whole(self) -> None:
        """Everything at once."""
        while self._tell is not None:
            self._one()

    def step(self, delay: float) -> None:
        """A token now and then."""
        if self._tell is None:
            return
        if self._begun:
            self._one()
        else:
            self._begin()
        if self._tell is not None:
            self._timer = asyncio.get_running_loop().call_later(delay, self.step, delay)

    def end(self, last: Ended | FairleadError) -> None:
        tell, self._tell = self._tell, None
        if self._timer is not None:
            self._timer.cancel()
        if tell is not None:
            self._engine.gone(self)
            tell(last)

    def cancel(self) -> None:
        if self._tell is None:
            return
        self._tell = None
        if self._timer is not None:
            self._timer.cancel()
        self._engine.gone(self)

    def _begin(self) -> None:
        self._begun = True
        if self._tell is not None:
            self._tell(Begun(Usage(input=self._prompt)))

    def _one(self) -> None:
        if not self._begun:
            self._begin()
        if self._tell is None:
            return
        if self._engine.dies_after and self._said >= self._engine.dies_after:
            self.end(EngineLost("the engine ended while it wrote the answer", retry_after=1))
        elif self._said < len(self._pieces):
            piece = self._pieces[self._said]
            self._said += 1
            self._tell(piece)
        else:
            self.end(Ended(self._reason, Usage(input=self._prompt, output=len(self._pieces))))  # type: ignore[arg-type]


def words(text: str) -> list[str]:
    """A text cut before every space."""
    found = text.split(" ")
    return [found[0], *(f" {one}" for one in found[1:])] if text else []


def tokens(asked: Generation) -> int:
    """Tokens of the prompt, by the rule of this engine."""
    prompt = asked.prompt
    if isinstance(prompt, str):
        return len(words(prompt))
    return sum(len(words(one.content)) + 1 if isinstance(one, Message) else 1 for one in prompt)


def _answer(asked: Generation, most: int) -> tuple[Sequence[Piece], str]:
    prompt, sampling = asked.prompt, asked.sampling
    if asked.tools and asked.choose not in ("auto", "none"):
        name = asked.tools[0].name if asked.choose == "required" else asked.choose
        return [Piece(calls=(CallDelta(0, f"call_{asked.id}", name, "{}"),))], "tool_calls"
    if isinstance(prompt, str):
        text = prompt
    else:
        end = prompt[-1] if prompt else ""
        text = end.content if isinstance(end, Message) else " ".join(map(str, prompt))
        before = prompt[-2] if asked.resumes and len(prompt) > 1 else ""
        if isinstance(before, Message):
            text = before.content.removeprefix(text)
    if asked.format is not None:
        text = "{}"
    cut = min((at for stop in sampling.stop if (at := text.find(stop)) >= 0), default=len(text))
    said = words(text[:cut])
    reason = "length" if len(said) > most else "stop"
    return [Piece(one, logprobs=_chosen(one, sampling.logprobs)) for one in said[:most]], reason


def _chosen(token: str, alternatives: int | None) -> tuple[Chosen, ...]:
    if alternatives is None:
        return ()
    data = token.encode()
    others = tuple((token if at == 0 else f" other{at}", -float(at), data) for at in range(alternatives))
    return (Chosen(token, 0.0, data, others),)
