"""Keeps what a gate knows of keys as the state store says: made and revoked keys count within a second.

A thin loop beside the server. When the store does not answer, what is known holds, and the server's health says so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from fairlead.kit.clock import Clock
from fairlead.kit.threads import Threads
from fairlead.serve.access.gate import Gate
from fairlead.serve.access.keys import Key, KeyRing

log = logging.getLogger("fairlead.serve")

POLL_SECONDS: Final = 0.4
"""A changed key reaches every worker within a second."""
LATE_SECONDS: Final = 5.0
"""A store that has not answered for so long is told of."""


class KeyFollower:
    """A companion of the server. ``read`` gives all keys, and what is wrong with some; it blocks."""

    def __init__(self, gate: Gate, read: Callable[[], tuple[Sequence[Key], Sequence[str]]], clock: Clock) -> None:
        self._gate = gate
        self._read = read
        self._clock = clock
        self._read_at = 0.0
        self._keys: Sequence[Key] | None = None
        self._task: asyncio.Task[None] | None = None
        self._trouble = ""
        self._broken: Sequence[str] = ()

    def prime(self, loop: asyncio.AbstractEventLoop) -> None:
        """Read them for the first time, in another thread than the loop's, before anybody is let in, and follow them
        from then on. Never raises.
        """
        try:
            found, broken = self._read()
        except Exception as error:  # noqa: BLE001 - told in the server's health; the loop tries again
            self._fail(error)
        else:
            loop.call_soon_threadsafe(self._know, found, broken)
        loop.call_soon_threadsafe(self.start)

    def start(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._follow())

    def drain(self) -> None:
        """Keys count to the end."""

    def busy(self) -> bool:
        return False

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def troubles(self) -> list[str]:
        what = "no key is known yet" if self._keys is None else "those that were known hold"
        late = self._clock.now() - self._read_at
        if self._trouble:
            return [f"keys cannot be read, {what}: {self._trouble}", *self._broken]
        if self._task is not None and self._read_at and late > LATE_SECONDS:
            return [f"keys were read {late:.0f} s ago, {what}: the state store does not answer", *self._broken]
        return list(self._broken)

    async def _follow(self) -> None:
        thread = Threads(1, "fairlead-keys")  # a store that hangs holds up nothing else, nor the end of the server
        try:
            while True:
                try:
                    found, broken = await thread.ask(self._read)
                except Exception as error:  # noqa: BLE001 - whatever it is, keys go on being followed
                    self._fail(error)
                else:
                    self._know(found, broken)
                await asyncio.sleep(POLL_SECONDS)
        finally:
            thread.close()

    def _know(self, found: Sequence[Key], broken: Sequence[str]) -> None:
        self._trouble, self._broken, self._read_at = "", broken, self._clock.now()
        if found != self._keys:
            self._keys = found
            self._gate.know(KeyRing(found))
            log.info("keys", extra={"fields": {"known": len(found)}})

    def _fail(self, error: Exception) -> None:
        if not self._trouble:
            log.warning("keys not read", extra={"fields": {"error": str(error)}})
        self._trouble = str(error) or type(error).__name__
