"""Who may do what. Pure: scopes in, an answer out; what is not allowed is denied."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from fairlead.contracts.access import EVERY, Action, Caller, Scope
from fairlead.contracts.errors import FairleadError, Forbidden, NotFound

_SAYS: Final[Mapping[Action, str]] = {
    Action.PREDICT: "call",
    Action.GENERATE: "call",
    Action.EXPLAIN: "explain calls of",
    Action.FEEDBACK: "give labels to",
    Action.DESCRIBE: "see",
    Action.DETAIL: "get whole answers of",
    Action.METRICS: "read the metrics of",
    Action.ADMIN: "administer",
    Action.READ: "look at",
    Action.WRITE: "act in",
}


@dataclass(frozen=True, slots=True)
class Rules:
    """``scopes``: by endpoint, those of which a caller needs one, in place of the endpoint's own.

    ``hides``: an endpoint that a caller may not see is, for them, not there; else they are told that they may not.
    """

    scopes: Mapping[str, tuple[Scope, ...]] = field(default_factory=dict)
    hides: bool = True

    def versions(self, caller: Caller, action: Action, endpoint: str) -> frozenset[str]:
        """Versions with which the caller may do this: none, some, or with ``""`` among them all."""
        found = {
            scope.version
            for need, wanted in self._needs(action, endpoint)
            for scope in caller.scopes
            if scope.covers(wanted, need, scope.version)
        }
        return frozenset(found)

    def may(self, caller: Caller, action: Action, endpoint: str, version: str | None = None) -> bool:
        """Whether the caller may do it; without a version: with any."""
        found = self.versions(caller, action, endpoint)
        return bool(found) if version is None else "" in found or version in found

    def anywhere(self, caller: Caller, action: Action) -> bool:
        """Whether there can be an endpoint with which the caller may do it."""
        return any(scope.action in (EVERY, action) for scope in caller.scopes)

    def refusal(self, caller: Caller, action: Action, endpoint: str, version: str | None = None) -> FairleadError:
        """What a caller is told who may not do it: that there is no such endpoint, where they may not see it."""
        if endpoint and self.hides and not self.may(caller, Action.DESCRIBE, endpoint):
            return absent(endpoint)
        wanted = ", ".join(map(str, self._told(action, endpoint)))
        what = f"version {version} of {endpoint!r}" if version else repr(endpoint) if endpoint else "this server"
        return Forbidden(f"{caller.name!r} may not {_SAYS[action]} {what}: it needs the scope {wanted}")

    def _told(self, action: Action, endpoint: str) -> Iterable[Scope]:
        if not endpoint:
            return (Scope(EVERY, action),)
        return self._own(action, endpoint) or (Scope(endpoint, action),)

    def _own(self, action: Action, endpoint: str) -> tuple[Scope, ...]:
        return tuple(one for one in self.scopes.get(endpoint, ()) if one.action in (action, EVERY))

    def _needs(self, action: Action, endpoint: str) -> Iterable[tuple[str, Action]]:
        """Endpoint and action of each scope of which one is needed; the server as a whole is the endpoint ``""``."""
        if action is Action.DESCRIBE:
            for one in self.scopes.get(endpoint, ()):
                yield _endpoint(one), action if one.action == EVERY else Action(one.action)
            yield endpoint, action
            return
        own = self._own(action, endpoint)
        if not own:
            yield endpoint, action
        for one in own:
            yield _endpoint(one), action


def absent(endpoint: str) -> NotFound:
    """What is said of every endpoint that is not there, or not for this caller: the same, and of no other."""
    return NotFound(f"there is no endpoint {endpoint!r}")


def _endpoint(scope: Scope) -> str:
    return "" if scope.endpoint == EVERY else scope.endpoint
