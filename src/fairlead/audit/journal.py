"""The auditor of a server: takes notes on the event loop, and a thread of its own writes them.

What is noted is on disk within ``SYNC_SECONDS``, calls that were let in a minute later, summed up. While the disk takes
nothing serving goes on: what fits is kept in memory, what does not is counted, and the first entry that can be written
again says how many are missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fairlead.audit.anchoring import Anchoring
from fairlead.audit.chain import Chain, free_one, opened
from fairlead.audit.entry import GAP, SYSTEM, Noted, Seal, stamp
from fairlead.audit.folding import Folding
from fairlead.audit.heads import Heads
from fairlead.audit.segments import chains
from fairlead.contracts.audit import Audited
from fairlead.contracts.errors import FairleadError
from fairlead.kit.clock import Clock

log = logging.getLogger("fairlead.audit")

CUT_SECONDS: Final = 0.25
SYNC_SECONDS: Final = 1.0
"""From a note to the disk, at most, while the disk takes it."""
SUM_SECONDS: Final = 60.0
AGAIN_SECONDS: Final = 1.0
"""Before a disk, or a store, that did not take it is tried again."""
RETAIN_SECONDS: Final = 3600.0
WAITING: Final = 10_000
"""Entries that wait for the disk, at most."""
STOP_SECONDS: Final = 5.0

Count = Callable[[int, int], None]
"""Told how many entries were written and how many were lost."""


@dataclass(frozen=True, slots=True)
class Settings:
    """``folder``: where the log is.  ``days``: how long entries are kept; 0: for ever."""

    folder: Path
    days: float = 365.0
    seal: Seal = Seal()


class Journal:
    """An ``Auditor``, and a companion of the server.

    ``heads``: None where none are kept.  ``begin``, ``end``: its first and its last entry.
    """

    def __init__(
        self,
        settings: Settings,
        heads: Callable[[], Heads | None],
        clock: Clock,
        count: Count = lambda _written, _lost: None,
        begin: Audited | None = None,
        end: Audited | None = None,
    ) -> None:
        self._clock, self._folding = clock, Folding()
        self._end = end
        self._cuts: deque[list[Noted]] = deque()
        self._summed = clock.now()
        self._writing = _Writing(settings, heads, clock, count, self._cuts)
        self._ticking: asyncio.Task[None] | None = None
        self.allowed = self._folding.allowed
        """One call that was let in: the folding itself, for each costs as little as can be."""
        if begin is not None:
            self.note(begin)

    def note(self, entry: Audited) -> None:
        self._folding.note(entry, self._clock.wall_ms())

    def start(self) -> None:
        """Begin to write; on the event loop."""
        self._writing.begin()
        self._ticking = asyncio.get_running_loop().create_task(self._tick())

    def drain(self) -> None:
        """What is refused until the end counts too."""

    def busy(self) -> bool:
        return False

    async def stop(self) -> None:
        """Everything that was noted is on disk when this returns, or counted as lost."""
        if self._ticking is None:  # a server that did not come up was called all the same, maybe
            self.start()
        assert self._ticking is not None  # noqa: S101 - start made it
        self._ticking.cancel()
        if self._end is not None:
            self.note(self._end)
        self._cut(last=True)
        await asyncio.get_running_loop().run_in_executor(None, self._writing.finish)

    def troubles(self) -> list[str]:
        return self._writing.troubles()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(CUT_SECONDS)
            self._cut()

    def _cut(self, *, last: bool = False) -> None:
        """Hand over what came: here no other thread touches it."""
        now, at = self._clock.now(), self._clock.wall_ms()
        noted = self._folding.notes(at, all_of_them=last)
        if last or now - self._summed >= SUM_SECONDS:
            noted += self._folding.sums(at)
            self._summed = now
        self._writing.missed(self._folding.lost)
        self._folding.lost = 0
        if noted:
            self._cuts.append(noted)
            self._writing.wake()


class _Writing:
    """The thread."""

    def __init__(
        self,
        settings: Settings,
        heads: Callable[[], Heads | None],
        clock: Clock,
        count: Count,
        cuts: deque[list[Noted]],
    ) -> None:
        self._settings, self._open_heads, self._clock, self._count, self._cuts = settings, heads, clock, count, cuts
        self._heads: Heads | None = None
        self._chain: Chain | None = None
        self._waiting: deque[Noted] = deque()
        self._lock = threading.Lock()
        self._lost, self._since = 0, 0
        self._disk = self._store = ""
        self._anchoring = Anchoring(None, clock)
        self._retained = 0.0
        self._again = 0.0
        self._wake, self._stop = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="fairlead-audit", daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        self._wake.set()

    def missed(self, entries: int) -> None:
        """So many were lost on the way here."""
        if entries:
            with self._lock:
                self._since = self._since or self._clock.wall_ms()
                self._lost += entries
            self._count(0, entries)

    def finish(self) -> None:
        """Write what is left, within ``STOP_SECONDS``."""
        self._stop = True
        self._wake.set()
        self._thread.join(STOP_SECONDS)

    def troubles(self) -> list[str]:
        return [one for one in (self._disk, self._store, self._anchoring.trouble) if one]

    def _run(self) -> None:
        try:
            self._heads = self._open_heads()
        except Exception as error:  # noqa: BLE001 - serving goes on, and says what it lacks
            self._store = f"heads of the audit log are not kept: {error}"
        self._anchoring = Anchoring(self._heads, self._clock)
        while not self._stop:
            self._wake.wait(CUT_SECONDS * 2)
            self._wake.clear()
            self._turn()
        ends = self._clock.now() + STOP_SECONDS / 2
        self._again = 0.0
        self._turn()
        while self._waiting and self._clock.now() < ends:
            self._wake.wait(CUT_SECONDS)
            self._again = 0.0
            self._turn()
        if self._waiting or self._lost:
            log.error("audit entries were lost", extra={"fields": {"entries": len(self._waiting) + self._lost}})
            self._count(0, len(self._waiting))
        if self._chain is not None:
            self._anchoring.wait(STOP_SECONDS / 5)
            self._anchoring.keep(self._chain, now=True)
            self._anchoring.wait(STOP_SECONDS / 5)
            self._chain.close()
        self._anchoring.close()

    def _turn(self) -> None:
        while self._cuts:
            self._waiting.extend(self._cuts.popleft())
        over = len(self._waiting) - WAITING
        if over > 0:
            for _ in range(over):
                self._waiting.pop()
            self.missed(over)
        now = self._clock.now()
        if now < self._again:
            return
        try:
            self._write()
            self._retain(now)
        except OSError as error:
            if not self._disk:
                log.error("audit entries are not kept", extra={"fields": {"error": str(error)}})  # noqa: TRY400 - the sentence is enough
            self._disk = f"audit entries are not kept: {error.strerror or error}"
            self._again = now + AGAIN_SECONDS
            return
        except Exception:
            log.exception("the audit log failed")
            self._disk = "audit entries are not kept: the log has the cause"
            self._again = now + AGAIN_SECONDS
            return
        if self._chain is not None:
            self._anchoring.keep(self._chain)

    def _write(self) -> None:
        chain = self._chain
        if chain is None:
            chain = self._chain = opened(self._settings.folder, self._settings.seal, self._heads)
        if not self._waiting and not (self._lost and self._disk):
            return
        batch = list(self._waiting)
        with self._lock:
            lost, since = self._lost, self._since
        if lost:
            at = self._clock.wall_ms()
            detail: dict[str, str | int | float] = {"lost": lost, "since": stamp(since), "until": stamp(at)}
            batch.append(Noted(Audited(SYSTEM, GAP, outcome="lost", detail=detail), at, lost))
        try:
            chain.append(batch)
        except OSError:
            self._reopen(chain)
            raise
        self._waiting.clear()
        with self._lock:
            self._lost -= lost
            self._since = self._since if self._lost else 0
        self._count(len(batch), 0)
        if self._disk:
            log.info("audit entries are kept again")
        self._disk = ""

    def _reopen(self, chain: Chain) -> None:
        """Look at what is there before the next try: what could not be taken back is a torn end."""
        self._chain = None
        chain.close()

    def _retain(self, now: float) -> None:
        if not self._settings.days or self._chain is None or (self._retained and now < self._retained):
            return
        self._retained = now + RETAIN_SECONDS
        at = self._clock.wall_ms()
        self._chain.retain(self._settings.days, at)
        self._anchoring.beside(lambda: sweep(self._settings, at, self._heads))


def sweep(settings: Settings, now_ms: int, heads: Heads | None) -> None:
    """Drop what is too old from chains that nobody writes to."""
    for name in chains(settings.folder):
        chain = free_one(settings.folder, name, settings.seal, heads)
        if chain is None:
            continue
        try:
            if chain.retain(settings.days, now_ms) and heads is not None:
                with contextlib.suppress(FairleadError):  # who writes to it next keeps its head
                    chain.anchor(heads, now_ms)
        finally:
            chain.close()
