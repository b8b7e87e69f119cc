"""Keeps the keys of issuers fresh, beside the calls: in a thread, for a provider may take its time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Final

from fairlead.contracts.identity import IssuerVerifier

LOOK: Final = 0.25
"""Seconds between two looks at whether keys are due."""


class Issuers:
    """A companion of the server."""

    def __init__(self, verifiers: Sequence[IssuerVerifier]) -> None:
        self._verifiers = verifiers
        self._over = threading.Event()
        self._primed = False

    def prime(self, _loop: asyncio.AbstractEventLoop) -> None:
        """Fetch them for the first time, in another thread than the loop's, before anybody is let in. Never raises."""
        if not self._primed:
            self._primed = True
            self._refresh()

    def start(self) -> None:
        if not self._verifiers:
            return
        # A daemon: the end of the server does not wait for a provider that does not answer.
        threading.Thread(target=self._follow, name="fairlead-issuers", daemon=True).start()

    def drain(self) -> None:
        """Keys count to the end."""

    def busy(self) -> bool:
        return False

    async def stop(self) -> None:
        self._over.set()

    def troubles(self) -> list[str]:
        return [trouble for one in self._verifiers for trouble in one.troubles()]

    def _follow(self) -> None:
        while not self._over.wait(LOOK):
            self._refresh()

    def _refresh(self) -> None:
        for one in self._verifiers:
            if one.due():
                one.refresh()
