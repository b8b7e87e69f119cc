"""One request at one address: sent, looked at, and what it says of the address told to the balance."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from fairlead.contracts.errors import DeadlineExceeded, FairleadError, InputError, ModelFailed, Overloaded, QueueFull
from fairlead.contracts.types import DataType, Parameters, Signature, Tensors
from fairlead.contracts.upstream import Garbled, Unreached
from fairlead.serve.remote.described import checking
from fairlead.serve.remote.left_out import Addresses, LeftOut
from fairlead.serve.remote.outliers import Saw

_CLOSE: Final = 0.002
"""Seconds before a deadline from which on it counts as over."""


class Misanswered(ModelFailed):
    """The address is at fault, not a row of the batch: halving it would change nothing."""


@dataclass(slots=True, eq=False)
class Asked:
    """A batch. ``deadline``: absolute.  ``outrun``: another address answered first.

    ``tried``: addresses, since the last pause.  ``tries``: what each request was, and the seconds it took.
    """

    inputs: Tensors
    parameters: Parameters
    rows: int
    deadline: float
    outrun: bool = False
    tried: set[int] = field(default_factory=set)
    tries: list[tuple[str, float]] = field(default_factory=list)


class Asking:
    """``freed``: called when a place is free; ``back``: when an address has room for as many as before.

    ``took``: told the seconds of each answer, and of each request that another one outran.
    """

    def __init__(
        self,
        addresses: Addresses,
        left_out: LeftOut,
        freed: Callable[[], None],
        back: Callable[[], None],
        took: Callable[[float, float], None],
    ) -> None:
        self._all, self._left_out = addresses, left_out
        self._freed, self._back, self._took = freed, back, took
        self._datatypes: dict[str, DataType] = {}

    def takes(self, signature: Signature) -> None:
        self._datatypes = {spec.name: spec.datatype for spec in signature.inputs}
        self._check = checking(signature)

    async def once(self, at: int, asked: Asked) -> Tensors:
        """Whoever calls this has a place at the address, which is given back. Raises Unreached beside our errors."""
        member, balance, clock = self._all.members[at], self._all.balance, self._all.clock
        outcome, out, why, started = "cancelled", 0.0, "", clock.now()
        asked.tried.add(at)
        try:
            left = asked.deadline - started
            given = await member.transport.infer(asked.inputs, self._datatypes, asked.parameters, left)
            outputs = self._check(given, asked.rows)
        except (asyncio.CancelledError, DeadlineExceeded, Unreached) as error:
            now = clock.now()
            if now >= asked.deadline - _CLOSE or isinstance(error, DeadlineExceeded):
                outcome, why = "timeout", "it did not answer in time"
                out = balance.timed_out(at, now, now - started) or self._fault(at, now)
                if isinstance(error, Unreached):
                    raise DeadlineExceeded(f"{member.address} did not answer in time: {error}") from None
            elif isinstance(error, Unreached):
                outcome, why = "unreached", str(error)
                out = balance.failed(at, now, error.retry_after) or self._fault(at, now)
            elif asked.outrun:
                why = "another address answered before it"
                out = self._outrun(at, now, now - started)
            else:
                balance.dropped(at)
            raise
        except Garbled as error:
            outcome, why, now = "garbled", str(error), clock.now()
            out = balance.failed(at, now) or self._fault(at, now)
            raise Misanswered(f"{member.address} broke the protocol: {error}") from None
        except FairleadError as error:
            outcome, why = _refused(error), str(error)
            out = self._told(at, outcome)
            raise type(error)(f"{member.address}: {error}", retry_after=error.retry_after) from None
        except BaseException:
            balance.dropped(at)
            outcome = "failed"
            raise
        else:
            outcome, now, why = "ok", clock.now(), "its answers are slow beside those of the others"
            out = self._answered(at, now, now - started)
            return outputs
        finally:
            asked.tries.append((f"try-{len(asked.tries) + 1}", clock.now() - started))
            self._all.meter.upstream_asked(member.address, outcome)
            self._freed()
            if out:
                self._left_out.out(at, out, why)

    def _answered(self, at: int, now: float, seconds: float) -> float:
        if self._all.balance.answered(at, now, seconds):  # there is room for more than the one that was its trial
            self._back()
        self._took(seconds, now)
        return self._outlier(at, now, self._all.outliers.answered(at, now, seconds))

    def _told(self, at: int, outcome: str) -> float:
        """An answer that is an error: the time for which the address is left out for it."""
        balance, now = self._all.balance, self._all.clock.now()
        if outcome == "refused":
            balance.dropped(at)
            return 0.0
        if balance.answered(at, now, None):
            self._back()
        if outcome == "invalid":
            return 0.0
        return self._outlier(at, now, self._all.outliers.failed(at, now, Saw.MODEL))

    def _outrun(self, at: int, now: float, seconds: float) -> float:
        self._took(seconds, now)
        return self._all.balance.timed_out(at, now, seconds)

    def _fault(self, at: int, now: float) -> float:
        return self._outlier(at, now, self._all.outliers.failed(at, now, Saw.FAULT))

    def _outlier(self, at: int, now: float, reason: str) -> float:
        if not reason:
            return 0.0
        return self._all.balance.outlier(at, now, reason)


def _refused(error: FairleadError) -> str:
    """What an answer that is an error counts as."""
    if isinstance(error, QueueFull | Overloaded):
        return "refused"
    return "invalid" if isinstance(error, InputError) else "failed"
