"""Plugin contract: a target runs the objects of a deployment, as a cluster. Entry-point group ``fairlead.targets``.

The entry point is a class that is called with a ``Where``; nothing connects before it is asked. Bodies are what files
of the target's own language hold, as plain JSON. Every method may raise TargetUnreachable, TargetForbids and
TargetError; every write names what it expects to be there, so that nobody's change is lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

Body = Mapping[str, Any]

ARMS = ("champion", "candidate")
"""Between which a route shares calls out; as ``contracts.plans.Share.arm``."""


@dataclass(frozen=True, slots=True)
class Where:
    """Which target is meant. Empty: as its own configuration says. ``config``: that file.

    ``seconds``: for one question, at most.  ``tries``: how often one that changes nothing twice is asked again.
    """

    namespace: str = ""
    config: Path | None = None
    context: str = ""
    seconds: float = 30.0
    tries: int = 3


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """What an object is called. ``namespace`` empty: it belongs to none."""

    api: str
    kind: str
    name: str
    namespace: str = ""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """The same for one object under every version of its API."""
        return self.api.rpartition("/")[0], self.kind, self.name, self.namespace

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}{f' in {self.namespace}' if self.namespace else ''}"


class State(StrEnum):
    READY = "ready"
    WAITING = "waiting"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Seen:
    """An object that is there. ``revision`` changes with it, ``id`` tells it from a later one of its name.

    ``owner``: the deployment that made it, empty for somebody else's.  ``why``: one phrase, unless it is ready.
    ``managers``: who set which of its fields, as the target keeps it; nobody else reads it.
    """

    ref: Ref
    body: Body
    revision: str
    id: str
    state: State
    why: str = ""
    owner: str = ""
    managers: Sequence[Mapping[str, Any]] = ()


class Change(StrEnum):
    CREATE = "create"
    UPDATE = "update"
    SAME = "same"


@dataclass(frozen=True, slots=True)
class Field:
    """One place that differs, as the target would have it. What is secret is never in it. None: not there."""

    path: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Difference:
    """What applying a body would do. ``before``: what is there now.

    ``taken``: fields that somebody else has set otherwise (path to who), and that applying would overrule.
    ``awaits``: the namespace that must be made first, empty for none.
    """

    ref: Ref
    change: Change
    fields: Sequence[Field] = ()
    before: Seen | None = None
    taken: Mapping[str, str] = field(default_factory=dict)
    awaits: str = ""


@dataclass(frozen=True, slots=True)
class Note:
    """A text kept at the target. ``revision`` empty: not there yet."""

    name: str
    text: str
    revision: str = ""


@dataclass(frozen=True, slots=True)
class Route:
    """How calls of an endpoint are shared out among ``ARMS`` (weights by arm). ``fence``: of who did so last."""

    ref: Ref
    weights: Mapping[str, int]
    revision: str
    fence: int = 0
    body: Body = field(default_factory=dict)


class Target(Protocol):
    """Safe for one thread at a time. Raises ObjectRejected for a body that the target does not take."""

    def find(self, body: Body) -> Ref:
        """What a body would be called there. Raises ObjectRejected for a kind that the target does not know."""

    def observe(self, ref: Ref) -> Seen | None: ...

    def diff(self, body: Body, owner: str) -> Difference:
        """What ``apply`` would do, asked of the target; nothing changes."""

    def apply(self, body: Body, owner: str) -> Seen:
        """Make the object so, as ``owner``'s. Shares of a route that a rollout moves stay as they are."""

    def restore(self, before: Seen) -> Seen:
        """Make the object as it was when it was seen, also where it is gone."""

    def remove(self, seen: Seen) -> None:
        """Take this object away; nothing happens where it is gone. Raises ObjectConflict for another of that name."""

    def note(self, name: str) -> Note:
        """The text of this name; with no revision where there is none."""

    def write(self, note: Note, text: str) -> Note:
        """Replace the note that was read. Raises ObjectConflict when it is another by now, ObjectTooLarge for a text
        that the target has no room for."""

    def route(self, endpoint: str) -> Route | None:
        """The route that shares out the calls of an endpoint between two arms, if there is one."""

    def shift(self, route: Route, weights: Mapping[str, int], fence: int) -> Route:
        """Share out otherwise. Raises ObjectConflict when the route is another by now."""

    def close(self) -> None: ...
