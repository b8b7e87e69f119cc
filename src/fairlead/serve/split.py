"""Which version a call of an endpoint gets while several share its traffic, and which one answers it too, unseen.

A call's unit (the value of a header or a field, else chance) is hashed with the split's salt to a point between 0 and
100: the same unit gets the same version for as long as the split stands, and a share that grows keeps whom it had.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from fairlead.contracts.errors import UsageError
from fairlead.contracts.plans import TrafficSplit
from fairlead.contracts.types import Reply, Tensors
from fairlead.kit.clock import Clock
from fairlead.serve.call import BATCH, Call
from fairlead.serve.endpoint import Live
from fairlead.serve.recording import Recording, Tape

CHAMPION: Final = "champion"
"""The arm that everybody compares with."""

SHADOW_CALLS: Final = 64
"""Calls that a shadow answers at once; more are not shadowed: the shadow is shed first."""

SHADOW_SECONDS: Final = 5.0
"""Time for a shadow to answer."""


@dataclass(frozen=True, slots=True)
class Shadow:
    """``percent`` of the calls are answered by ``live`` too; what it says goes to ``tape`` only."""

    live: Live
    percent: float
    tape: Tape


class Split:
    """A ``TrafficSplit`` over live versions. ``lives``: version to live, all that have a weight."""

    def __init__(self, plan: TrafficSplit, lives: Mapping[str, Live], shadow: Shadow | None, clock: Clock) -> None:
        self.plan = plan
        self._edges = _edges(plan, lives)
        self._shadow = shadow
        self._clock = clock
        self._salt = plan.salt.encode()
        kind, _, self._name = plan.sticky.partition(":")
        self._header = self._name.lower().encode() if kind == "header" else None
        self._field = self._name if kind == "field" else None
        self._flying = 0
        self.shed = 0

    def choose(self, headers: Mapping[bytes, bytes], inputs: Tensors) -> tuple[Live, str]:
        """The version for this call, and the unit that decided (empty: chance)."""
        unit = self._unit(headers, inputs)
        point = self._point(unit) if unit else random.random() * 100  # noqa: S311 - no secret
        for edge, live in self._edges:
            if point < edge:
                return live, unit.decode("utf-8", "replace")
        return self._edges[-1][1], unit.decode("utf-8", "replace")

    def after(self, call: Call, seconds: float, size: int = 0) -> None:
        """The caller has the answer: let the shadow answer too, if it is its turn and it keeps up.

        ``size``: bytes of the body.
        """
        shadow, reply = self._shadow, call.outcome
        if shadow is None or type(reply) is not Reply or random.random() * 100 >= shadow.percent:  # noqa: S311
            return
        if reply.degraded:  # a fallback's: nothing to be compared with
            return
        if self._flying >= SHADOW_CALLS:
            self.shed += 1
            return
        self._flying += 1
        began = self._clock.now()

        def done(shadowed: Call) -> None:
            self._flying -= 1
            shadow.tape.add(shadowed, self._clock.now() - began, size=size, pair=(reply.outputs, seconds))

        ends = began + SHADOW_SECONDS
        shadowed = shadow.live.call(call.inputs, call.parameters, done, arrived=began, deadline=ends, lane=BATCH)
        shadow.live.straight(shadowed)  # what it says itself, or nothing

    def close(self, recording: Recording) -> None:
        """Another split takes over: what the shadow still answers is not kept."""
        if self._shadow is not None:
            recording.retire(self._shadow.tape)

    def _unit(self, headers: Mapping[bytes, bytes], inputs: Tensors) -> bytes:
        if self._header is not None:
            return headers.get(self._header, b"")
        if self._field is not None and self._field in inputs and inputs[self._field].size:
            return str(inputs[self._field].flat[0]).encode()
        return b""

    def _point(self, unit: bytes) -> float:
        digest = hashlib.blake2b(unit, key=self._salt[:64], digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64 * 100


def of_arm(split: TrafficSplit, arm: str) -> TrafficSplit:
    """What a server of one arm does of a split: a route in front shares the calls out, so all that reach it are its
    arm's. The champion's has the shadow beside it; an arm without a share answers as most do. ``arm`` empty: all."""
    if not arm:
        return split
    leading = max(split.shares, key=lambda share: share.weight)
    mine = next((one for one in split.shares if one.arm == arm), leading)
    shadows = [replace(one, weight=0.0) for one in split.shares if one.shadow > 0.0 and one is not mine]
    beside = shadows if arm == CHAMPION else []
    return replace(split, shares=(replace(mine, weight=100.0, shadow=0.0), *beside))


def _edges(plan: TrafficSplit, lives: Mapping[str, Live]) -> Sequence[tuple[float, Live]]:
    """The candidate's share begins at 0, so that whoever has it keeps it when it grows."""
    shares = sorted((share for share in plan.shares if share.weight > 0), key=lambda share: share.arm == CHAMPION)
    total = sum(share.weight for share in shares)
    if not shares or abs(total - 100) > 1e-6:
        raise UsageError(f"the shares of {plan.endpoint!r} add up to {total:g} percent; expected 100")
    edges, at = [], 0.0
    for share in shares:
        at += share.weight
        edges.append((at, lives[share.version]))
    return edges
