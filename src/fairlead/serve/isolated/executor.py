"""Runs batches in processes, on the event loop and without a thread.

A batch crosses once and is answered once. What a process costs its neighbours when it dies or hangs:

- Its batch is run again, whole, by the next process that is free. When that one dies too, its calls are run one by one,
  and the one that is alone with a third process when it dies fails with ModelFailed. (``predict`` is pure, so running
  it again is safe.)
- Another process is started in its place: at once, and later each time when they keep dying (``Restarts``). While none
  answers, calls wait; when the next start is further off than ``PATIENT`` they get Unavailable that says when.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from fairlead.contracts.errors import FairleadError, ModelFailed, Unavailable
from fairlead.contracts.types import Tensors
from fairlead.kit.clock import Clock
from fairlead.serve import messages as workers
from fairlead.serve.batcher import Part
from fairlead.serve.executor import Done, Result, check_rows, failure, split, stack
from fairlead.serve.isolated.messages import Batch, Message, Raised
from fairlead.serve.isolated.seats import Seat, Seats

PATIENT: Final = 2.0
"""Seconds that calls wait for a process to be started; with longer to wait they are refused."""


class Trace(Exception):
    """The cause of an error, as the process that had it wrote it."""

    def __str__(self) -> str:
        return f"in the model's process:\n\n{self.args[0]}"


@dataclass(slots=True)
class Job:
    """What was submitted. ``open``: pieces of it that are not answered."""

    done: Done
    open: int = 1
    results: list[Result] = field(default_factory=list)


@dataclass(slots=True)
class Piece:
    """Parts that run together. ``deaths``: of processes that ran them."""

    job: Job
    parts: list[Part]
    deaths: int = 0
    inputs: Tensors = field(default_factory=dict)
    started: float = 0.0


def after_death(piece: Piece) -> list[Piece]:
    """What is run of a piece whose process died: all of it once more, then each part alone, then nothing."""
    job, deaths = piece.job, piece.deaths + 1
    if deaths == 1:
        return [Piece(job, piece.parts, deaths)]
    if len(piece.parts) > 1:
        return [Piece(job, [part], deaths - 1) for part in piece.parts]
    return []


class ProcessExecutor:
    """``hang``: seconds after which a process that does not answer is killed.  ``batched`` False: each part is one
    whole call.
    """

    kind = "process"

    def __init__(
        self, name: str, seats: Seats, *, batched: bool, hang: float, clock: Clock, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._name = name
        self._seats = seats
        self._batched = batched
        self._hang = hang
        self._clock = clock
        self._loop = loop
        self._waiting: deque[Piece] = deque()
        self._running: dict[int, tuple[Piece, asyncio.TimerHandle]] = {}
        self._idle = deque(seat for seat in seats.all if seat.process is not None)
        self._closed = False
        self.changed: Callable[[], None] = lambda: None
        """Called when a process came, went or could not be started."""
        seats.attach(self)

    def submit(self, parts: list[Part], done: Done) -> None:
        self._waiting.append(Piece(Job(done), parts))
        self._next()

    def outgrown(self, seconds: float) -> None:
        """A process is where slow batches belong."""

    def want(self, count: int) -> None:
        """Run in so many processes: more are started, and those that are too many end when they are free."""
        for seat in self._seats.want(count):
            if seat in self._idle:
                self._idle.remove(seat)
                self._seats.release(seat)
        self.changed()

    @property
    def ready(self) -> int:
        """Processes that answer."""
        return 0 if self._closed else self._seats.ready

    @property
    def resident(self) -> int:
        """Bytes of memory that they have together."""
        return self._seats.resident

    def away(self) -> float:
        """Seconds until a process is started, where none is there or comes."""
        return self._seats.away()

    def crash(self) -> None:
        """Kill one process, as the system does when memory runs out: one that runs a batch where there is any."""
        busy = [seat for seat in self._seats.all if seat.index in self._running]
        for seat in [*busy, *self._seats.all]:
            if seat.process is not None:
                seat.process.kill()
                return

    def report(self) -> None:
        self._seats.report()

    def troubles(self) -> list[str]:
        return self._seats.troubles()

    def close(self) -> None:
        self._closed = True
        self._seats.close()
        error = Unavailable(f"this version of {self._name!r} was unloaded; try again", retry_after=1)
        for piece, timer in self._running.values():
            timer.cancel()
            self._waiting.append(piece)
        self._running.clear()
        self._refuse(error)
        self.changed()

    # From the seats.

    def taken(self, seat: Seat) -> None:
        if seat.process is not None:
            self._idle.append(seat)
        self._next()
        self.changed()

    def received(self, seat: Seat, message: Message, outputs: Tensors) -> None:
        piece, timer = self._running.pop(seat.index)
        timer.cancel()
        if seat.wanted:
            self._idle.append(seat)
        else:
            self._seats.release(seat)
        self._settle(piece, message, outputs)
        self._next()

    def lost(self, seat: Seat, why: str) -> None:
        if seat in self._idle:
            self._idle.remove(seat)
        if seat.index in self._running:
            piece, timer = self._running.pop(seat.index)
            timer.cancel()
            if pieces := after_death(piece):
                self._again(piece, pieces)
            else:
                error = ModelFailed(
                    f"the process of the model {why} on this call, and when it was tried again too; the server's log "
                    "has its last words"
                )
                self._failed(piece, error)
        self._next()
        self.changed()

    def _next(self) -> None:
        """Give what waits to processes that are free."""
        while self._waiting and self._idle and not self._closed:
            piece = self._waiting.popleft()
            now = self._clock.now()
            piece.parts = [part for part in piece.parts if not part.call.finished and part.call.deadline > now]
            if piece.parts:
                self._run(self._idle.popleft(), piece, now)
            else:
                self._end(piece, [])
        if self._waiting and (away := self._seats.away()) > PATIENT:
            self._refuse(
                Unavailable(
                    f"the processes of {self._name!r} keep ending; the next one starts in {away:.0f} seconds",
                    retry_after=max(1.0, away),
                )
            )

    def _run(self, seat: Seat, piece: Piece, now: float) -> None:
        assert seat.process is not None  # noqa: S101 - an idle seat has one
        piece.started = now
        try:
            piece.inputs = stack(piece.parts)
            seat.process.send(Batch(dict(piece.parts[0].call.parameters)), piece.inputs)
        except Exception as error:  # noqa: BLE001 - arrays that do not fit together, or cannot cross
            self._idle.append(seat)
            self._failed(piece, failure(error))
            return
        self._running[seat.index] = (piece, self._loop.call_later(self._hang, self._seats.hung, seat, self._hang))

    def _settle(self, piece: Piece, message: Message, outputs: Tensors) -> None:
        if isinstance(message, Raised):
            error = workers.raised(workers.Failed(message.code, message.message))
            error.__cause__ = Trace(message.trace)
            self._failed(piece, error)
            return
        rows = sum(part.rows for part in piece.parts)
        try:
            if self._batched:
                check_rows(outputs, rows)
        except FairleadError as error:
            self._failed(piece, error)
            return
        self._end(piece, split(piece.parts, (piece.inputs, outputs), self._clock.now() - piece.started, rows))

    def _failed(self, piece: Piece, error: FairleadError) -> None:
        """By halves, until only the parts that fail alone fail."""
        parts = piece.parts
        if len(parts) > 1:
            middle = len(parts) // 2
            self._again(piece, [Piece(piece.job, half, piece.deaths) for half in (parts[:middle], parts[middle:])])
            return
        seconds = self._clock.now() - piece.started
        self._end(piece, [(part, error, seconds, part.rows, None, 0) for part in parts])

    def _refuse(self, error: FairleadError) -> None:
        waiting, self._waiting = list(self._waiting), deque()
        for piece in waiting:
            self._end(piece, [(part, error, 0.0, part.rows, None, 0) for part in piece.parts])

    def _again(self, piece: Piece, pieces: list[Piece]) -> None:
        piece.job.open += len(pieces) - 1
        self._waiting.extendleft(reversed(pieces))

    def _end(self, piece: Piece, results: list[Result]) -> None:
        job = piece.job
        job.results += results
        job.open -= 1
        if not job.open:
            job.done(job.results)
