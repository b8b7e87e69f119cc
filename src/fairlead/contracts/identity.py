"""Plugin contract: callers who show a token that somebody else signed. Entry-point group ``fairlead.verifiers``.

The entry point is a class that is called with an ``Issuer`` and a clock. It is a ``Verifier`` whose keys are fetched
beside the calls: ``verify`` is asked on the event loop and never waits for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from fairlead.contracts.access import Scope, Verifier
from fairlead.contracts.secrets import Secret

ASYMMETRIC = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
SHARED = ("HS256", "HS384", "HS512")
"""Algorithms: with keys that the issuer publishes, and with a secret that both sides have."""


@dataclass(frozen=True, slots=True)
class Claims:
    """Which claims say what; a dot leads into a claim. Empty: none does.

    ``scopes``: words or a list; those that begin with ``prefix`` count, without it.  ``groups``: a word or a list, each
    of which stands for the scopes in ``grants``.  ``tenant``: whom the caller shares limits with.
    """

    scopes: str = "scope"
    prefix: str = ""
    groups: str = ""
    grants: Mapping[str, tuple[Scope, ...]] = field(default_factory=dict)
    tenant: str = ""


@dataclass(frozen=True, slots=True)
class Issuer:
    """Whose tokens are taken, and which.

    ``issuer``, ``audiences``: as the tokens say them, one of the audiences.  ``algorithms``: no others, whatever a
    token says.  ``jwks``: URL or file of the keys; empty: where the issuer's OpenID configuration says.  ``secret``:
    instead of keys.  ``skew``: seconds that clocks may differ.  ``refresh``: seconds after which keys are fetched
    again.  ``ca``: PEM file of the authorities that are believed; empty: those of the machine.
    """

    issuer: str
    audiences: tuple[str, ...]
    algorithms: tuple[str, ...] = ("RS256", "ES256")
    jwks: str = ""
    secret: Secret | None = None
    skew: float = 60.0
    refresh: float = 300.0
    ca: str = ""
    claims: Claims = field(default_factory=Claims)


class IssuerVerifier(Verifier, Protocol):
    """``verify`` raises Unavailable while no key was ever read."""

    def due(self) -> bool:
        """Whether keys should be fetched now: they are old, or a token named one that is not known."""

    def refresh(self) -> None:
        """Fetch them. Blocks, for seconds at most; in a thread. Never raises: what was known is kept."""

    def troubles(self) -> list[str]:
        """Why the keys could not be fetched; empty when all is well."""
