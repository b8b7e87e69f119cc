"""What one caller may see of a server, and do with it, beside calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from fairlead.contracts.access import Action, Caller
from fairlead.contracts.audit import Audited, Auditor
from fairlead.contracts.errors import FairleadError, Forbidden, NotFound, Unauthenticated
from fairlead.serve.access.asking import Asking
from fairlead.serve.access.credentials import ANONYMOUS, refused
from fairlead.serve.access.rules import Rules, absent
from fairlead.serve.catalog import Catalog
from fairlead.serve.endpoint import Live


def _silent(_: Audited) -> None:
    """Nobody is told."""


class Sight:
    """``rules`` None: nobody is asked who they are, and all may see and do everything.

    ``caller`` None: somebody who is not known.  ``tell``: hears of refusals, and of what administrators do.
    """

    def __init__(
        self, rules: Rules | None, caller: Caller | None = None, tell: Callable[[Audited], None] = _silent
    ) -> None:
        self._rules = rules
        self.caller = caller
        self._tell = tell

    @property
    def troubled(self) -> bool:
        """Whether they may know what does not work here, and what is still loading."""
        if self._rules is None:
            return True
        return self.caller is not None and any(
            self._rules.may(self.caller, one, "") for one in (Action.METRICS, Action.ADMIN)
        )

    def sees(self, endpoint: str, version: str | None = None) -> bool:
        """Whether they may know of an endpoint; with a version: of that one."""
        if self._rules is None:
            return True
        return self.caller is not None and self._rules.may(self.caller, Action.DESCRIBE, endpoint, version)

    def seen(self, catalog: Catalog) -> list[Live]:
        """The answering versions that they may see."""
        return [live for live in catalog.endpoints() if self.sees(live.endpoint, live.version)]

    def versions(self, catalog: Catalog, endpoint: str) -> list[str]:
        return [one for one in catalog.versions(endpoint) if self.sees(endpoint, one)]

    def names(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if self.sees(name)]

    def resolve(self, catalog: Catalog, endpoint: str, version: str | None = None) -> Live:
        """The version that they ask for, to be described. Raises NotFound, Forbidden or Unavailable."""
        if self._rules is None:
            return catalog.resolve(endpoint, version)
        self.require(Action.DESCRIBE, endpoint, version)
        try:
            live = catalog.resolve(endpoint, version)
        except NotFound as error:
            everything = self.sees(endpoint, "") and catalog.versions(endpoint)  # a version that is not there
            raise (error if everything else absent(endpoint)) from None
        self.require(Action.DESCRIBE, endpoint, live.version)
        return live

    def require(self, action: Action, endpoint: str, version: str | None = None, *, told: bool = False) -> None:
        """Raises Unauthenticated, Forbidden, or NotFound for an endpoint that they may not see; and tells of it.

        ``told``: somebody else tells of what is done.
        """
        error = self.refusal(action, endpoint, version)
        if error is not None:
            self.refused(error, action, endpoint, version)
            raise error
        if action is Action.ADMIN and not told:
            self._tell(Audited(self._actor, action, endpoint, version or ""))

    def refusal(self, action: Action, endpoint: str, version: str | None = None) -> FairleadError | None:
        """Why they may not do it; None where they may. Without a version: with all, or to be described with any."""
        if self._rules is None:
            return None
        if version is None and action is not Action.DESCRIBE:
            version = ""
        if self.caller is None:
            return refused()
        if self._rules.may(self.caller, action, endpoint, version):
            return None
        return self._rules.refusal(self.caller, action, endpoint, version)

    def refused(self, error: FairleadError, action: Action, endpoint: str, version: str | None = None) -> None:
        """Tell that they were refused. On the event loop."""
        outcome = error.code if isinstance(error, Unauthenticated) else Forbidden.code
        self._tell(Audited(self._actor, action, endpoint, version or "", outcome))

    def missing(self, error: NotFound, catalog: Catalog, endpoint: str) -> NotFound:
        """What they are told of what is not there: of an endpoint that is not, no other names."""
        return error if self._rules is None or catalog.versions(endpoint) else absent(endpoint)

    def did(self, act: str, endpoint: str, **detail: str | float) -> None:
        """Tell of an act that needs more words than its route. On the event loop."""
        self._tell(Audited(self._actor, act, endpoint, detail=dict(detail)))

    @property
    def _actor(self) -> str:
        return self.caller.name if self.caller is not None else ANONYMOUS


def telling(audit: Auditor | None, asking: Asking) -> Callable[[Audited], None]:
    """What a sight tells, written down with the request that it is about."""

    def tell(entry: Audited) -> None:
        if audit is not None and asking.tells:
            audit.note(replace(entry, request_id=asking.request_id, detail={**entry.detail, "route": asking.route}))

    return tell


EVERYTHING: Final = Sight(None)
"""Where nobody is asked who they are."""
