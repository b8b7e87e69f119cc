"""Who may look at the console, and act in it: keys with the scopes ``console:read`` and ``console:write``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fairlead.console.visitors import Visitor
from fairlead.contracts.access import Action, Caller
from fairlead.contracts.errors import Forbidden
from fairlead.kit.clock import SystemClock
from fairlead.serve.access.keys import KeyRing
from fairlead.wiring import access, auditing
from fairlead.wiring.console.kept import Kept

CONSOLE: Final = "console"


@dataclass(frozen=True, slots=True)
class Keys:
    """``Doorman`` over the keys of the state store, read anew each time: a key that was taken back ends its sessions.

    ``asks`` False: this machine alone reaches the console, and whoever is on it may act.
    """

    kept: Kept
    asks: bool

    def unasked(self) -> Visitor:
        return Visitor(auditing.actor(self.kept.home), True)

    def shown(self, key: str) -> Visitor | None:
        found = self._ring().find(key.encode(errors="replace"), SystemClock.wall_ms())
        if found is None:
            return None
        visitor = _visitor(found.caller)
        if visitor is None:
            raise Forbidden(f"key {found.caller.name!r} may not look at the console: it needs the scope console:read")
        return visitor

    def again(self, name: str) -> Visitor | None:
        found = self._ring().named(name, SystemClock.wall_ms())
        return None if found is None else _visitor(found)

    def _ring(self) -> KeyRing:
        return KeyRing(access.known(self.kept.state)[0])


def _visitor(caller: Caller) -> Visitor | None:
    acts = caller.may(Action.WRITE, CONSOLE)
    return Visitor(caller.name, acts) if acts or caller.may(Action.READ, CONSOLE) else None
