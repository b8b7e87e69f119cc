"""Keeps the heads of a process's chain, in a thread of its own: a state store that hangs holds up no entry."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from fairlead.audit.chain import Chain
from fairlead.audit.heads import Head, Heads
from fairlead.contracts.errors import FairleadError
from fairlead.kit.clock import Clock
from fairlead.kit.threads import Threads

log = logging.getLogger("fairlead.audit")

SECONDS: Final = 1.0
"""Between two heads that are kept."""
LATE: Final = 5.0
"""Seconds without an answer of the store that are told of."""


class Anchoring:
    """All but what runs in the thread is for one thread, that of the writer. ``heads``: None where none are kept."""

    def __init__(self, heads: Heads | None, clock: Clock) -> None:
        self._heads, self._clock = heads, clock
        self._thread = Threads(1, "fairlead-audit-heads")
        self._free = threading.Event()
        self._free.set()
        self._at, self._kept = clock.now(), ("", 0)
        self._trouble = ""

    @property
    def trouble(self) -> str:
        """Why heads are not kept; empty where they are."""
        late = self._clock.now() - self._at
        if not self._free.is_set() and late > LATE:
            return f"heads of the audit log are not kept: the state store has not answered for {late:.0f} s"
        return self._trouble

    def keep(self, chain: Chain, *, now: bool = False) -> None:
        """Begin to keep its head, where that is due and another is not under way."""
        if self._heads is None or (chain.name, chain.seq) == self._kept or not self._free.is_set():
            return
        if now or self._clock.now() - self._at >= SECONDS:
            self._at = self._clock.now()
            self._begin(self._heads, chain, chain.head(self._clock.wall_ms()))

    def beside(self, work: Callable[[], None]) -> None:
        """Do what else asks the store, after what is under way."""
        self._thread.submit(work)

    def wait(self, seconds: float) -> None:
        """Until the head that is under way is kept, but not for longer."""
        self._free.wait(seconds)

    def close(self) -> None:
        self._thread.close()

    def _begin(self, heads: Heads, chain: Chain, head: Head) -> None:
        self._free.clear()

        def work() -> None:
            try:
                self._trouble = chain.keep(heads, head)
                self._kept = head.chain, head.seq
            except FairleadError as error:
                self._trouble = f"heads of the audit log are not kept: {error}"
            except Exception as error:
                log.exception("heads of the audit log are not kept")
                self._trouble = f"heads of the audit log are not kept: {type(error).__name__}"
            finally:
                self._free.set()

        self._thread.submit(work)
