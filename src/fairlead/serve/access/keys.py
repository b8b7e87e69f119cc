"""API keys: how they are made, kept, found again, replaced and taken back. Pure: time is passed in.

A key is ``fl_ID_SECRET``. The ID is public and finds the key; of the whole only its SHA-256 is kept. The secret has 160
random bits, so that a fast hash is enough: nobody tries them all.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from fairlead.contracts.access import Caller, Scope
from fairlead.contracts.errors import Conflict, NotFound, UsageError
from fairlead.contracts.ledger import Budget
from fairlead.contracts.limits import Limits

MARK: Final = "fl_"
"""What every key begins with, so that people and scanners know one when they see it."""
NEVER: Final = 0
"""The end of what has none, in milliseconds."""

_ID_BYTES, _SECRET_BYTES = 10, 20
_FORM: Final = re.compile(rb"fl_([a-z2-7]{16})_[a-z2-7]{32}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_NOBODY: Final = "0" * 64


@dataclass(frozen=True, slots=True)
class Secret:
    """One secret of a key. ``sha256``: of the whole text, hex.  ``until_ms``: when it ends; 0: never."""

    id: str
    sha256: str
    created_ms: int
    until_ms: int = NEVER


@dataclass(frozen=True, slots=True)
class Key:
    """A caller by key. ``secrets``: oldest first; while a key is rotated two of them hold.

    ``expires_ms``, ``revoked_ms``: 0 for never.  ``by``: who made it.
    """

    name: str
    scopes: tuple[Scope, ...]
    secrets: tuple[Secret, ...]
    created_ms: int
    expires_ms: int = NEVER
    revoked_ms: int = NEVER
    tenant: str = ""
    limits: Limits = Limits()
    by: str = ""
    budgets: tuple[Budget, ...] = ()

    def state(self, now_ms: int) -> str:
        """``active``, ``expired`` or ``revoked``."""
        if self.revoked_ms:
            return "revoked"
        return "active" if any(held(self, one, now_ms) for one in self.secrets) else "expired"


class Found(NamedTuple):
    """``until_ms``: when the credential ends; 0: never."""

    caller: Caller
    until_ms: int


def held(key: Key, secret: Secret, now_ms: int) -> bool:
    """Whether a secret is taken now."""
    end = _end(key, secret)
    return not key.revoked_ms and (end == NEVER or now_ms < end)


def made(key: Key, now_ms: int) -> tuple[Key, str]:
    """The key with one more secret, and the text of it, which is not kept. Raises UsageError for a name that is none,
    and for a key that may do nothing.
    """
    if not _NAME.fullmatch(key.name):
        raise UsageError(
            f"key name {key.name[:80]!r} cannot be used: letters, digits, '.', '_' and '-', at most 128, beginning "
            "with a letter or digit"
        )
    if not key.scopes:
        raise UsageError(f"key {key.name!r} may do nothing; give a scope, as --scope churn:predict")
    id_, secret = _random(_ID_BYTES), _random(_SECRET_BYTES)
    text = f"{MARK}{id_}_{secret}"
    return replace(key, secrets=(*key.secrets, Secret(id_, digest(text.encode()), now_ms))), text


def rotated(key: Key, now_ms: int, overlap_ms: int) -> tuple[Key, str]:
    """The key with a new secret; those that hold now do so for ``overlap_ms`` more. Raises Conflict for one that has
    ended.
    """
    if (state := key.state(now_ms)) != "active":
        raise Conflict(f"key {key.name!r} is {state}; create a new one")
    end = now_ms + overlap_ms
    kept = tuple(replace(one, until_ms=min(one.until_ms or end, end)) for one in key.secrets if held(key, one, now_ms))
    return made(replace(key, secrets=kept), now_ms)


def revoked(key: Key, name_or_id: str, now_ms: int) -> Key:
    """The key without what is named: all of it by its name, one secret by its ID."""
    if name_or_id == key.name:
        return replace(key, revoked_ms=key.revoked_ms or now_ms)
    kept = tuple(
        replace(one, until_ms=min(one.until_ms or now_ms, now_ms)) if one.id == name_or_id else one
        for one in key.secrets
    )
    return replace(key, secrets=kept)


def named(keys: Iterable[Key], name_or_id: str) -> Key:
    """The key of this name, else the one that has a secret of this ID. Raises NotFound."""
    known = list(keys)
    wanted = name_or_id.removeprefix(MARK)
    for key in known:
        if key.name == name_or_id:
            return key
    for key in known:
        if any(one.id == wanted for one in key.secrets):
            return key
    raise NotFound(f"there is no key {name_or_id[:80]!r}; `fairlead keys list` names them")


def digest(credential: bytes) -> str:
    """What is kept of a key."""
    return hashlib.sha256(credential).hexdigest()


class KeyRing:
    """The keys that a server knows, all in memory. It does not change; a newer one takes its place."""

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self._by_id: dict[bytes, tuple[Secret, Key, Caller]] = {}
        self._by_name: dict[str, tuple[Key, Caller]] = {}
        for key in keys:
            if not key.revoked_ms:
                caller = Caller(key.name, "key", key.scopes, key.tenant, key.limits, key.budgets)
                self._by_id.update({one.id.encode(): (one, key, caller) for one in key.secrets})
                self._by_name[key.name] = key, caller

    def find(self, credential: bytes, now_ms: int) -> Found | None:
        """Who shows this; None for what is no key, not known, or over. The time that it takes does not tell which."""
        form = _FORM.fullmatch(credential)
        entry = self._by_id.get(form[1]) if form else None
        same = hmac.compare_digest(digest(credential), entry[0].sha256 if entry else _NOBODY)
        if entry is None or not same or not held(entry[1], entry[0], now_ms):
            return None
        return Found(entry[2], _end(entry[1], entry[0]))

    def named(self, name: str, now_ms: int) -> Caller | None:
        """The key of this name, as it is now; None for one that is not known, or over."""
        found = self._by_name.get(name)
        return found[1] if found is not None and found[0].state(now_ms) == "active" else None


def _end(key: Key, secret: Secret) -> int:
    ends = [end for end in (key.expires_ms, secret.until_ms) if end]
    return min(ends, default=NEVER)


def _random(size: int) -> str:
    """Lower-case letters and digits: 8 of them for 5 bytes, which ``size`` must be a multiple of."""
    return base64.b32encode(secrets.token_bytes(size)).decode().lower()
