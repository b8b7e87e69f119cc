"""A call on its way: what was asked, by when, and the one outcome it will have."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Callable, Hashable
from typing import Any, Protocol

import numpy as np

from fairlead.contracts.access import Caller
from fairlead.contracts.errors import Cancelled, FairleadError, ModelFailed
from fairlead.contracts.types import Parameters, Reply, Tensors, Timing

NEVER = float("inf")

LANES = ("interactive", "standard", "batch")
"""How urgent a call is, by number."""
STANDARD, BATCH = 1, 2


class Allowance(Protocol):
    """How a caller's limits stand."""

    def lines(self) -> bytes:
        """As header lines of HTTP, each ended by CRLF."""


Ride = tuple[Tensors, Tensors]
"""What a whole batch took and gave, row by row."""


class Dropped(Cancelled):
    """Nobody is to be told: whoever has the connection closes it without an answer. Only faults on purpose do this."""


class Call:
    """One request to one version of one endpoint.

    ``rows``: what it counts for in a batch.  ``group``: calls of different groups never share a batch.
    ``lane``: the place of its priority in ``LANES``.
    ``deadline`` and ``arrived``: monotonic seconds.  ``done`` is called exactly once, on the event loop, with the call.

    The outcome is set once; whoever comes second finds ``finish`` returning False. The slot travels with the call, so
    there is no table of waiting calls to fall out of step.
    """

    __slots__ = (
        "_done",
        "_pending",
        "_pieces",
        "allowance",
        "arrived",
        "behalf",
        "caller",
        "compute",
        "deadline",
        "degraded",
        "group",
        "inputs",
        "lane",
        "metered",
        "offset",
        "outcome",
        "parameters",
        "place",
        "ridden",
        "ride",
        "rows",
        "size",
        "started",
        "steps",
        "waiting",
    )

    def __init__(
        self,
        inputs: Tensors,
        rows: int,
        done: Callable[[Call], None],
        *,
        arrived: float,
        deadline: float = NEVER,
        parameters: Parameters | None = None,
        group: Hashable = (),
        lane: int = STANDARD,
    ) -> None:
        self.inputs = inputs
        self.rows = rows
        self.parameters: Parameters = parameters or {}
        self.arrived = arrived
        self.deadline = deadline
        self.group = group
        self.lane = lane
        self.outcome: Reply | FairleadError | None = None
        self.offset = 0
        """Rows that already left the queue: more than zero only for a call that is split."""
        self.started = 0.0
        """When its first rows went to the model; 0.0 while it waits."""
        self.compute = 0.0
        """Seconds of model time, summed over its batches."""
        self.ridden = 0
        """Rows of the last batch it rode in."""
        self.ride: Ride | None = None
        """The batch it rode in, whole, where it rode in one."""
        self.place = 0
        """Its first row in that batch."""
        self.steps: tuple[tuple[str, float], ...] = ()
        """Seconds of each step, where a graph answers it."""
        self.caller: Caller | None = None
        """Who asks; None where nobody must say, and for what the server asks itself."""
        self.behalf: Caller | None = None
        """For whom the server asks, where it asks itself: a step of a graph, a fallback, another try."""
        self.size = 0
        """Bytes of the request's body, as it came."""
        self.metered = False
        """Whether limits count it: what came from outside is; what the server asks itself, and what was, is not."""
        self.allowance: Allowance | None = None
        """How the caller's limits stand; None where there are none."""
        self.degraded = ""
        """What of its answer is a fallback's, and why; empty for nothing."""
        self.waiting: Future[None] | None = None
        """What a stage before the queue, or a graph, waits for; cancelled when the call ends meanwhile."""
        self._done: Callable[[Call], None] | None = done
        self._pieces: list[tuple[int, Tensors]] | None = None
        self._pending = rows

    @property
    def finished(self) -> bool:
        return self.outcome is not None

    def finish(self, outcome: Reply | FairleadError) -> bool:
        """Set the outcome and tell the edge. False when there already was one."""
        if self.outcome is not None:
            return False
        self.outcome = outcome
        self._pieces = None
        if self.waiting is not None:
            self.waiting.cancel()
            self.waiting = None
        done, self._done = self._done, None  # it holds the call: nothing is left for the garbage collector
        if done is not None:
            done(self)
        return True

    def before(self, then: Callable[[Call], None]) -> None:
        """Call ``then`` once there is an outcome, before whoever made the call hears of it; now where there is one."""
        done = self._done
        if done is None:
            then(self)
            return

        def both(call: Call) -> None:
            then(call)
            done(call)

        self._done = both

    def cancel(self) -> bool:
        """The caller hung up: nothing of this call that has not started will run."""
        return self.finish(Cancelled("the caller closed the connection before the answer was ready"))

    def timing(self) -> Timing:
        return Timing(max(0.0, self.started - self.arrived), self.compute, self.ridden, self.steps)

    def give(self, start: int, rows: int, outputs: Tensors) -> Tensors | None:
        """Take the outputs of rows ``start`` to ``start + rows``; the whole answer once all rows are there."""
        if rows == self.rows:
            return outputs
        pieces = self._pieces = self._pieces if self._pieces is not None else []
        pieces.append((start, outputs))
        self._pending -= rows
        if self._pending > 0:
            return None
        pieces.sort(key=lambda piece: piece[0])
        names = {tuple(sorted(piece[1])) for piece in pieces}
        if len(names) > 1:
            raise ModelFailed(
                f"the model gave other outputs for other batches of one call ({sorted(names)}); send fewer rows at once"
            )
        return {name: _join(name, [piece[1] for piece in pieces]) for name in pieces[0][1]}


def _join(name: str, pieces: list[Tensors]) -> np.ndarray[Any, Any]:
    shapes = {piece[name].shape[1:] for piece in pieces}
    if len(shapes) > 1:
        raise ModelFailed(
            f"output {name!r} changed its shape between the batches that one call was split into ({sorted(shapes)}); "
            "send fewer rows at once"
        )
    return np.concatenate([piece[name] for piece in pieces])
