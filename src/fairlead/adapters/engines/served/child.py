"""A server that is started here, is ended with this process, and is started again when it ends by itself."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from fairlead.adapters.engines.served import tether
from fairlead.adapters.engines.served.settings import Settings
from fairlead.adapters.engines.served.upstream import Busy, Upstream
from fairlead.contracts.engine import EngineTraits, Running, Tell
from fairlead.contracts.errors import BrokenModel, FairleadError, Unavailable
from fairlead.contracts.generation import Generation
from fairlead.contracts.secrets import Secret
from fairlead.kit.reviving import Reviving

_HOST: Final = "127.0.0.1"
_GRACE: Final = 5.0
"""Seconds from the wish that it ends to its end; then it is killed."""
_ENDING: Final = 0.05
"""Seconds in which the end of a server reaches its connections."""
_EARLY, _LATE = 0.05, 0.5
"""Seconds between two looks at whether it is ready, at first and later."""


@dataclass(frozen=True, slots=True)
class Program:
    """``words``: its command line for a port.  ``key``: the variable of its environment that holds its key.

    ``settings``: of a client for a URL and a token.  ``seconds``: to be ready, at most.
    """

    name: str
    words: Callable[[int], Sequence[str]]
    key: str
    settings: Callable[[str, Secret], Settings]
    seconds: float


class Supervised(Reviving):
    """The ``Engine`` that is such a server."""

    def __init__(self, program: Program) -> None:
        super().__init__(program.name)
        self._program = program
        self._upstream: Upstream | None = None
        self._traits = program.settings(_url(0), Secret("", str)).traits

    @property
    def traits(self) -> EngineTraits:
        return self._traits if self._upstream is None else self._upstream.traits

    @property
    def pid(self) -> int:
        """Of what ends the server with us; 0 while there is none."""
        return 0 if self._process is None else self._process.pid

    async def count(self, asked: Generation) -> int:
        if self._upstream is None:
            raise self._away()
        return await self._upstream.count(asked)

    def load(self) -> Busy:
        return Busy() if self._upstream is None else self._upstream.load()

    def troubles(self) -> list[str]:
        return super().troubles() or ([] if self._upstream is None else self._upstream.troubles())

    def generate(self, asked: Generation, tell: Tell) -> Running:
        if self._upstream is None:
            tell(self._away())
            return _OVER
        return self._upstream.generate(asked, tell)

    def _away(self) -> FairleadError:
        return Unavailable(self._trouble or "the engine is not started", retry_after=1)

    async def _begin(self) -> None:
        """Raises BrokenModel where it ends instead, Unavailable where it is not ready in time."""
        key, port = secrets.token_urlsafe(24), _free()
        token = Secret(f"the key of {self._program.name}", lambda: key)
        self._process = await _tethered(self._program.words(port), {self._program.key: key})
        upstream = Upstream(self._program.settings(_url(port), token))
        try:
            await self._ready(upstream, self._process)
            await upstream.start()
        except BaseException:
            await upstream.stop()
            raise
        self._upstream, self._traits = upstream, upstream.traits

    async def _ready(self, upstream: Upstream, process: asyncio.subprocess.Process) -> None:
        """Wait for ``/health``."""
        loop = asyncio.get_running_loop()
        until, pause = loop.time() + self._program.seconds, _EARLY
        while not await upstream.healthy():
            if process.returncode is not None:
                raise BrokenModel(f"{self._program.name} {_how(process.returncode)}; its last words are in the log")
            if loop.time() > until:
                seconds = f"{self._program.seconds:g} seconds"
                raise Unavailable(f"{self._program.name} is not ready after {seconds}; give it more `start_seconds`")
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LATE)

    def _told(self, code: int) -> str:
        return f"{self._program.name} {_how(code)}"

    async def _lost(self) -> None:
        await self._leave(_ENDING)  # those who were answered hear it from their connections
        await self._kill()

    async def _end(self) -> None:
        await self._leave()
        await self._kill()

    async def _leave(self, seconds: float = 0.0) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            self._traits = upstream.traits
            await asyncio.sleep(seconds)
            await upstream.stop()

    async def _kill(self) -> None:
        process = self._process
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(_GRACE + 2):
                await process.wait()
        except TimeoutError:
            process.kill()  # what it runs goes with it, where the system can do that
            await process.wait()


class _Over:
    def cancel(self) -> None:
        """There is nothing to cancel."""


_OVER: Final = _Over()


async def _tethered(words: Sequence[str], environment: Mapping[str, str]) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-S",
        str(Path(tether.__file__)),
        stdin=asyncio.subprocess.PIPE,  # ends with this process, however that ends
        stdout=2,
        start_new_session=True,  # Ctrl-C is for this process
    )
    assert process.stdin is not None  # noqa: S101 - asked for above
    told = {"words": [*words], "environment": {**environment}, "grace": _GRACE}
    process.stdin.write(msgspec.json.encode(told) + b"\n")
    with contextlib.suppress(ConnectionError):  # it ended already: its end is told by waiting
        await process.stdin.drain()
    return process


def _free() -> int:
    """A port of this machine that nobody has now."""
    with socket.socket() as found:
        found.bind((_HOST, 0))
        port: int = found.getsockname()[1]
        return port


def _url(port: int) -> str:
    return f"http://{_HOST}:{port}/v1"


def _how(code: int) -> str:
    if code == 127:
        return "cannot be started"
    return f"ended with signal {code - 128}" if code > 128 else f"ended with exit code {code}"
