"""Hands what was recorded to one recorder, in a thread of its own: one that does not answer holds up no other.

A recorder that fails is given the same again; what does not fit into the bounded queue is dropped, oldest first, and
counted. What is with the recorder just now is not dropped, whatever comes behind it. What was cut at one moment is
handed over, or dropped, together: halves of it would look like calls that went astray to whoever compares versions.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from fairlead.contracts.events import Columns, Recorder
from fairlead.contracts.sink import Sink
from fairlead.kit.clock import Clock

log = logging.getLogger("fairlead.serve")

FLUSH_SECONDS: Final = 0.5
"""Seconds between two times that a recorder is given something."""

QUEUE_CALLS: Final = 500_000
QUEUE_BYTES: Final = 512 * 2**20
"""What waits for one recorder, at most."""

SILENT: Final = 5.0
"""Seconds without an answer of a recorder after which that is a trouble."""

GRACE: Final = 2.0
"""Seconds beyond the last moment for a recorder that is being closed."""

Item = tuple[Columns, int]
"""With the bytes that it holds."""

_Moment = Sequence[Item]
"""What all tapes had when they were cut together."""


class Handover:
    """``name``: of the recorder."""

    def __init__(self, name: str, recorder: Recorder, sink: Sink, clock: Clock) -> None:
        self.name = name
        self._recorder, self._sink, self._clock = recorder, sink, clock
        self._waiting: deque[_Moment] = deque()
        self._with_it: list[_Moment] = []
        self._calls = self._bytes = 0
        self._since = self._ends = 0.0
        self._trouble = ""
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"fairlead-{name}", daemon=True)

    @property
    def trouble(self) -> str:
        """Why it does not take what it is given; empty while it does."""
        since = self._since
        if since and self._clock.now() - since > SILENT:
            return f"no answer for {self._clock.now() - since:.0f} seconds"
        return self._trouble

    def put(self, moment: Sequence[Item]) -> None:
        """What was cut together; from the thread that makes it."""
        with self._lock:
            self._waiting.append(moment)
            calls, size = _sum(moment)
            self._calls += calls
            self._bytes += size
            while len(self._waiting) > 1 and (self._calls > QUEUE_CALLS or self._bytes > QUEUE_BYTES):
                self._drop()

    def start(self) -> None:
        self._thread.start()

    def end(self, ends: float) -> None:
        """Nothing more is put: what is left is handed over until then, and the recorder closed."""
        self._ends = ends
        self._ending.set()

    def stop(self) -> None:
        """Wait for that, as long as it may take; what is left is counted as lost. ``end`` comes first."""
        while self._thread.is_alive() and self._clock.now() < self._ends + GRACE:
            self._thread.join(0.05)
        if self._thread.is_alive():
            log.error("the recorder does not answer", extra={"fields": {"by": self.name}})
        self._lose()

    def flush(self) -> bool:
        """Hand all over, at once. False when the recorder did not take it: it is kept."""
        with self._lock:
            self._with_it = [*self._waiting]
            self._waiting.clear()
        taken = self._hand([columns for moment in self._with_it for columns, _ in moment])
        with self._lock:
            if taken:
                calls, size = _sum(item for moment in self._with_it for item in moment)
                self._calls -= calls
                self._bytes -= size
                self._sink.events(self.name, calls, 0)
            else:
                self._waiting.extendleft(reversed(self._with_it))
            self._with_it = []
        return taken

    def look(self) -> None:
        """Say to the metrics whether it is well."""
        self._sink.degraded(self.name, bool(self.trouble))

    def _run(self) -> None:
        while not self._ending.wait(FLUSH_SECONDS):
            self.flush()
        while not self.flush() and self._clock.now() < self._ends:
            time.sleep(FLUSH_SECONDS)
        self._close()

    def _hand(self, batch: list[Columns]) -> bool:
        self._since = self._clock.now()
        try:
            self._recorder.record(batch)
        except Exception as error:  # noqa: BLE001 - serving goes on whatever a recorder does
            if not self._trouble:
                log.warning("events are not kept", extra={"fields": {"by": self.name, "error": str(error)}})
            self._trouble = str(error) or type(error).__name__
            return False
        finally:
            self._since = 0.0
        if self._trouble and not self._recorder.trouble:
            log.info("events are kept again", extra={"fields": {"by": self.name}})
        self._trouble = self._recorder.trouble
        return True

    def _close(self) -> None:
        try:
            self._recorder.close()
        except Exception as error:  # noqa: BLE001 - as above
            log.error("the last events were lost", extra={"fields": {"by": self.name, "error": str(error)}})  # noqa: TRY400 - the sentence is enough

    def _lose(self) -> None:
        """Drop what is left, and say so."""
        with self._lock:
            if self._calls:
                log.error("events were lost", extra={"fields": {"by": self.name, "calls": self._calls}})
            self._waiting.extendleft(reversed(self._with_it))
            self._with_it = []
            while self._waiting:
                self._drop()

    def _drop(self) -> None:
        calls, size = _sum(self._waiting.popleft())
        self._calls -= calls
        self._bytes -= size
        self._sink.events(self.name, 0, calls)


def _sum(items: Iterable[Item]) -> tuple[int, int]:
    calls = size = 0
    for columns, held in items:
        calls += len(columns)
        size += held
    return calls, size
