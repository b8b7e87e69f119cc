"""What changed, told to every open page: one look at the stores however many watch, by server-sent events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Final, Protocol

from fairlead.console.reading import Reader
from fairlead.console.refusing import as_ours
from fairlead.contracts.errors import Refused

_log = logging.getLogger("fairlead.console")

LOOK_SECONDS: Final = 2.0
BEAT_SECONDS: Final = 15.0
"""A comment after so much silence, so that nothing in between takes the connection for dead."""
WATCHERS: Final = 64


class Changes(Protocol):
    """Says of each topic (``windows``, ``timeline``, ``rollouts``, ...) what it stands at; blocking, and cheap."""

    def stamps(self) -> Mapping[str, str]: ...


class Live:
    """Looks while somebody watches, and no longer."""

    def __init__(
        self, changes: Changes, reader: Reader, look: float = LOOK_SECONDS, beat: float = BEAT_SECONDS
    ) -> None:
        self._changes = changes
        self._reader = reader
        self._look = look
        self._beat = beat
        self._watchers: set[asyncio.Queue[str]] = set()
        self._looking: asyncio.Task[None] | None = None

    def watch(self) -> AsyncIterator[bytes]:
        """Events for one page, until it is closed. Raises Refused when too many watch: before an answer has begun."""
        if len(self._watchers) >= WATCHERS:
            raise Refused(f"{WATCHERS} pages watch already; close one", retry_after=30)
        return self._events()

    async def _events(self) -> AsyncIterator[bytes]:
        told: asyncio.Queue[str] = asyncio.Queue(16)
        self._watchers.add(told)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._keep_looking())
        try:
            yield b"retry: 3000\n\n"
            while True:
                try:
                    event = await asyncio.wait_for(told.get(), self._beat)
                except TimeoutError:
                    yield b": beat\n\n"
                    continue
                yield event.encode()
        finally:
            self._watchers.discard(told)

    def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()

    async def _keep_looking(self) -> None:
        before: Mapping[str, str] | None = None
        trouble = ""
        while self._watchers:
            try:
                now = await self._reader.read("stamps", self._changes.stamps)
            except Exception as error:  # noqa: BLE001 - whatever it is, those who watch are told, and it is tried again
                known = as_ours(error)
                if known.code != trouble:
                    if known is not error:
                        _log.error("the stores could not be looked at", exc_info=error)
                    self._tell("trouble", known.code)
                trouble = known.code
            else:
                changed = [name for name in now if before is not None and before.get(name) != now[name]]
                if changed or trouble:
                    self._tell("changed", " ".join(changed or now))
                before, trouble = now, ""
            await asyncio.sleep(self._look)

    def _tell(self, event: str, data: str) -> None:
        for told in self._watchers:
            if told.full():  # a page that does not read: what it missed, the newest says too
                told.get_nowait()
            told.put_nowait(f"event: {event}\ndata: {data}\n\n")
