"""The gate: from what a request shows to its caller, and whether that caller may.

It is asked before a body is read and before an endpoint is looked up, so that neither the time nor the words of a
refusal tell what there is. What it found out it remembers: the next request with the same headers costs one look-up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from fairlead.contracts.access import Action, Caller
from fairlead.contracts.audit import Audited, Auditor
from fairlead.contracts.errors import FairleadError, Forbidden, NotFound, Unauthenticated, Unavailable
from fairlead.serve.access.asking import Asking
from fairlead.serve.access.callers import Callers, Known, keep, mark_of, short
from fairlead.serve.access.credentials import ANONYMOUS
from fairlead.serve.access.keys import KeyRing
from fairlead.serve.access.needs import NEEDS
from fairlead.serve.access.rules import Rules, absent
from fairlead.serve.access.sight import Sight, telling
from fairlead.serve.catalog import Catalog
from fairlead.serve.endpoint import Live

_LONGEST: Final = 128
"""Characters of a name that is remembered."""


class Pass(NamedTuple):
    """What a caller may do with an endpoint. ``versions``: with which; ``every``: with all.

    ``until``: monotonic seconds.
    """

    until: float
    caller: Caller
    action: Action
    every: bool
    versions: frozenset[str]


_Asked = tuple[bytes | None, bytes | None, bytes | None, str, str, str | None]
"""What three headers show, a route, an endpoint and a version."""


class Gate:
    """``audit``: hears of refusals, of what administrators do and of each call."""

    def __init__(self, rules: Rules, callers: Callers, audit: Auditor | None = None) -> None:
        self.rules = rules
        self._callers = callers
        self._audit = audit
        self._passes: dict[_Asked, Pass] = {}

    def know(self, ring: KeyRing) -> None:
        """From now on these keys hold, and no others. On the event loop, as every other method."""
        self._callers.know(ring)
        self._passes.clear()

    def forget(self) -> None:
        """Ask keys and verifiers again for everybody."""
        self._callers.forget()
        self._passes.clear()

    # Calls.

    def enter(self, asking: Asking, catalog: Catalog, endpoint: str | None, version: str | None) -> tuple[Caller, Live]:
        """Who calls, and the version that answers. ``endpoint`` None: the only one that they may call.

        Raises Unauthenticated, Forbidden, NotFound or Unavailable.
        """
        if endpoint is None:
            endpoint = self._sole(asking, catalog)
        get = asking.headers.get
        asked = (get(b"authorization"), get(b"x-api-key"), get(b"api-key"), asking.route, endpoint, version)
        found = self._passes.get(asked)
        if found is None or found[0] <= asking.arrived:
            found = self._pass(asking, asked)
        _, caller, action, every, versions = found
        try:
            live = catalog.resolve(endpoint, version)
        except NotFound as error:
            known = every and catalog.versions(endpoint)  # then it is a version that is not there
            raise (error if known else absent(endpoint)) from None
        if not every and live.version not in versions:
            chosen = version is not None or endpoint not in catalog.splits
            if chosen:  # else it is asked once the split has
                raise self._refuse(asking, caller, action, endpoint, live.version)
        if self._audit is not None:
            self._audit.allowed(caller.name, action, endpoint)
        return caller, live

    def admit(self, asking: Asking, endpoint: str) -> Pass:
        """The same for a call whose body names what answers it, and that has no versions; ``let_in`` comes once it was
        found. Raises Unauthenticated, Forbidden or NotFound.
        """
        get = asking.headers.get
        asked = (get(b"authorization"), get(b"x-api-key"), get(b"api-key"), asking.route, endpoint, None)
        found = self._passes.get(asked)
        if found is None or found[0] <= asking.arrived:
            found = self._pass(asking, asked)
        if not found.every:
            raise self._refuse(asking, found.caller, found.action, endpoint, "")
        return found

    def readmit(self, asking: Asking, caller: Caller | None, endpoint: str) -> Pass:
        """The same for what the server asks on behalf of somebody who came before, and shows nothing now.

        Raises Unauthenticated, Forbidden, NotFound or Unavailable.
        """
        caller = self._callers.again(caller)
        action = self._action(asking, caller)
        versions = self.rules.versions(caller, action, endpoint)
        if "" not in versions:
            raise self._refuse(asking, caller, action, endpoint, "")
        return Pass(asking.arrived, caller, action, True, versions)

    def let_in(self, found: Pass, endpoint: str) -> None:
        """A call that ``admit`` allowed has found what answers it."""
        if self._audit is not None:
            self._audit.allowed(found.caller.name, found.action, endpoint)

    def hold(self, asking: Asking, caller: Caller, live: Live) -> None:
        """Another version answers than the one that was found when the caller came. Raises Forbidden or NotFound."""
        error = self.withheld(asking, caller, live)
        if error is not None:
            raise error

    def withheld(self, asking: Asking, caller: Caller, live: Live) -> FairleadError | None:
        """Why the caller may not have this version; None where they may."""
        action = self._action(asking, caller)
        if self.rules.may(caller, action, live.endpoint, live.version):
            return None
        return self._refuse(asking, caller, action, live.endpoint, live.version)

    def _pass(self, asking: Asking, asked: _Asked) -> Pass:
        *_, endpoint, version = asked
        caller, until = self._known(asking)
        action = self._action(asking, caller)
        if not self.rules.may(caller, action, endpoint, version):
            raise self._refuse(asking, caller, action, endpoint, version)
        versions = self.rules.versions(caller, action, endpoint)
        found = Pass(until, caller, action, "" in versions, versions)
        if short(asked[:3]) and len(endpoint) <= _LONGEST and len(version or "") <= _LONGEST:
            keep(self._passes, asked, found)
        return found

    def _sole(self, asking: Asking, catalog: Catalog) -> str:
        """The endpoint of a path that names none: the only one that the caller may call."""
        caller = self.caller(asking)
        action = self._action(asking, caller)
        names = [live.endpoint for live in catalog.endpoints() if self.rules.may(caller, action, live.endpoint)]
        if len(names) != 1:
            raise NotFound("this path names no endpoint; post to /serving-endpoints/NAME/invocations")
        return names[0]

    # Everything else.

    def visit(self, asking: Asking, endpoint: str | None = None, version: str | None = None) -> Sight:
        """What a caller may see and do who comes by any other route. ``endpoint``: of the path; what a message names is
        asked of the sight.

        Where everybody may come, who is not known is nobody. Raises Unauthenticated, Forbidden or NotFound.
        """
        need = NEEDS.get(asking.route)
        if need is not None and need.open:
            return Sight(self.rules, self._perhaps(asking), self._told(asking))
        caller = self.caller(asking)
        if need is None:
            error = Forbidden("nobody may come by this route")
            self._note(asking, caller.name, asking.route, "", None, error)
            raise error
        sight = Sight(self.rules, caller, self._told(asking))
        if need.action is not None and (need.server or endpoint is not None):
            sight.require(need.action, endpoint or "", version, told=need.told)
        elif need.action is Action.FEEDBACK and not self.rules.anywhere(caller, need.action):
            refusal = Forbidden(
                f"{caller.name!r} may give labels to no endpoint: it needs a scope such as NAME:feedback"
            )
            self._note(asking, caller.name, need.action, "", None, refusal)
            raise refusal
        return sight

    def caller(self, asking: Asking) -> Caller:
        """Who it is. Raises Unauthenticated, or Unavailable where no key was read yet."""
        return self._known(asking).caller

    def _known(self, asking: Asking) -> Known:
        try:
            return self._callers.find(asking, mark_of(asking.headers))
        except Unauthenticated as error:
            self._note(asking, ANONYMOUS, "", "", None, error)
            raise

    def _perhaps(self, asking: Asking) -> Caller | None:
        """Who it is, where nobody need be known."""
        try:
            return self._callers.find(asking, mark_of(asking.headers)).caller
        except (Unauthenticated, Unavailable):
            return None

    def _told(self, asking: Asking) -> Callable[[Audited], None]:
        """Hears what is decided of a request after it was let in."""

        return telling(self._audit, asking)

    # What they are told.

    def _action(self, asking: Asking, caller: Caller) -> Action:
        """What a call of this route is. Raises Forbidden for a route that is no call's."""
        need = NEEDS.get(asking.route)
        if need is None or need.action is None:
            error = Forbidden("nobody may call by this route")
            self._note(asking, caller.name, asking.route, "", None, error)
            raise error
        return need.action

    def _refuse(
        self, asking: Asking, caller: Caller, action: Action, endpoint: str, version: str | None
    ) -> FairleadError:
        error = self.rules.refusal(caller, action, endpoint, version)
        self._note(asking, caller.name, action, endpoint, version, error)
        return error

    def _note(
        self, asking: Asking, actor: str, action: str, endpoint: str, version: str | None, error: FairleadError
    ) -> None:
        if self._audit is not None and asking.tells:
            outcome = "forbidden" if isinstance(error, NotFound) else error.code
            self._audit.note(
                Audited(actor, action, endpoint, version or "", outcome, asking.request_id, {"route": asking.route})
            )
