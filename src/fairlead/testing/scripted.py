"""An engine for tests of stages: it does what a script says, by timers that a test fires."""

from __future__ import annotations

from collections.abc import Callable

from fairlead.contracts.engine import EngineTraits, Event, Tell
from fairlead.contracts.errors import FairleadError, QueueFull
from fairlead.contracts.generation import Begun, Chosen, Ended, Generation, Piece, Usage
from fairlead.testing.engines import Busy
from fairlead.testing.timers import ManualTimer, ManualTimers

Script = Callable[[Generation], list[Event | float]]
"""What is told of a question: events, and seconds to wait between them. Where it has no end, none comes."""


def said(text: str, *, delay: float = 0.0, logprob: float | None = None, prompt: int = 1) -> list[Event | float]:
    """A script of one answer, a word a token. ``logprob``: of each, where they are asked for."""
    script: list[Event | float] = [delay, Begun(Usage(input=prompt))]
    words = [f"{one} " for one in text.split()]
    for word in words:
        chosen = () if logprob is None else (Chosen(word, logprob, word.encode()),)
        script += [delay, Piece(word, logprobs=chosen)]
    return [*script, Ended("stop", Usage(input=prompt, output=len(words)))]


class ScriptedEngine:
    """``most``: answers at once; one more is refused with QueueFull. ``high``: most that ran at once."""

    def __init__(self, script: Script, timers: ManualTimers, most: int = 1_000_000, parallel: int = 4) -> None:
        self._script, self._timers, self._most, self._parallel = script, timers, most, parallel
        self.asked: list[Generation] = []
        self.resumes = True
        self.running = self.high = self.cancelled = self.refused = 0

    @property
    def traits(self) -> EngineTraits:
        return EngineTraits("scripted", parallel=self._parallel, resumes=self.resumes)

    async def start(self) -> None:
        """There is nothing to open."""

    async def stop(self) -> None:
        """There is nothing to close."""

    async def count(self, asked: Generation) -> int:  # noqa: ARG002 - the contract
        return 1

    def load(self) -> Busy:
        return Busy(0, self.running)

    def troubles(self) -> list[str]:
        return []

    def generate(self, asked: Generation, tell: Tell) -> _Scripted:
        made = _Scripted(self, tell)
        if self.running >= self._most:
            self.refused += 1
            tell(QueueFull("no room", retry_after=0.1))
            return made
        self.asked.append(asked)
        self.running += 1
        self.high = max(self.high, self.running)
        made.go(self._script(asked), self._timers)
        return made

    def gone(self, *, cancelled: bool) -> None:
        self.running -= 1
        self.cancelled += cancelled


class _Scripted:
    """One answer."""

    def __init__(self, engine: ScriptedEngine, tell: Tell) -> None:
        self._engine = engine
        self._tell: Tell | None = tell
        self._timer: ManualTimer | None = None
        self._open = False

    def go(self, script: list[Event | float], timers: ManualTimers) -> None:
        self._open = True
        self._next(iter(script), timers)

    def _next(self, script: object, timers: ManualTimers) -> None:
        for one in script:  # type: ignore[attr-defined]
            if self._tell is None:
                return
            if isinstance(one, float):
                if one:
                    self._timer = timers(one, lambda: self._next(script, timers))
                    return
            elif isinstance(one, Ended | FairleadError):
                tell, self._tell = self._tell, None
                self._engine.gone(cancelled=False)
                tell(one)
                return
            else:
                self._tell(one)

    def cancel(self) -> None:
        if self._tell is None or not self._open:
            return
        self._tell = None
        if self._timer is not None:
            self._timer.cancel()
        self._engine.gone(cancelled=True)
