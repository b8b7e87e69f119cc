"""From the claims of a token whose signature holds to its caller. Pure: time is passed in."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from fairlead.contracts.access import Caller, Scope
from fairlead.contracts.errors import Unauthenticated, UsageError
from fairlead.contracts.identity import Claims, Issuer
from fairlead.kit.scopes import scope

_LONGEST: Final = 256
"""Characters of a subject or tenant."""
_MOST: Final = 256
"""Words of a claim that are read."""


class Known(NamedTuple):
    """``until``: seconds since 1970 at which the token ends, with the skew."""

    caller: Caller
    until: float


def refused() -> Unauthenticated:
    """The one answer to every token that does not hold."""
    return Unauthenticated("no credential that holds")


def known(claims: Any, issuer: Issuer, now: float) -> Known:
    """Raises Unauthenticated for what is not meant for us, not now, or says nothing about whom it stands for."""
    if not isinstance(claims, dict) or claims.get("iss") != issuer.issuer:
        raise refused()
    if not set(_words(claims.get("aud"), split=False)) & set(issuer.audiences):
        raise refused()
    until = _time(claims, "exp") + issuer.skew
    starts = max((_time(claims, name) for name in ("nbf", "iat") if name in claims), default=-math.inf)
    if now >= until or now < starts - issuer.skew:
        raise refused()
    subject, tenant = claims.get("sub"), _at(claims, issuer.claims.tenant)
    if not _label(subject) or (tenant is not None and not _label(tenant)):
        raise refused()
    granted = tuple(dict.fromkeys(_scopes(claims, issuer.claims)))
    return Known(Caller(f"{issuer.issuer}#{subject}", "jwt", granted, tenant or ""), until)


def _scopes(claims: Mapping[str, Any], said: Claims) -> Iterator[Scope]:
    """What is no scope of ours (``openid``) is passed over: tokens are made for others too."""
    for word in _words(_at(claims, said.scopes), split=True):
        if word.startswith(said.prefix):
            try:
                yield scope(word.removeprefix(said.prefix))
            except UsageError:
                continue
    for word in _words(_at(claims, said.groups), split=False):
        yield from said.grants.get(word, ())


def _at(claims: Mapping[str, Any], path: str) -> Any:
    """The claim of that name, else what a path of names with dots leads to; None when there is none."""
    if not path or path in claims:
        return claims.get(path) if path else None
    found: Any = claims
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _words(value: Any, *, split: bool) -> list[str]:
    """A text, or the texts of a list."""
    if isinstance(value, str):
        return value.split(" ")[:_MOST] if split else [value]
    return [one for one in value[:_MOST] if isinstance(one, str)] if isinstance(value, list) else []


def _time(claims: Mapping[str, Any], name: str) -> float:
    """Raises Unauthenticated for what is no time."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 2**53:
        raise refused()
    return float(value)


def _label(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST and value.isprintable()
