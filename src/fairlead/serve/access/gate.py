"""The gate: from what a request shows to its caller, and whether that caller may.

It is asked before a body is read and before an endpoint is looked up, so that neither the time nor the words of a
refusal tell what there is. What it found out it remembers: the next request with the same headers costs one look-up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, Protocol, TypeVar

from fairlead.contracts.access import Action, Caller, Verifier
from fairlead.contracts.audit import Audited, Auditor
from fairlead.contracts.errors import FairleadError, Forbidden, NotFound, Unauthenticated, Unavailable
from fairlead.kit.clock import Clock
from fairlead.serve.access.credentials import ANONYMOUS, Certificate, Headers, refused, shown
from fairlead.serve.access.keys import MARK, KeyRing
from fairlead.serve.access.needs import NEEDS
from fairlead.serve.access.rules import Rules, absent
from fairlead.serve.access.sight import Sight
from fairlead.serve.catalog import Catalog
from fairlead.serve.endpoint import Live

REMEMBERED: Final = 4096
"""Callers, and what they may, that are remembered; when there are more, all are forgotten."""
KEY_SECONDS: Final = 30.0
TOKEN_SECONDS: Final = 1.0
"""How long a key, and a token of a verifier, is remembered at most; less where it ends sooner."""
_LONGEST_NAME: Final = 128
_LONGEST_MARK: Final = 4096
_MARK: Final = MARK.encode()


class Asking(Protocol):
    """A request, as the gate sees it. ``arrived``: monotonic seconds."""

    @property
    def headers(self) -> Headers: ...
    @property
    def route(self) -> str:
        """The pattern of the route, or the path of the method."""

    @property
    def arrived(self) -> float: ...
    @property
    def request_id(self) -> str: ...
    @property
    def tells(self) -> bool:
        """Whether its refusal is its answer; else the same request is asked about once more."""

    def certificate(self) -> Certificate | None:
        """What its connection showed; None for nothing."""


@dataclass(frozen=True, slots=True)
class Visit:
    """A request that is no call."""

    headers: Headers
    route: str
    arrived: float
    request_id: str
    shows: Certificate | None = None
    tells: bool = True

    def certificate(self) -> Certificate | None:
        return self.shows


class Pass(NamedTuple):
    """What a caller may do with an endpoint. ``versions``: with which; ``""`` among them: with all.

    ``until``: monotonic seconds.
    """

    caller: Caller
    action: Action
    versions: frozenset[str]
    until: float


class _Known(NamedTuple):
    caller: Caller
    until: float


K = TypeVar("K")
V = TypeVar("V")
Mark = tuple[bytes | None, bytes | None, bytes | None]


class Gate:
    """``verifiers``: who may know a token that is no key, asked in turn.  ``certificates``: who a certificate stands
    for.  ``audit``: hears of refusals, of what administrators do and of each call.
    """

    def __init__(
        self,
        rules: Rules,
        clock: Clock,
        *,
        ring: KeyRing | None = None,
        verifiers: Sequence[Verifier] = (),
        certificates: Callable[[Certificate], Caller | None] | None = None,
        audit: Auditor | None = None,
    ) -> None:
        self.rules = rules
        self._clock = clock
        self._ring = ring
        self._verifiers = verifiers
        self._certificates = certificates
        self._audit = audit
        self._known: dict[Mark, _Known] = {}
        self._passes: dict[tuple[Mark, str, str, str | None], Pass] = {}

    def know(self, ring: KeyRing) -> None:
        """From now on these keys hold, and no others. On the event loop, as every other method."""
        self._ring = ring
        self.forget()

    def forget(self) -> None:
        """Ask keys and verifiers again for everybody."""
        self._known.clear()
        self._passes.clear()

    # Calls.

    def enter(self, asking: Asking, catalog: Catalog, endpoint: str | None, version: str | None) -> tuple[Caller, Live]:
        """Who calls, and the version that answers. ``endpoint`` None: the only one that they may call.

        Raises Unauthenticated, Forbidden, NotFound or Unavailable.
        """
        get = asking.headers.get
        mark = (get(b"authorization"), get(b"x-api-key"), get(b"api-key"))
        if endpoint is None:
            endpoint = self._sole(asking, catalog)
        found = self._passes.get((mark, asking.route, endpoint, version))
        if found is None or found.until <= asking.arrived:
            found = self._pass(asking, mark, endpoint, version)
        try:
            live = catalog.resolve(endpoint, version)
        except NotFound as error:
            everything = "" in found.versions and catalog.versions(endpoint)  # a version that is not there
            raise (error if everything else absent(endpoint)) from None
        if "" not in found.versions and live.version not in found.versions:
            chosen = version is not None or endpoint not in catalog.splits
            if chosen:  # else it is asked once the split has
                raise self._refuse(asking, found.caller, found.action, endpoint, live.version)
        if self._audit is not None:
            self._audit.allowed(found.caller.name, found.action, endpoint)
        return found.caller, live

    def hold(self, asking: Asking, caller: Caller, live: Live) -> None:
        """Another version answers than the one that was found when the caller came. Raises Forbidden or NotFound."""
        action = self._action(asking, caller)
        if not self.rules.may(caller, action, live.endpoint, live.version):
            raise self._refuse(asking, caller, action, live.endpoint, live.version)

    def _pass(self, asking: Asking, mark: Mark, endpoint: str, version: str | None) -> Pass:
        try:
            known = self._identify(asking, mark)
        except Unauthenticated as error:
            self._stranger(asking, error)
            raise
        action = self._action(asking, known.caller)
        if not self.rules.may(known.caller, action, endpoint, version):
            raise self._refuse(asking, known.caller, action, endpoint, version)
        found = Pass(known.caller, action, self.rules.versions(known.caller, action, endpoint), known.until)
        if _short(mark) and len(endpoint) <= _LONGEST_NAME and len(version or "") <= _LONGEST_NAME:
            _keep(self._passes, (mark, asking.route, endpoint, version), found)
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
        """What a caller may see and do who comes by any other route. ``endpoint``: of the path.

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
            sight.require(need.action, endpoint or "", version)
        elif need.action is not None and not self.rules.anywhere(caller, need.action):
            raise self._refuse(asking, caller, need.action, "", None)
        return sight

    def caller(self, asking: Asking) -> Caller:
        """Who it is. Raises Unauthenticated, or Unavailable where no key was read yet."""
        try:
            return self._identify(asking, _mark(asking.headers)).caller
        except Unauthenticated as error:
            self._stranger(asking, error)
            raise

    def _perhaps(self, asking: Asking) -> Caller | None:
        """Who it is, where nobody need be known."""
        try:
            return self._identify(asking, _mark(asking.headers)).caller
        except (Unauthenticated, Unavailable):
            return None

    def _told(self, asking: Asking) -> Callable[[Audited], None]:
        """Hears what is decided of a request after it was let in."""

        def tell(entry: Audited) -> None:
            if self._audit is not None and asking.tells:
                self._audit.note(
                    replace(entry, request_id=asking.request_id, detail={**entry.detail, "route": asking.route})
                )

        return tell

    # Who it is.

    def _identify(self, asking: Asking, mark: Mark) -> _Known:
        known = self._known.get(mark)
        if known is not None and known.until > asking.arrived:
            return known
        known = self._find(asking)
        if _short(mark):
            _keep(self._known, mark, known)
        return known

    def _find(self, asking: Asking) -> _Known:
        credential, now = shown(asking.headers), asking.arrived
        if credential is None:
            shows = asking.certificate() if self._certificates is not None else None
            caller = self._certificates(shows) if self._certificates is not None and shows is not None else None
            if caller is None:
                raise refused()
            return _Known(caller, now)
        if not credential.startswith(_MARK):
            return _Known(self._verify(credential), now + TOKEN_SECONDS)
        if self._ring is None:
            raise Unavailable("the keys of this server cannot be read yet", retry_after=1)
        wall = self._clock.wall_ms()
        found = self._ring.find(credential, wall)
        if found is None:
            raise refused()
        left = (found.until_ms - wall) / 1000 if found.until_ms else KEY_SECONDS
        return _Known(found.caller, now + min(left, KEY_SECONDS))

    def _verify(self, credential: bytes) -> Caller:
        try:
            token = credential.decode("ascii")
        except UnicodeDecodeError:
            raise refused() from None
        for verifier in self._verifiers:
            try:
                return verifier.verify(token, self._clock.wall_ms() / 1000)
            except Unauthenticated:
                continue
        raise refused()

    # What they are told.

    def _action(self, asking: Asking, caller: Caller) -> Action:
        """What a call of this route is. Raises Forbidden for a route that is no call's."""
        need = NEEDS.get(asking.route)
        if need is None or need.action is None:
            error = Forbidden("nobody may call by this route")
            self._note(asking, caller.name, asking.route, "", None, error)
            raise error
        return need.action

    def _stranger(self, asking: Asking, error: FairleadError) -> None:
        self._note(asking, ANONYMOUS, "", "", None, error)

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


def _short(mark: Mark) -> bool:
    """Whether it shows something that is worth remembering."""
    return 0 < sum(len(one) for one in mark if one is not None) <= _LONGEST_MARK


def _mark(headers: Headers) -> Mark:
    get = headers.get
    return get(b"authorization"), get(b"x-api-key"), get(b"api-key")


def _keep(memory: dict[K, V], key: K, value: V) -> None:
    if len(memory) >= REMEMBERED:
        memory.clear()
    memory[key] = value
