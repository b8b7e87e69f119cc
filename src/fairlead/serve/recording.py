"""Keeps what was asked and answered, off the request path.

The event loop appends to a ``Tape`` (lists of plain values: nothing that the garbage collector walks). A tape is cut
when it is long enough, and a few times a second; one writer thread makes ``Columns`` of the cuts, and each recorder has
a thread that hands them to it (``handover``). Serving never waits for any of it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import secrets
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from fairlead.contracts.errors import FairleadError
from fairlead.contracts.events import Columns, Recorder
from fairlead.contracts.sink import Sink
from fairlead.contracts.types import Reply, Tensors
from fairlead.kit.clock import Clock
from fairlead.serve.call import Call
from fairlead.serve.columns import Keeping, columns_of
from fairlead.serve.handover import FLUSH_SECONDS, QUEUE_BYTES, QUEUE_CALLS, Handover

log = logging.getLogger("fairlead.serve")

CUT_CALLS: Final = 1024
CUT_BYTES: Final = 16 * 2**20
"""A tape is cut when it has so much: small pieces keep the writer from holding the interpreter for long."""

CUT_SECONDS: Final = 0.25
"""A killed process loses at most this, ``FLUSH_SECONDS``, and what the recorders take to write."""

STOP_SECONDS: Final = 10.0
"""Time for the recorders to take what is left, at the end."""

_NONE: Final[Mapping[bytes, bytes]] = {}
_WIDTH: Final = 7
"""Values of a call on a tape."""

Pair = tuple[Tensors, float]
"""What the champion answered to the call that a shadow answered too, and its seconds."""


@dataclass(slots=True)
class Cut:
    """Some calls of one tape. ``ended``: the clock and the wall clock when it was cut.

    ``flat``: of each call in turn its id, arrival, seconds, error code (empty for a reply), its batch (None where there
    is no reply), its first row in that, and its rows. Calls that rode together share one batch, so that little is held.
    """

    tape: Tape
    ended: tuple[float, int]
    size: int
    flat: list[Any] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    units: list[str] = field(default_factory=list)
    degraded: list[str] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)

    @property
    def calls(self) -> int:
        return len(self.flat) // _WIDTH


class Tape:
    """Records the calls of one version in one arm. Only the event loop touches it."""

    def __init__(
        self,
        recording: Recording,
        endpoint: str,
        version: str,
        arm: str,
        propensity: float,
        keeping: Keeping,
        batched: bool,
    ) -> None:
        self.endpoint = endpoint
        self.version = version
        self.arm = arm
        self.propensity = propensity
        self.keeping = keeping
        self.batched = batched
        self._recording = recording
        self._sample = keeping.sample
        kind, _, name = keeping.key.partition(":")
        self._key = name.lower().encode() if kind == "header" else b""
        self._prefix, self._serial = recording.prefix, recording.serial
        self._begin()

    def add(
        self,
        call: Call,
        seconds: float,
        headers: Mapping[bytes, bytes] = _NONE,
        unit: str = "",
        size: int = 0,
        pair: Pair | None = None,
    ) -> str:
        """Keep a call that has its outcome, and return its prediction id. ``size``: bytes of what it holds."""
        identity = f"{self._prefix}{next(self._serial):x}"
        if self._sample < 1.0 and random.random() >= self._sample:  # noqa: S311 - no secret
            return identity
        outcome, cut = call.outcome, self._cut
        if type(outcome) is Reply:
            if call.ride is not None and self._sample == 1.0:
                self._put((identity, call.arrived, seconds, "", call.ride, call.place, call.rows))
            else:  # a batch would be held whole for one call of it
                self._put((identity, call.arrived, seconds, "", (call.inputs, outcome.outputs), 0, call.rows))
            if outcome.degraded:
                _late(cut.degraded, cut.calls, outcome.degraded)
            if pair is not None:
                cut.pairs.append(pair)
        else:
            code = outcome.code if isinstance(outcome, FairleadError) else "internal"
            self._put((identity, call.arrived, seconds, code, None, 0, 0))
        if unit:
            _late(cut.units, cut.calls, unit)
        if self._key in headers:
            _late(cut.keys, cut.calls, headers[self._key].decode("utf-8", "replace"))
        cut.size += size
        if len(cut.flat) >= self._longest or cut.size >= CUT_BYTES:
            self._recording.cut()
        return identity

    def cut(self) -> Cut | None:
        """What there is, and begin anew."""
        if not self._cut.flat:
            return None
        done = self._cut
        self._begin()
        return done

    def _begin(self) -> None:
        self._cut = Cut(self, (0.0, 0), 0)
        self._put = self._cut.flat.extend
        self._longest = CUT_CALLS * _WIDTH


def _late(column: list[str], length: int, value: str) -> None:
    """Put ``value`` at the end of a column that most calls leave empty."""
    column.extend([""] * (length - 1 - len(column)))
    column.append(value)


class Recording:
    """The tapes of one process and the thread behind them. ``recorders``: by name, in order.

    ``keeping``: what is kept of an endpoint.
    """

    def __init__(
        self,
        recorders: Callable[[], Mapping[str, Recorder]],
        sink: Sink,
        clock: Clock,
        keeping: Callable[[str], Keeping] = lambda _: Keeping(),
    ) -> None:
        self.prefix = f"{secrets.token_hex(6)}-"
        self.serial = itertools.count()
        self._open = recorders
        self._sink = sink
        self._clock = clock
        self._keeping = keeping
        self._tapes: set[Tape] = set()
        self._cuts: deque[list[Cut]] = deque()
        """Of one moment together, all the way: what is handed over by halves looks like calls that went astray."""
        self._lock = threading.Lock()
        self._uncounted = self._unsized = 0
        """Calls and bytes that wait for the writer."""
        self._handovers: list[Handover] = []
        self._trouble = ""
        self._wake = threading.Event()
        self._stop = False
        self._thread = threading.Thread(target=self._write, name="fairlead-recording", daemon=True)
        self._ticking: asyncio.Task[None] | None = None

    def tape(
        self, endpoint: str, version: str, arm: str = "champion", propensity: float = 1.0, *, batched: bool = True
    ) -> Tape:
        """A tape for a version; may be made in any thread before the version answers."""
        tape = Tape(self, endpoint, version, arm, propensity, self._keeping(endpoint), batched)
        self._tapes.add(tape)
        return tape

    def retire(self, tape: Tape) -> None:
        """Nothing more comes on this tape."""
        self.cut()
        self._tapes.discard(tape)

    def cut(self) -> None:
        """Hand over what is on all tapes, at once: whoever compares two versions sees both up to the same moment."""
        cuts = [cut for tape in list(self._tapes) if (cut := tape.cut()) is not None]
        if cuts:
            self._take(cuts)

    def _take(self, cuts: list[Cut]) -> None:
        calls, size = _sum(cuts)
        if self._uncounted >= QUEUE_CALLS or self._unsized >= QUEUE_BYTES:  # the writer does not keep up
            self._sink.events("writer", 0, calls)
            return
        ended = (self._clock.now(), self._clock.wall_ms())
        for cut in cuts:
            cut.ended = ended
        with self._lock:
            self._uncounted += calls
            self._unsized += size
        self._cuts.append(cuts)
        self._wake.set()

    def troubles(self) -> list[str]:
        """What does not work now, a sentence each."""
        by = [("the writer", self._trouble), *((one.name, one.trouble) for one in self._handovers)]
        return [f"events are not kept by {name}: {trouble}" for name, trouble in by if trouble]

    def start(self) -> None:
        """Begin to write; on the event loop."""
        self._thread.start()
        self._ticking = asyncio.get_running_loop().create_task(self._tick())

    def drain(self) -> None:
        """What is answered until the end counts too."""

    def busy(self) -> bool:
        return False

    async def stop(self) -> None:
        """Everything that was answered is with the recorders when this returns, or counted as lost."""
        if self._ticking is None:  # calls may have been answered before every endpoint was live
            self.start()
        assert self._ticking is not None  # noqa: S101 - start made it
        self._ticking.cancel()
        self.cut()
        self._stop = True
        self._wake.set()
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join, STOP_SECONDS * 2)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(CUT_SECONDS)
            self.cut()

    def _write(self) -> None:
        try:
            recorders = self._open()
        except Exception as error:  # serving goes on, and says what it does not keep
            log.exception("nothing is recorded")
            self._trouble = str(error) or type(error).__name__
            recorders = {}
        self._handovers = [Handover(name, one, self._sink, self._clock) for name, one in recorders.items()]
        for one in self._handovers:
            one.start()
        while not self._stop:
            self._wake.wait(FLUSH_SECONDS)
            self._wake.clear()
            self._fold()
            for one in self._handovers:
                one.look()
        self._fold()
        ends = self._clock.now() + STOP_SECONDS
        for one in self._handovers:
            one.end(ends)
        for one in self._handovers:
            one.stop()

    def _fold(self) -> None:
        while self._cuts:
            cuts = self._cuts.popleft()
            calls, size = _sum(cuts)
            with self._lock:
                self._uncounted -= calls
                self._unsized -= size
            if self._trouble:
                self._sink.events("writer", 0, calls)
                continue
            items = [(columns, cut.size) for cut in cuts if (columns := self._columns(cut)) is not None]
            for one in self._handovers:
                one.put(items)

    def _columns(self, cut: Cut) -> Columns | None:
        try:
            return _columns(cut)
        except Exception:
            log.exception("events were lost", extra={"fields": {"calls": cut.calls}})
            self._sink.events("writer", 0, cut.calls)
            return None


def _sum(cuts: Sequence[Cut]) -> tuple[int, int]:
    return sum(cut.calls for cut in cuts), sum(cut.size for cut in cuts)


def _columns(cut: Cut) -> Columns:
    now, wall_ms = cut.ended
    tape, calls = cut.tape, cut.calls
    ids, arrived, seconds, codes, rides, places, rows = (cut.flat[at::_WIDTH] for at in range(_WIDTH))
    columns = Columns(
        endpoint=tape.endpoint,
        version=tape.version,
        arm=tape.arm,
        ids=ids,
        at_ms=(wall_ms - (now - np.array(arrived)) * 1000).astype(np.int64),
        seconds=np.array(seconds),
        code=codes,
        rows=np.array(rows, np.int64),
        features={},
        outputs={},
        propensity=tape.propensity,
        unit=_full(cut.units, calls),
        degraded=_full(cut.degraded, calls),
        weight=1.0 / tape.keeping.sample,
    )
    keys = _full(cut.keys, calls)
    return columns_of(columns, rides, places, cut.pairs, keys, tape.keeping, tape.batched)


def _full(column: Sequence[str], length: int) -> Sequence[str]:
    return [*column, *[""] * (length - len(column))] if column else ()
