"""Processes that live beside a server: started when it is ready, started again when they die, ended with it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from asyncio.subprocess import Process
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fairlead.kit.clock import Clock
from fairlead.kit.restarts import Restarts

log = logging.getLogger("fairlead.cli")

GRACE: Final = 5.0
"""Seconds from SIGTERM until a companion is killed."""

_STDERR: Final = 2


@dataclass(frozen=True, slots=True)
class Command:
    """``name``: what the log calls it.  ``words``: its command line."""

    name: str
    words: Sequence[str]


def fairlead(*words: str) -> Command:
    """A command of ours as a companion."""
    return Command(words[0], [sys.executable, "-P", "-m", "fairlead", *words])


class Companions:
    """``start`` and ``stop`` are called on the event loop.

    A companion has a session of its own, so that Ctrl-C is for the server, which ends it. Its standard input is a pipe
    that ends when this process does, also by ``kill -9``; what it prints goes to our standard error.
    """

    def __init__(self, commands: Sequence[Command], clock: Clock, grace: float = GRACE) -> None:
        self._commands = commands
        self._clock = clock
        self._grace = grace
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._watch(command)) for command in self._commands]

    async def stop(self) -> None:
        """End them all: SIGTERM, then kill. None is left when this returns."""
        for task in self._tasks:
            task.cancel()
        for task, ended in zip(self._tasks, await asyncio.gather(*self._tasks, return_exceptions=True), strict=True):
            if isinstance(ended, Exception):
                log.error("companion lost", extra={"fields": {"task": task.get_name(), "error": str(ended)}})

    async def _watch(self, command: Command) -> None:
        restarts = Restarts(self._clock)
        while True:
            fields: dict[str, object] = {"companion": command.name}
            try:
                fields["how"] = await self._once(command, restarts)
            except OSError as error:  # no room for another process, or no such program
                fields["how"] = error.strerror
            delay = restarts.crashed()
            fields |= {"crashes": restarts.crashes, "again_in": delay}
            log.error("companion ended", extra={"fields": fields})
            await asyncio.sleep(delay)

    async def _once(self, command: Command, restarts: Restarts) -> str:
        """One process, from its start to its end; how it ended."""
        starting = asyncio.ensure_future(
            asyncio.create_subprocess_exec(
                *command.words, stdin=asyncio.subprocess.PIPE, stdout=_STDERR, start_new_session=True
            )
        )
        try:
            process = await asyncio.shield(starting)
            restarts.ready()
            log.info("companion started", extra={"fields": {"companion": command.name, "pid": process.pid}})
            code = await process.wait()
        except asyncio.CancelledError:
            with contextlib.suppress(OSError):
                await self._end(command, await starting)
            raise
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    async def _end(self, command: Command, process: Process) -> None:
        fields = {"companion": command.name, "pid": process.pid}
        if process.returncode is None:
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), self._grace)
        except TimeoutError:
            log.warning("killed", extra={"fields": fields})
            process.kill()
            await process.wait()
        log.info("companion stopped", extra={"fields": fields})
