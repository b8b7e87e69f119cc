"""A target in memory, for tests; ``fairlead.testing.target_suite`` holds for it too."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from fairlead.contracts.errors import ObjectConflict, ObjectRejected, TargetForbids, TargetUnreachable
from fairlead.contracts.target import ARMS, Body, Change, Difference, Field, Note, Ref, Route, Seen, State
from fairlead.kit.clock import Clock
from fairlead.kit.differing import differences

API = "memory/v1"


def thing(name: str, value: str = "", kind: str = "Thing") -> dict[str, Any]:
    """An object that this target takes."""
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name}, "value": value}


def route(name: str, endpoint: str) -> dict[str, Any]:
    """One that gives all to the champion."""
    return {**thing(name, kind="Route"), "endpoint": endpoint, "weights": dict(zip(ARMS, (100, 0), strict=True))}


class MemoryTarget:
    """``ready_after``: seconds from a change to readiness.  ``failing``: names of objects that fail once changed.

    ``down``: it does not answer.  ``forbidden``: names that nobody may change.  ``before``: called with the method and
    the name of each question; it may change what is there, or raise.
    """

    def __init__(self, clock: Clock, ready_after: float = 0.0) -> None:
        self.ready_after = ready_after
        self.failing: set[str] = set()
        self.forbidden: set[str] = set()
        self.down = False
        self.before: Callable[[str, str], None] | None = None
        self.closed = 0
        self._clock = clock
        self._objects: dict[Ref, tuple[dict[str, Any], str, str, str, float]] = {}
        self._notes: dict[str, Note] = {}
        self._fences: dict[Ref, int] = {}
        self._count = 0

    def find(self, body: Body) -> Ref:
        if body["apiVersion"] != API:
            raise ObjectRejected(f"no kind {body['kind']!r} of {body['apiVersion']}")
        return Ref(API, body["kind"], body["metadata"]["name"])

    def observe(self, ref: Ref) -> Seen | None:
        self._asked("observe", ref.name)
        return self._seen(ref)

    def diff(self, body: Body, owner: str) -> Difference:  # noqa: ARG002 - an owner is no difference
        ref = self.find(body)
        before = self.observe(ref)
        if before is None:
            return Difference(ref, Change.CREATE)
        fields = tuple(Field(*one) for one in differences(before.body, self._kept(ref, body)))
        return Difference(ref, Change.UPDATE if fields else Change.SAME, fields, before)

    def apply(self, body: Body, owner: str) -> Seen:
        ref = self.find(body)
        self._asked("apply", ref.name)
        if ref.name in self.forbidden:
            raise TargetForbids(f"{ref} is forbidden")
        return self._put(ref, self._kept(ref, body), owner)

    def restore(self, before: Seen) -> Seen:
        self._asked("restore", before.ref.name)
        return self._put(before.ref, self._kept(before.ref, before.body), before.owner)

    def remove(self, seen: Seen) -> None:
        self._asked("remove", seen.ref.name)
        found = self._objects.get(seen.ref)
        if found is not None and found[2] != seen.id:
            raise ObjectConflict(f"{seen.ref} is another object by now")
        self._objects.pop(seen.ref, None)

    def note(self, name: str) -> Note:
        self._asked("note", name)
        return self._notes.get(name, Note(name, ""))

    def write(self, note: Note, text: str) -> Note:
        self._asked("write", note.name)
        if self._notes.get(note.name, Note("", "")).revision != note.revision:
            raise ObjectConflict(f"note {note.name} is another by now")
        self._notes[note.name] = Note(note.name, text, self._next())
        return self._notes[note.name]

    def route(self, endpoint: str) -> Route | None:
        self._asked("route", endpoint)
        for ref, (body, revision, *_) in self._objects.items():
            if ref.kind == "Route" and body["endpoint"] == endpoint:
                return Route(ref, dict(body["weights"]), revision, self._fences.get(ref, 0))
        return None

    def shift(self, route: Route, weights: Mapping[str, int], fence: int) -> Route:
        self._asked("shift", route.ref.name)
        body, revision, identity, owner, at = self._objects[route.ref]
        if revision != route.revision:
            raise ObjectConflict(f"{route.ref} is another by now")
        self._objects[route.ref] = ({**body, "weights": dict(weights)}, self._next(), identity, owner, at)
        self._fences[route.ref] = fence
        return Route(route.ref, dict(weights), self._objects[route.ref][1], fence)

    def close(self) -> None:
        self.closed += 1

    def _put(self, ref: Ref, body: dict[str, Any], owner: str) -> Seen:
        found = self._objects.get(ref)
        if found is None or found[0] != body or found[3] != owner:
            identity = found[2] if found else f"id-{self._next()}"
            self._objects[ref] = (body, self._next(), identity, owner, self._clock.now())
        seen = self._seen(ref)
        if seen is None:
            raise ObjectConflict(f"{ref} is gone")
        return seen

    def _kept(self, ref: Ref, body: Body) -> dict[str, Any]:
        """With the shares that a rollout has written."""
        made: dict[str, Any] = copy.deepcopy(dict(body))
        if ref in self._fences and ref in self._objects:
            made["weights"] = dict(self._objects[ref][0]["weights"])
        return made

    def _seen(self, ref: Ref) -> Seen | None:
        if ref not in self._objects:
            return None
        body, revision, identity, owner, at = self._objects[ref]
        state, why = State.READY, ""
        if self._clock.now() - at < self.ready_after:
            state, why = State.WAITING, "it is not there yet"
        elif ref.name in self.failing:
            state, why = State.FAILED, "it fails"
        return Seen(ref, copy.deepcopy(body), revision, identity, state, why, owner)

    def _asked(self, method: str, name: str) -> None:
        if self.before is not None:
            self.before(method, name)
        if self.down:
            raise TargetUnreachable("the target does not answer")

    def _next(self) -> str:
        self._count += 1
        return str(self._count)
