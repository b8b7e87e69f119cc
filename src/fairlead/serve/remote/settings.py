"""Where a model is, on other servers, and how they are asked. Frozen, checked once."""

from __future__ import annotations

from dataclasses import dataclass

from fairlead.contracts.errors import UsageError
from fairlead.kit import upstreams
from fairlead.kit.upstreams import Remote
from fairlead.serve.resilience.backoff import Backoff


@dataclass(frozen=True, slots=True)
class Hedge:
    """A second request when the first takes longer than the ``quantile`` lately, or ``after`` seconds.

    ``budget``: a share of the requests.
    """

    quantile: float = 0.95
    budget: float = 0.05
    after: float | None = None


@dataclass(frozen=True, slots=True)
class Outlying:
    """When an address is left out for what it does in ``window`` seconds and at least ``requests`` requests.

    ``errors``: share of them that fail, or are ``slower`` times slower than the others (0: nothing is too slow).
    ``most``: share of the addresses that may be left out for it at once, one at least.
    """

    errors: float = 0.5
    slower: float = 10.0
    window: float = 10.0
    requests: int = 20
    most: float = 0.5


@dataclass(frozen=True, slots=True)
class Upstream:
    """``connections``: requests at once to one address.  ``retries``: of a request without an answer; ``backoff``: the
    pauses before it is sent to an address again; ``budget``: retries as a share of the calls, at most.
    ``idempotent`` False: a request that was sent is never sent again.

    An address that fails ``failures`` times in a row is left out for ``seconds``, longer each time.
    ``ca``: PEM file of the authorities that sign the servers' certificates; empty: those of the machine.
    ``token``: reference to the credential that the servers ask for; empty: none.  ``header``: what carries it.
    """

    remote: Remote
    connections: int = 64
    retries: int = 1
    failures: int = 5
    seconds: float = 30.0
    ca: str = ""
    token: str = ""
    header: str = "authorization"
    backoff: Backoff = Backoff()
    budget: float = 0.2
    idempotent: bool = True
    hedge: Hedge | None = None
    outlying: Outlying = Outlying()

    def __post_init__(self) -> None:
        if self.ca and not any(one.scheme in ("https", "grpcs") for one in self.remote.addresses):
            raise UsageError("ca is set, and no address has TLS; write it as https:// or grpcs://, or leave ca out")
        if self.hedge is not None and not self.idempotent:
            raise UsageError("hedge sends a call twice, and idempotent is false; leave one of them out")
        if self.hedge is not None and len(self.remote.addresses) < 2:
            raise UsageError("hedge asks another address, and there is one; give a second one or leave hedge out")

    @property
    def uri(self) -> str:
        return upstreams.uri_of(self.remote)

    @property
    def version(self) -> str:
        """What its calls and metrics are labelled with."""
        return self.remote.version or "upstream"
