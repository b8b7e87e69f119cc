"""Where a model is, on other servers, and how they are asked. Frozen, checked once."""

from __future__ import annotations

from dataclasses import dataclass

from fairlead.contracts.errors import UsageError
from fairlead.kit import upstreams
from fairlead.kit.upstreams import Remote


@dataclass(frozen=True, slots=True)
class Upstream:
    """``connections``: requests at once to one address.  ``retries``: on other addresses, where there was no answer.

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

    def __post_init__(self) -> None:
        if self.ca and not any(one.scheme in ("https", "grpcs") for one in self.remote.addresses):
            raise UsageError("ca is set, and no address has TLS; write it as https:// or grpcs://, or leave ca out")

    @property
    def uri(self) -> str:
        return upstreams.uri_of(self.remote)

    @property
    def version(self) -> str:
        """What its calls and metrics are labelled with."""
        return self.remote.version or "upstream"
