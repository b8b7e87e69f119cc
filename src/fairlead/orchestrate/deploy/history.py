"""The last good deployments of a name: what was asked for then, so that one can go back to it. Pure.

Bodies are kept once however many deployments had them; what none has any more is let go.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from fairlead.contracts.errors import UsageError
from fairlead.contracts.target import Body, Ref

KEPT: Final = 10
"""Deployments that are kept, as a cluster keeps them of its own Deployments."""


@dataclass(frozen=True, slots=True)
class Revision:
    """One deployment that became ready. ``digest``: of its objects, SHA-256.  ``who``: asked for it.

    ``objects``: digests of its bodies, in order.  ``made``: what the deployment had made by then.
    ``back_to``: the number of the one that it went back to; 0: it was a new one.
    """

    number: int
    at_ms: int
    who: str
    digest: str
    objects: tuple[str, ...] = ()
    made: tuple[Ref, ...] = ()
    back_to: int = 0


@dataclass(frozen=True, slots=True)
class History:
    """``revisions``: oldest first.  ``bodies``: by digest."""

    revisions: tuple[Revision, ...] = ()
    bodies: Mapping[str, Body] = field(default_factory=dict)

    def added(self, revision: Revision, bodies: Sequence[Body]) -> History:
        """With one more; the same again is no other one."""
        if self.revisions and self.revisions[-1].digest == revision.digest:
            return self
        kept = (*self.revisions, revision)[-KEPT:]
        return _only(kept, {**self.bodies, **{_digest(body): body for body in bodies}})

    def shorter(self) -> History:
        """Without the oldest."""
        return _only(self.revisions[1:], self.bodies)

    def chosen(self, name: str, number: int = 0) -> tuple[Revision, list[Body]]:
        """The revision to go back to, with its bodies; the last but one where none is named. Raises UsageError."""
        if not number and len(self.revisions) < 2:
            raise UsageError(f"deployment {name!r} has no earlier deployment that was ready; there is nothing to go to")
        wanted = number or self.revisions[-2].number
        found = next((one for one in self.revisions if one.number == wanted), None)
        if found is None:
            known = ", ".join(str(one.number) for one in self.revisions) or "none"
            raise UsageError(f"--to {wanted}: deployment {name!r} has kept {known}; `fairlead deploy --history` tells")
        return found, [self.bodies[one] for one in found.objects]


def revision(last: History, bodies: Sequence[Body], made: tuple[Ref, ...], who: str, at_ms: int) -> Revision:
    """The next one."""
    number = last.revisions[-1].number + 1 if last.revisions else 1
    return Revision(number, at_ms, who, digest(bodies), tuple(map(_digest, bodies)), made)


def digest(bodies: Sequence[Body]) -> str:
    """SHA-256 of all objects: the same objects, the same digest."""
    return hashlib.sha256("\n".join(sorted(map(_digest, bodies))).encode()).hexdigest()


def plain(one: Revision) -> dict[str, Any]:
    """For `--json`."""
    return {
        "revision": one.number,
        "at_ms": one.at_ms,
        "who": one.who,
        "digest": one.digest,
        "objects": len(one.objects),
        "back_to": one.back_to,
    }


def _digest(body: Body) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _only(revisions: tuple[Revision, ...], bodies: Mapping[str, Body]) -> History:
    used = {digest for one in revisions for digest in one.objects}
    return History(revisions, {digest: body for digest, body in bodies.items() if digest in used})
