"""Keeps what a gate knows of keys as the state store says: made and revoked keys count within a second.

A thin loop beside the server. When the store does not answer, what is known holds, and the server's health says so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from fairlead.serve.access.gate import Gate
from fairlead.serve.access.keys import Key, KeyRing

log = logging.getLogger("fairlead.serve")

POLL_SECONDS: Final = 0.4
"""A changed key reaches every worker within a second."""


class KeyFollower:
    """A companion of the server. ``read`` gives all keys, and what is wrong with some; it blocks."""

    def __init__(self, gate: Gate, read: Callable[[], tuple[Sequence[Key], Sequence[str]]]) -> None:
        self._gate = gate
        self._read = read
        self._keys: Sequence[Key] | None = None
        self._task: asyncio.Task[None] | None = None
        self._trouble = ""
        self._broken: Sequence[str] = ()

    def prime(self, loop: asyncio.AbstractEventLoop) -> None:
        """Read them for the first time, in another thread than the loop's, before anybody is let in. Never raises."""
        try:
            found, broken = self._read()
        except Exception as error:  # noqa: BLE001 - told in the server's health; the loop tries again
            self._fail(error)
        else:
            loop.call_soon_threadsafe(self._know, found, broken)

    def start(self) -> None:
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
        return [*([f"keys cannot be read, {what}: {self._trouble}"] if self._trouble else []), *self._broken]

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                found, broken = await loop.run_in_executor(None, self._read)
            except Exception as error:  # noqa: BLE001 - whatever it is, keys go on being followed
                self._fail(error)
            else:
                self._know(found, broken)
            await asyncio.sleep(POLL_SECONDS)

    def _know(self, found: Sequence[Key], broken: Sequence[str]) -> None:
        self._trouble, self._broken = "", broken
        if found != self._keys:
            self._keys = found
            self._gate.know(KeyRing(found))
            log.info("keys", extra={"fields": {"known": len(found)}})

    def _fail(self, error: Exception) -> None:
        if not self._trouble:
            log.warning("keys not read", extra={"fields": {"error": str(error)}})
        self._trouble = str(error) or type(error).__name__
