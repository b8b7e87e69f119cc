"""Callers who show no key: tokens of an issuer, and certificates."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable

from fairlead.contracts.access import Caller
from fairlead.contracts.identity import Issuer, IssuerVerifier
from fairlead.kit import plugins
from fairlead.kit.clock import SystemClock
from fairlead.serve.access.certified import Certificates, Certified
from fairlead.serve.access.credentials import Certificate
from fairlead.serve.access.issuers import Issuers
from fairlead.serve.endpoint import Live

Load = Callable[[asyncio.AbstractEventLoop], Live]


class Identity:
    """``issuer``: whose tokens are taken; None: nobody's.  ``certificates``: whom certificates stand for."""

    def __init__(self, issuer: Issuer | None = None, certificates: tuple[Certified, ...] = ()) -> None:
        self.issuer = issuer
        self.certificates = certificates

    @functools.cached_property
    def verifiers(self) -> list[IssuerVerifier]:
        """Loaded by who asks first. Raises UsageError for an issuer that contradicts itself, and MissingExtra."""
        if self.issuer is None:
            return []
        return [plugins.load("fairlead.verifiers", "jwt")(self.issuer, SystemClock())]

    def certified(self) -> Callable[[Certificate], Caller | None] | None:
        return Certificates(self.certificates, SystemClock()) if self.certificates else None


def first(issuers: Issuers, load: Load) -> Load:
    """Loads a model once the keys were asked for: nobody who has a token is refused because it was too early."""

    def loaded(loop: asyncio.AbstractEventLoop) -> Live:
        issuers.prime(loop)
        return load(loop)

    return loaded
