"""Engine ``embedded``: openvino-genai's continuous batching in a process of its own, on the CPU.

A step of the library holds the interpreter for as long as it takes, seconds with long prompts, and a crash of it takes
its process along; so it never runs in the server. Here are only callbacks on the event loop: questions go out as small
messages, and one message a step tells what all answers got.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fairlead.adapters.engines.openvino.answer import Answer, Tell
from fairlead.adapters.engines.openvino.asking import message
from fairlead.adapters.engines.openvino.lives import Lives, Process
from fairlead.adapters.engines.openvino.messages import Drop, Load, Stepped
from fairlead.adapters.engines.openvino.process import EngineProcess
from fairlead.adapters.engines.openvino.settings import WHAT, checked
from fairlead.contracts.engine import EngineOptions, EngineTraits
from fairlead.contracts.errors import EngineLost, FairleadError, InvalidParameter, QueueFull, Unavailable, UsageError
from fairlead.contracts.tokens import TokenGeneration
from fairlead.kit import failures, plugins
from fairlead.kit.clock import Clock, SystemClock

log = logging.getLogger("fairlead.engines")


@dataclass(frozen=True, slots=True)
class Busy:
    """``contracts.engine.Load``."""

    waiting: int
    running: int
    memory: float


class EmbeddedTokens:
    """A ``TokenEngine``. ``begin``: starts a process, in a thread.

    Raises UsageError for options that it does not have.
    """

    def __init__(
        self, options: EngineOptions, begin: Callable[[], Process] = EngineProcess, clock: Clock | None = None
    ) -> None:
        if not options.model:
            raise UsageError(f"{WHAT} needs a model: a folder of safetensors or OpenVINO IR, or a .gguf file")
        self._checked = checked(options)
        self._clock: Clock = clock or SystemClock()
        order = Load(
            options.name,
            str(Path(options.model).expanduser().absolute()),
            str(Path(options.folder).absolute()),
            self._checked.precision,
            options.threads,
            self._checked.inner,
            log.getEffectiveLevel(),
        )
        self._lives = Lives(begin, order, self._checked.load_seconds, self, self._clock)
        self._numbers = itertools.count(1)
        self._answers: dict[int, Answer] = {}
        self._begun = 0
        self._memory = self._since = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self._open = False

    @property
    def traits(self) -> EngineTraits:
        loaded, parallel = self._lives.loaded, self._checked.inner.parallel
        if loaded is None:
            return EngineTraits("openvino", 0, parallel, seeds=True, logprobs=0)
        return EngineTraits("openvino", loaded.context, parallel, schemas=loaded.grammars, seeds=True, logprobs=0)

    @property
    def pid(self) -> int:
        """Of its process; 0 while there is none that answers."""
        return self._lives.process.pid if self._lives.process is not None else 0

    async def start(self) -> None:
        if not plugins.installed("openvino_genai"):
            raise plugins.missing(ModuleNotFoundError("openvino_genai", name="openvino_genai"), WHAT)
        await self._lives.open()
        self._open = True

    async def stop(self) -> None:
        self._open = False
        self._end_all(Unavailable("the engine was stopped", retry_after=1))
        await self._lives.close()

    def generate(self, asked: TokenGeneration, tell: Tell) -> Answer:
        answer = Answer(self, next(self._numbers), len(asked.ids), tell)
        try:
            self._send(answer.number, asked)
        except FairleadError as error:
            answer.fail(error)
            return answer
        if not self._answers:
            self._since = self._clock.now()
        self._answers[answer.number] = answer
        if self._watch is None:
            self._look_after(self._checked.hang_seconds)
        return answer

    def load(self) -> Busy:
        return Busy(len(self._answers) - self._begun, self._begun, self._memory if self._answers else 0.0)

    def troubles(self) -> list[str]:
        return [self._lives.trouble] if self._lives.trouble else []

    def dropped(self, answer: Answer) -> None:
        """From an answer that was cancelled."""
        if self._gone(answer) and self._lives.process is not None:
            self._lives.process.send(Drop(answer.number))

    def stepped(self, step: Stepped) -> None:
        """From the process."""
        self._memory = step.memory
        for number, cached in step.begun:
            if (answer := self._answers.get(number)) is not None:
                self._begun += 1
                answer.begin(cached)
        for made in step.made:
            if (answer := self._answers.get(made.number)) is not None:
                answer.more(made.ids, made.logprobs)
        for over in step.over:
            if (answer := self._answers.get(over.number)) is not None:
                self._gone(answer)
                if over.code:
                    answer.fail(failures.of(over.code, over.message, 1.0 if over.code == Unavailable.code else None))
                else:
                    answer.end(over.stopped)

    def lost(self, error: EngineLost) -> None:
        """From what looks after the process."""
        self._end_all(error)

    def _send(self, number: int, asked: TokenGeneration) -> None:
        """Raises what the caller gets instead of an answer."""
        lives = self._lives
        if not self._open:
            raise Unavailable("the engine is not started", retry_after=1)
        if lives.process is None or lives.loaded is None:
            raise Unavailable("the engine ended, and another one is started", retry_after=lives.away)
        most = self._checked.queue
        if len(self._answers) >= self._checked.inner.parallel + most:
            raise QueueFull(f"{most} answers wait for the engine, the most that may (option queue)", retry_after=1)
        ask = message(number, asked, lives.loaded, self._checked.inner)
        try:
            lives.process.send(ask)
        except (ValueError, OverflowError, TypeError) as error:
            raise InvalidParameter(f"this cannot be asked of the engine: {error}") from error

    def _gone(self, answer: Answer) -> bool:
        """Whether it was still among the answers."""
        if self._answers.pop(answer.number, None) is None:
            return False
        self._begun -= answer.begun
        if not self._answers and self._watch is not None:
            self._watch.cancel()
            self._watch = None
        return True

    def _end_all(self, error: FairleadError) -> None:
        for answer in list(self._answers.values()):
            if self._gone(answer):
                answer.fail(failures.of(error.code, str(error), error.retry_after))

    def _look_after(self, seconds: float) -> None:
        """See to it that the process says something while there is work."""
        self._watch = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        self._watch = None
        if self._lives.process is None or not self._answers:
            return
        silent = self._clock.now() - max(self._lives.heard, self._since)
        left = self._checked.hang_seconds - silent
        if left > 0:
            self._look_after(left)
            return
        log.error("engine hangs", extra={"fields": {"pid": self._lives.process.pid, "seconds": round(silent, 1)}})
        self._lives.process.kill()  # its end is told as any other
