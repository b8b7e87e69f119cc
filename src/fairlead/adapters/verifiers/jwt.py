"""Callers by JSON Web Token (RFC 7519), as OpenID Connect providers issue them; after the advice of RFC 8725.

What a token says about how it is to be checked is never believed: the algorithms are pinned, keys come from the issuer
alone, and a key checks only what its kind is for.
"""

from __future__ import annotations

import hashlib
import logging
from typing import Any, Final, NamedTuple

import jwt
import msgspec

from fairlead.adapters.verifiers import fetch
from fairlead.adapters.verifiers.claims import Known, known, refused
from fairlead.adapters.verifiers.keys import Key, choose
from fairlead.contracts.access import Caller
from fairlead.contracts.errors import Unavailable, UsageError
from fairlead.contracts.identity import ASYMMETRIC, SHARED, Issuer
from fairlead.kit.clock import Clock

REMEMBERED: Final = 4096
"""Tokens that hold, which need not be checked again until they end."""
LONGEST: Final = 16 * 1024
"""Characters of a token."""
UNKNOWN: Final = 5.0
"""Seconds between two fetches that tokens with unknown keys ask for."""
AGAIN: Final = 5.0
AGAIN_AT_MOST: Final = 60.0
"""Seconds after a fetch that failed; doubled each time."""
FILE: Final = 5.0
"""Seconds between two looks at keys in a file."""

log = logging.getLogger("fairlead.access")


class _Now(NamedTuple):
    """Keys, and what was checked with them: who goes on with other keys forgets both."""

    keys: tuple[Key, ...] | None
    checked: dict[bytes, Known]


class JwtVerifier:
    """The contract's ``IssuerVerifier``."""

    def __init__(self, issuer: Issuer, clock: Clock) -> None:
        """Raises UsageError for algorithms that contradict the keys."""
        self._issuer = issuer
        self._clock = clock
        self._signatures = jwt.PyJWS(algorithms=_pinned(issuer))
        self._least = max((int(one[2:]) for one in issuer.algorithms if one in SHARED), default=0)
        """Bits of a shared secret (RFC 7518, 3.2)."""
        self._now = _Now(None, {})
        self._shared = ""
        self._next = clock.now()
        self._wait = AGAIN
        self._asked_for = False
        self._fetched = clock.now() - UNKNOWN
        self._problem = ""

    def verify(self, token: str, now: float) -> Caller:
        mark = hashlib.sha256(token.encode()).digest()
        held = self._held()
        found = held.checked.get(mark)
        if found is None or now >= found.until:
            held.checked.pop(mark, None)
            found = known(self._claims(token, held), self._issuer, now)
            if len(held.checked) >= REMEMBERED:
                held.checked.pop(next(iter(held.checked)))
            held.checked[mark] = found
        return found.caller

    def due(self) -> bool:
        if self._issuer.secret is not None:
            return False
        now = self._clock.now()
        return now >= self._next or (self._asked_for and now - self._fetched >= UNKNOWN)

    def refresh(self) -> None:
        self._asked_for, self._fetched = False, self._clock.now()
        try:
            keys = fetch.keys(self._issuer)
        except fetch.NotFetched as error:
            self._failed(str(error))
        except Exception as error:
            log.exception("issuer keys")
            self._failed(type(error).__name__)
        else:
            self._taken(keys)

    def troubles(self) -> list[str]:
        if not self._problem:
            return []
        rest = "those of before are used" if self._now.keys else "no token can be checked"
        return [f"the keys of the issuer {self._issuer.issuer} cannot be read, {rest}: {self._problem}"]

    def _taken(self, keys: tuple[Key, ...]) -> None:
        if self._now.keys is None or _said(keys) != _said(self._now.keys):
            self._now = _Now(keys, {})
            log.info("issuer keys", extra={"fields": {"issuer": self._issuer.issuer, "keys": len(keys)}})
        self._problem, self._wait = "", AGAIN
        of_file = self._issuer.jwks and "://" not in self._issuer.jwks
        self._next = self._fetched + (min(FILE, self._issuer.refresh) if of_file else self._issuer.refresh)

    def _failed(self, why: str) -> None:
        if why != self._problem:
            log.warning("issuer keys kept", extra={"fields": {"issuer": self._issuer.issuer, "why": why}})
        self._problem = why
        self._next, self._wait = self._fetched + self._wait, min(2 * self._wait, AGAIN_AT_MOST)

    def _held(self) -> _Now:
        """What is checked with now; a shared secret that changed makes all forgotten."""
        secret = self._issuer.secret
        if secret is not None and (value := secret.reveal()) != self._shared:
            if _bits(value) >= self._least:
                self._shared, self._problem, self._now = value, "", _Now((), {})
            else:
                self._problem = f"the secret at {secret.reference} is too short now"
        return self._now

    def _claims(self, token: str, held: _Now) -> Any:
        """What a token says whose signature holds. Raises Unauthenticated or Unavailable."""
        if len(token) > LONGEST or token.count(".") != 2:
            raise refused()
        try:
            header = jwt.get_unverified_header(token)
            algorithm, kid = header.get("alg"), header.get("kid")
            if algorithm not in self._issuer.algorithms or "crit" in header or "b64" in header:
                raise refused()
            key = self._key(algorithm, kid, held)
            return msgspec.json.decode(self._signatures.decode(token, key, algorithms=[algorithm]))
        except (jwt.PyJWTError, msgspec.DecodeError, ValueError, TypeError, RecursionError):
            raise refused() from None

    def _key(self, algorithm: str, kid: str | None, held: _Now) -> Any:
        if self._issuer.secret is not None:
            return self._shared
        if held.keys is None:
            raise Unavailable("tokens cannot be checked yet", retry_after=1)
        key = choose(held.keys, kid, algorithm)
        if key is None:
            self._asked_for = True
            raise refused()
        return key.public


def _pinned(issuer: Issuer) -> list[str]:
    """Raises UsageError."""
    asked = set(issuer.algorithms)
    allowed = set(ASYMMETRIC if issuer.secret is None else SHARED)
    if not asked or asked - allowed:
        with_what = "a shared secret" if issuer.secret is not None else "published keys"
        told = ", ".join(sorted(asked - allowed)) or "none"
        raise UsageError(f"algorithms: {told}; with {with_what} they are {', '.join(sorted(allowed))}")
    if issuer.secret is not None:
        bits = max(int(one[2:]) for one in asked)
        if _bits(issuer.secret.reveal()) < bits:
            raise UsageError(
                f"the secret at {issuer.secret.reference} is too short: these algorithms need {bits // 8} bytes"
            )
    return sorted(asked)


def _said(keys: tuple[Key, ...]) -> list[Any]:
    """What two sets of keys are compared by."""
    return [key._replace(public=None) for key in keys]


def _bits(secret: str) -> int:
    return 8 * len(secret.encode())
