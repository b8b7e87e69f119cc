"""Engine ``transformers``: the server's side of the process that runs the model."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from fairlead.adapters.engines.transformers import messages as told
from fairlead.contracts.engine import EngineOptions, EngineTraits, Tell
from fairlead.contracts.errors import (
    BrokenModel,
    ContextTooLong,
    EngineLost,
    FairleadError,
    InputError,
    ModelFailed,
    SourceNotFound,
    Unavailable,
)
from fairlead.contracts.generation import Begun, Ended, Generation, Message, Piece, Usage
from fairlead.kit import plugins
from fairlead.kit.fitting import unfit
from fairlead.kit.options import given
from fairlead.kit.restarts import how_ended
from fairlead.kit.reviving import Reviving

_OPTIONS: Final[dict[str, Any]] = {"device": "cpu", "dtype": "auto", "context": 0, "start_seconds": 600.0}
_CHILD: Final = ("-P", "-m", "fairlead.adapters.engines.transformers.child")  # -P: no folder shadows a library
_KINDS: Final = {one.code: one for one in (BrokenModel, ContextTooLong, InputError, ModelFailed)}
_decode = msgspec.msgpack.Decoder(told.ToServer).decode


@dataclass(slots=True)
class Busy:
    waiting: int = 0
    running: int = 0
    memory: float = 0.0


class TransformersEngine(Reviving):
    """Raises UsageError, SourceNotFound; MissingExtra where the libraries are not installed."""

    def __init__(self, options: EngineOptions) -> None:
        super().__init__("transformers")
        found = given(options.options, _OPTIONS, "transformers")
        for library in ("torch", "transformers"):
            if not plugins.installed(library):
                raise plugins.missing(ModuleNotFoundError(name=library), "engine 'transformers'")
        if not Path(options.model, "config.json").is_file():
            raise SourceNotFound(
                f"endpoint {options.name!r}: `model` is {options.model!r}, no folder with a config.json"
            )
        self._load = told.Load(
            str(Path(options.model).absolute()), found["device"], found["dtype"], options.threads, found["context"]
        )
        self._seconds: float = found["start_seconds"]
        self._context = 0
        self._pipe: _Pipe | None = None
        self._waiting: deque[_Answer] = deque()
        self._current: _Answer | None = None
        self._counts: dict[int, asyncio.Future[int]] = {}
        self._next = 1

    @property
    def traits(self) -> EngineTraits:
        return EngineTraits("transformers", self._context, 1, seeds=True)

    async def stop(self) -> None:
        await super().stop()
        self._lose(Unavailable("the engine was stopped", retry_after=1))
        for one in [*self._waiting]:
            one.end(Unavailable("the engine was stopped", retry_after=1))
        self._waiting.clear()

    async def count(self, asked: Generation) -> int:
        error = unfit(asked, self.traits)
        if error is not None:
            raise error
        if self._pipe is None:
            raise self._away()
        number, waiting = self._number(), asyncio.get_running_loop().create_future()
        self._counts[number] = waiting
        try:
            self._pipe.send(told.Ask(number, prompt_of(asked), {}, count=True))
            found: int = await waiting
        finally:
            del self._counts[number]
        return found

    def load(self) -> Busy:
        return Busy(len(self._waiting), int(self._current is not None))

    def generate(self, asked: Generation, tell: Tell) -> _Answer:
        made = _Answer(self, asked, tell, self._number())
        error = self._away() if self._pipe is None else unfit(asked, self.traits)
        if error is not None:
            made.end(error)
            return made
        self._waiting.append(made)
        self._advance()
        return made

    # For the answers.

    def forget(self, one: _Answer) -> None:
        """Nobody wants it: it goes now, or when the process says that it stopped."""
        if one is self._current:
            if self._pipe is not None:
                self._pipe.send(told.Cancel(one.number))
        elif one in self._waiting:
            self._waiting.remove(one)

    # From the process.

    def hear(self, message: told.ToServer) -> None:
        if isinstance(message, told.Loaded):
            return
        waiting = self._counts.get(message.id)
        if waiting is not None:
            if not waiting.done():
                _settle(waiting, message)
            return
        one = self._current
        if one is None or one.number != message.id:
            return
        if isinstance(message, told.Begun):
            one.tell(Begun(Usage(input=message.prompt)))
        elif isinstance(message, told.Said):
            one.tell(Piece(message.text, message.tokens))
        else:
            self._current = None
            one.end(_last(message))
            self._advance()

    def lost(self) -> None:
        """The socket ended, and so does the process."""
        self._pipe = None
        self._lose(EngineLost("the process of the model ended while it wrote the answer", retry_after=1))

    def _lose(self, error: FairleadError) -> None:
        one, self._current = self._current, None
        if one is not None:
            one.end(error)
        for waiting in self._counts.values():
            if not waiting.done():
                waiting.set_exception(Unavailable("the process of the model ended", retry_after=1))

    def _advance(self) -> None:
        if self._current is None and self._waiting and self._pipe is not None:
            self._current = one = self._waiting.popleft()
            self._pipe.send(one.ask())

    def _number(self) -> int:
        self._next += 1
        return self._next

    def _away(self) -> Unavailable:
        return Unavailable(self._trouble or "the engine is not started", retry_after=1)

    # The process.

    async def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with theirs:
            words = (sys.executable, *_CHILD, str(theirs.fileno()))
            self._process = await asyncio.create_subprocess_exec(
                *words,
                pass_fds=(theirs.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=2,
                start_new_session=True,  # Ctrl-C is for this process; the socket ends with it
            )
        _, pipe = await loop.create_unix_connection(lambda: _Pipe(self), sock=ours)
        pipe.send(self._load)
        try:
            async with asyncio.timeout(self._seconds):
                self._context = await pipe.loaded
        except TimeoutError:
            pipe.close()
            raise Unavailable(
                f"the model is not loaded after {self._seconds:g} seconds; give it more `start_seconds`"
            ) from None
        except BaseException:
            pipe.close()
            raise
        self._pipe = pipe
        self._advance()

    def _told(self, code: int) -> str:
        return f"the process of the model ended ({how_ended(code)})"

    async def _lost(self) -> None:
        self.lost()

    async def _end(self) -> None:
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            pipe.close()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        await asyncio.sleep(0)


class _Pipe(asyncio.Protocol):
    """The socket to one process. ``loaded``: the tokens that the model takes."""

    def __init__(self, engine: TransformersEngine) -> None:
        self._engine: TransformersEngine | None = engine
        self._frames = told.Frames()
        self._transport: Any = None
        self.loaded: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        for frame in self._frames.feed(data):
            message = _decode(frame)
            if self.loaded.done():
                if self._engine is not None:
                    self._engine.hear(message)
            elif isinstance(message, told.Loaded):
                self.loaded.set_result(message.context)
            elif isinstance(message, told.Failed):
                self.loaded.set_exception(_error(message))

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio names it
        if not self.loaded.done():
            self.loaded.set_exception(
                BrokenModel("the process that loads the model ended; its last words are in the log")
            )
        elif self._engine is not None:
            self._engine.lost()

    def send(self, message: told.ToChild) -> None:
        if not self._transport.is_closing():  # else its end is about to be told
            self._transport.write(told.packed(message))

    def close(self) -> None:
        self._engine = None
        self.loaded.cancel()
        self._transport.abort()


class _Answer:
    """One answer."""

    def __init__(self, engine: TransformersEngine, asked: Generation, tell: Tell, number: int) -> None:
        self._engine, self._asked = engine, asked
        self._tell: Tell | None = tell
        self.number = number

    def ask(self) -> told.Ask:
        sampling = {name: getattr(self._asked.sampling, name) for name in self._asked.sampling.__slots__}
        return told.Ask(self.number, prompt_of(self._asked), sampling)

    def tell(self, event: Begun | Piece) -> None:
        if self._tell is not None:
            self._tell(event)

    def end(self, last: Ended | FairleadError) -> None:
        tell, self._tell = self._tell, None
        if tell is not None:
            tell(last)

    def cancel(self) -> None:
        if self._tell is not None:
            self._tell = None
            self._engine.forget(self)


def prompt_of(asked: Generation) -> Any:
    """As the process takes it."""
    if isinstance(asked.prompt, str):
        return asked.prompt
    return [_message(one) if isinstance(one, Message) else one for one in asked.prompt]


def _message(one: Message) -> dict[str, Any]:
    role = "system" if one.role == "developer" else one.role
    found: dict[str, Any] = {"role": role, "content": one.content}
    if one.calls:
        found["tool_calls"] = [
            {"type": "function", "id": call.id, "function": {"name": call.name, "arguments": call.arguments}}
            for call in one.calls
        ]
    if one.answers:
        found["tool_call_id"] = one.answers
    return found


def _last(message: told.Ended | told.Failed) -> Ended | FairleadError:
    if isinstance(message, told.Failed):
        return _error(message)
    return Ended("stop" if message.reason == "stop" else "length", Usage(input=message.prompt, output=message.output))


def _settle(waiting: asyncio.Future[int], message: told.ToServer) -> None:
    if isinstance(message, told.Failed):
        waiting.set_exception(_error(message))
    elif isinstance(message, told.Ended):
        waiting.set_result(message.prompt)


def _error(message: told.Failed) -> FairleadError:
    return _KINDS.get(message.code, ModelFailed)(message.message)
