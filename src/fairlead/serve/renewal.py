"""TLS files that are renewed while the server runs: new connections get what the files say now.

The context that a listener was given stays; its callback, which OpenSSL calls at the beginning of every handshake,
puts the newest one in its place. So a pair takes effect whole or not at all, also where the kind of the key changes.
What cannot be loaded changes nothing: the server keeps what it has, and says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from typing import Any, Final

from fairlead.contracts.errors import FairleadError
from fairlead.contracts.sink import Sink
from fairlead.kit.clock import Clock
from fairlead.kit.files import stamp
from fairlead.serve import tls
from fairlead.serve.certificate import Validity, validity
from fairlead.serve.settings import ServerSettings

LOOK: Final = 1.0
"""Seconds between two looks at the files."""

_DAY: Final = 86_400.0
SOON: Final = 7 * _DAY
"""Seconds before the end of a certificate at which that becomes a trouble."""

log = logging.getLogger("fairlead.serve")


def ending(found: Validity, now: float) -> str:
    """A sentence about a certificate that ends soon, or has; empty otherwise. ``now``: seconds since 1970.

    One that is made for no more than a day ends soon when a third of that is left.
    """
    left, whole = found.until - now, found.until - found.since
    if left <= 0:
        return "the TLS certificate has ended; callers refuse it: renew it"
    if left >= (SOON if whole > _DAY else whole / 3):
        return ""
    shown = f"{left / _DAY:.1f} days" if left >= _DAY else f"{left / 3600:.1f} hours"
    return f"the TLS certificate ends in {shown}; renew it"


class _Listening:
    """What one listener speaks, and the context that its next handshake uses."""

    def __init__(self, protocols: tuple[str, ...], context: ssl.SSLContext) -> None:
        self.protocols = protocols
        self.newest = context

    def swap(self, connection: Any, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self.newest


class Renewal:
    """A companion of the server. Every worker has its own."""

    def __init__(self, settings: ServerSettings, sink: Sink, clock: Clock) -> None:
        self._settings = settings
        self._sink = sink
        self._clock = clock
        self._listening: list[_Listening] = []
        self._files = [one for one in (settings.tls_cert, settings.tls_key, settings.tls_client_ca) if one]
        self._seen: list[object] = []
        self._validity: Validity | None = None
        self._problem = ""
        self._task: asyncio.Task[None] | None = None

    def context(self, *protocols: str) -> ssl.SSLContext | None:
        """For one listener, as the files are now and will be. None without TLS. Raises UsageError."""
        self._seen = self._seen or self._stamps()  # before they are read: what changes from here on is seen
        made = tls.context(self._settings, protocols)
        if made is None:
            return None
        one = _Listening(protocols, made)
        made.sni_callback = one.swap
        self._listening.append(one)
        return made

    def start(self) -> None:
        if not self._files:
            return
        self._measure()
        self._task = asyncio.get_running_loop().create_task(self._watch())

    def drain(self) -> None:
        """Who is still let in gets the newest too."""

    def busy(self) -> bool:
        return False

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def troubles(self) -> list[str]:
        soon = ending(self._validity, self._clock.wall_ms() / 1000) if self._validity else ""
        return [one for one in (self._problem, soon) if one]

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK)
            try:
                await loop.run_in_executor(None, self.look)
            except Exception:
                log.exception("the TLS files could not be looked at")

    def look(self) -> None:
        """Take what the files say, if they changed and say something that holds. Reads files."""
        seen = self._stamps()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            made = [tls.context(self._settings, one.protocols) for one in self._listening]
        except FairleadError as error:
            self._problem = f"{error}; the certificate of before is used until its files are whole"
            log.warning("certificate kept", extra={"fields": {"why": str(error)}})
            return
        for one, context in zip(self._listening, made, strict=True):
            if context is not None:
                one.newest = context
        self._problem = ""
        self._measure()
        left = round(self._validity.until - self._clock.wall_ms() / 1000) if self._validity else None
        log.info("certificate renewed", extra={"fields": {"cert": self._settings.tls_cert, "seconds_left": left}})

    def _stamps(self) -> list[object]:
        return [stamp(path) for path in self._files]

    def _measure(self) -> None:
        try:
            self._validity = validity(self._settings.tls_cert)
        except (OSError, ValueError):
            return  # gone since it was loaded: it is looked at again
        self._sink.certificate(self._validity.until)
