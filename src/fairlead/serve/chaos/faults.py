"""What may be injected, as people write it, and which batch it hits. Pure: chance and time are passed in."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec
import numpy as np

from fairlead.contracts.errors import Forbidden, InvalidParameter
from fairlead.contracts.types import Signature

KINDS: Final = ("slow", "error", "hang", "nan", "shape", "oom", "drop")
MARK: Final = "injected by fairlead chaos"
"""What every error of an injected fault says."""
FORMS: Final = "slow:2s:10%, error:5%, hang:1%, nan:5%, shape:5%, drop:5%, oom or oom:1%"
LONGEST: Final = 3600.0
"""Seconds that a batch may be slowed, and that a lease may last."""
_TIME: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h)", re.ASCII)
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
MOST: Final = 16
"""Faults in one injection."""


@dataclass(frozen=True, slots=True)
class Fault:
    """``share``: of batches, 0 to 1; 0 for one batch and no more.  ``seconds``: how much slower."""

    kind: str
    share: float
    seconds: float = 0.0


class Injection(msgspec.Struct, frozen=True):
    """What one command injects. ``id``: the command's.  ``ends``: on the monotonic clock of this machine."""

    id: str
    inject: list[str]
    ends: float
    seed: int = 0


class Chaos(Protocol):
    """Injects into an endpoint, in every worker."""

    def active(self, endpoint: str) -> str:
        """The id of what is injected now; empty for nothing."""

    async def inject(self, endpoint: str, injection: Injection) -> None:
        """Begin, or go on for longer. Raises Forbidden, NotFound, InvalidParameter or Unavailable."""

    async def calm(self, endpoint: str) -> None:
        """Stop whatever is injected. Raises Forbidden or NotFound."""


class Denied:
    """The ``Chaos`` of a server that does not allow any."""

    def active(self, endpoint: str) -> str:  # noqa: ARG002 - the contract
        return ""

    async def inject(self, endpoint: str, injection: Injection) -> None:  # noqa: ARG002 - the contract
        raise Forbidden(f"no fault may be injected into {endpoint!r}: the server was started without --chaos")

    async def calm(self, endpoint: str) -> None:
        raise Forbidden(f"nothing is injected into {endpoint!r}: the server was started without --chaos")


def parse(text: str) -> Fault:
    """One fault: ``KIND:SHARE``, ``slow:TIME:SHARE``, or ``oom``. Raises InvalidParameter."""
    kind, *rest = text.strip().split(":")
    wrong = InvalidParameter(f"fault {text[:80]!r} is none; expected {FORMS}")
    if kind not in KINDS or len(rest) != (2 if kind == "slow" else 0 if rest == [] and kind == "oom" else 1):
        raise wrong
    if not rest:
        return Fault(kind, 0.0)
    seconds = 0.0
    if kind == "slow":
        found = _TIME.fullmatch(rest[0])
        if found is None:
            raise wrong
        seconds = float(found[1]) * _UNITS[found[2]]
        if not 0 < seconds <= LONGEST:
            raise InvalidParameter(f"fault {text[:80]!r}: a time above 0 and up to {LONGEST:g} s is expected")
    try:
        share = float(rest[-1].removesuffix("%")) / 100 if rest[-1].endswith("%") else -1.0
    except ValueError:
        raise wrong from None
    if not 0 < share <= 1:
        raise InvalidParameter(f"fault {text[:80]!r}: a share above 0% and up to 100% is expected")
    return Fault(kind, share, seconds)


def parsed(texts: Sequence[str]) -> tuple[Fault, ...]:
    """All of them. Raises InvalidParameter, also for shares that are more than all batches together."""
    if not 0 < len(texts) <= MOST:
        raise InvalidParameter(f"{len(texts)} faults; expected 1 to {MOST}, as {FORMS}")
    found = tuple(map(parse, texts))
    if (total := sum(fault.share for fault in found)) > 1 + 1e-9:
        raise InvalidParameter(
            f"the shares of the faults are {total:.0%} together; a batch has one fault: 100% at most"
        )
    return found


def check(faults: Sequence[Fault], signature: Signature, kind: str) -> None:
    """Can a model of this signature, run by an executor of this kind, have them? Raises InvalidParameter."""
    for fault in faults:
        if fault.kind == "oom" and kind != "process":
            raise InvalidParameter(
                f"oom kills a process of the model, and this one runs as {kind!r}: serve it with executor: process"
            )
        if fault.kind == "nan" and not any(spec.datatype.is_float for spec in signature.outputs):
            raise InvalidParameter("nan needs an output of floats, and this model has none")
        if fault.kind == "shape" and not signature.batched:
            raise InvalidParameter("shape changes the rows of an answer, and this model has no rows")


class Draw:
    """Which fault the next batch has. ``chance``: numbers of [0, 1)."""

    def __init__(self, faults: Sequence[Fault], chance: Callable[[], float]) -> None:
        self._once = [fault for fault in faults if not fault.share]
        self._shared = [fault for fault in faults if fault.share]
        self._chance = chance

    def next(self) -> Fault | None:
        """At most one: the shares are those of batches that have just this fault."""
        if self._once:
            return self._once.pop()
        left = self._chance()
        for fault in self._shared:
            if left < fault.share:
                return fault
            left -= fault.share
        return None


def not_numbers(outputs: dict[str, Any]) -> dict[str, Any]:
    """The same shapes, every float NaN."""
    return {name: np.full_like(array, np.nan) if array.dtype.kind == "f" else array for name, array in outputs.items()}


def one_row_more(outputs: dict[str, Any]) -> dict[str, Any]:
    """The same, with the last row twice."""
    return {name: np.concatenate([array, array[-1:]]) for name, array in outputs.items()}
