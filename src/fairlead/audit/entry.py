"""One line of the log: JSON whose last field is the digest of all bytes before it.

The digest is over the bytes as they stand, so there is nothing to agree on about how JSON is written, and no byte of a
line can change unseen.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import msgspec

from fairlead.contracts.audit import Audited
from fairlead.contracts.errors import UsageError

NAME: Final = 256
DETAIL: Final = 65_536
"""Most characters of a name, and of a text in the detail, that are kept."""

SYSTEM: Final = "fairlead"
"""Who does what the log itself says of itself."""
GAP: Final = "audit.gap"
"""Entries were lost: ``lost`` of them, between ``since`` and ``until``."""
RECOVERED: Final = "audit.recovered"
"""The line before it is the torn end of a process that was killed: ``torn_bytes`` of this ``torn_sha256``."""
RETENTION: Final = "audit.retention"
"""Segments up to entry ``through`` with digest ``digest`` were dropped, as they were too old."""

_HASH = b',"hash":"'
_SEALED = re.compile(rb'(?P<body>\{.*),"hash":"(?P<hash>sha256:[0-9a-f]{64}|hmac-sha256:[0-9a-f]{8}:[0-9a-f]{64})"\}')


@dataclass(frozen=True, slots=True)
class Noted:
    """An entry before it is in the log. ``at_ms``: Unix time.  ``count``: how many alike it stands for."""

    entry: Audited
    at_ms: int
    count: int = 1


class Line(msgspec.Struct, frozen=True):
    """An entry in the log. ``seq``: its number in its chain, from 1.  ``prev``: the digest of the one before it."""

    seq: int
    at: str
    actor: str
    action: str
    endpoint: str
    version: str
    outcome: str
    request_id: str
    count: int
    detail: dict[str, str | int | float | None]
    prev: str
    hash: str = ""


_BODY = msgspec.json.Encoder()
_LINE = msgspec.json.Decoder(Line)


@dataclass(frozen=True, slots=True)
class Seal:
    """How lines are sealed: by SHA-256, or with ``key`` by HMAC-SHA256, which only who has the key can make."""

    key: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        if self.key and len(self.key) < 16:
            raise UsageError(f"the key of the audit log has {len(self.key)} bytes; give 16 at least, 32 for choice")

    @property
    def name(self) -> str:
        """Tells one key from another, and gives none away."""
        return hashlib.sha256(b"fairlead audit key" + self.key).hexdigest()[:8] if self.key else ""

    def of(self, body: bytes) -> str:
        """The digest of these bytes."""
        if not self.key:
            return f"sha256:{hashlib.sha256(body).hexdigest()}"
        return f"hmac-sha256:{self.name}:{hmac.new(self.key, body, hashlib.sha256).hexdigest()}"

    def holds(self, body: bytes, digest: str) -> bool:
        """Whether ``digest`` is that of ``body``. A log may have begun before it had a key.

        Raises UsageError for one that was made with another key.
        """
        if digest.startswith("sha256:"):
            return hmac.compare_digest(Seal().of(body), digest)
        if digest.split(":")[1] != self.name:
            raise UsageError(
                "the audit log is sealed with a key; name it: --key env:NAME or --key file:PATH"
                if not self.key
                else "the audit log is sealed with another key than this one"
            )
        return hmac.compare_digest(self.of(body), digest)


def genesis(chain: str) -> str:
    """What the first entry of a chain follows: a file that is renamed does not pass for another chain."""
    return f"sha256:{hashlib.sha256(f'fairlead audit chain {chain}'.encode()).hexdigest()}"


def encode(noted: Noted, seq: int, prev: str, seal: Seal) -> tuple[bytes, str]:
    """The line with its newline, and its digest."""
    entry = noted.entry
    body = _BODY.encode(
        {
            "seq": seq,
            "at": stamp(noted.at_ms),
            "actor": _text(entry.actor, NAME),
            "action": _text(entry.action, NAME),
            "endpoint": _text(entry.endpoint, NAME),
            "version": _text(entry.version, NAME),
            "outcome": _text(entry.outcome, NAME),
            "request_id": _text(entry.request_id, NAME),
            "count": noted.count,
            "detail": _detail(entry.detail),
            "prev": prev,
        }
    )
    body = body[:-1]
    digest = seal.of(body)
    return b"".join((body, _HASH, digest.encode(), b'"}\n')), digest


def decode(raw: bytes, seal: Seal) -> Line | None:
    """The entry in a line without its newline; None where it is none, or not the one that was written.

    Raises UsageError when it is sealed with a key that ``seal`` has not.
    """
    match = _SEALED.fullmatch(raw)
    if match is None or not seal.holds(match["body"], match["hash"].decode()):
        return None
    return read(raw)


def read(raw: bytes) -> Line | None:
    """The entry in a line, whether it holds or not; None where there is none."""
    try:
        return _LINE.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def stamp(at_ms: int) -> str:
    """Unix milliseconds as text, in UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at_ms % 1000:03d}Z"


def _detail(given: Mapping[str, str | int | float]) -> dict[str, str | int | float]:
    return {
        _text(name, NAME): _text(value, DETAIL) if isinstance(value, str) else value for name, value in given.items()
    }


def _text(text: str, limit: int) -> str:
    """What JSON can hold of it."""
    cut = text if len(text) <= limit else f"{text[:limit]}…"
    return cut if cut.isascii() else cut.encode("utf-8", "replace").decode()
