"""What a server's refusal means here: by its status, its code, and where those say little by its words."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from fairlead.contracts.errors import (
    BodyTooLarge,
    ContentBlocked,
    ContextTooLong,
    EngineLost,
    FairleadError,
    InvalidParameter,
    Overloaded,
    QueueFull,
    RateLimited,
    Unavailable,
)

LARGEST: Final = 64 * 1024
"""Bytes of a refusal that are read."""
_SHOWN: Final = 300
_LATEST: Final = 3600.0

_LONG_CODES: Final = ("context_length_exceeded", "exceed_context_size_error", "context_too_long")
_LONG: Final = re.compile(
    r"maximum context length|context (size|length|window)|maximum model length|max_model_len|input is too long"
    r"|(prompt|input).{0,40}(longer|exceeds)",
    re.IGNORECASE,
)
_FILTERED: Final = ("content_filter", "content_policy_violation", "content_blocked")
_SPENT: Final = ("insufficient_quota", "billing_hard_limit_reached", "budget_exceeded", "over_budget")
_RATE: Final = ("rate_limit_exceeded", "rate_limit_error", "rate_limited", "requests", "tokens")
_NUMERIC: Final = {
    "invalid_request_error": 400,
    "badrequesterror": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "overloaded_error": 529,
}


class Refusal(msgspec.Struct, frozen=True):
    """``code``, ``type``: in lower case; empty where the server gives none."""

    message: str
    code: str = ""
    type: str = ""


class Whom(msgspec.Struct, frozen=True):
    """Whose refusal it is, for people. ``credential``: the reference of what was shown, empty for nothing."""

    server: str
    model: str
    credential: str = ""
    secret: str = ""

    def hide(self, text: str) -> str:
        """What the server said, without our credential, should it repeat it."""
        return text.replace(self.secret, "***") if self.secret else text

    def __repr__(self) -> str:
        return f"Whom({self.server!r}, {self.model!r}, {self.credential!r})"


def read(data: bytes) -> Refusal:
    """Out of any form that is in use: OpenAI's, FastAPI's ``detail``, a text, nothing."""
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Refusal(data.decode("utf-8", "replace"))
    error = found.get("error", found) if isinstance(found, dict) else found
    if not isinstance(error, dict):
        return Refusal(_text(error))
    message = error.get("message", error.get("detail", ""))
    nested = found.get("code", "") if isinstance(found, dict) else ""
    return Refusal(_text(message), _text(error.get("code") or nested).lower(), _text(error.get("type", "")).lower())


def status_in(refusal: Refusal) -> int:
    """What status one would have that came inside a stream; 0 where it does not say."""
    if refusal.code.isdigit():
        return int(refusal.code[:4])
    return _NUMERIC.get(refusal.type, 0)


def later(headers: dict[bytes, bytes]) -> float | None:
    """Seconds that the server names."""
    for name, unit in ((b"retry-after-ms", 1000.0), (b"retry-after", 1.0)):
        given = headers.get(name, b"")[:12]
        if re.fullmatch(rb"\d+(\.\d+)?", given):
            return min(float(given) / unit, _LATEST)
    return None


def meaning(status: int, refusal: Refusal, wait: float | None, whom: Whom) -> FairleadError:
    """An error before anything was said."""
    said = _said(refusal, whom)
    codes = (refusal.code, refusal.type)
    if status in (401, 403):
        shown = f"the credential {whom.credential}" if whom.credential else "a request without a credential"
        return Unavailable(f"{whom.server} refuses {shown} (status {status}); give it a `token` that it knows")
    if status == 404:
        return Unavailable(f"{whom.server} has no model {whom.model!r}, or no such API: {said}")
    if any(code in _FILTERED for code in codes):
        return ContentBlocked(f"{whom.server} blocks it: {said}")
    if any(code in _SPENT for code in codes) or status == 402:
        return Unavailable(f"the account at {whom.server} has nothing left to pay with: {said}")
    if status == 413:
        return BodyTooLarge(f"{whom.server} says: {said}")
    if status == 429:
        limited = any(code in _RATE for code in codes)
        kind: type[FairleadError] = RateLimited if limited else QueueFull
        return kind(f"{whom.server} takes no more now: {said}", retry_after=1.0 if wait is None else wait)
    if any(code in _LONG_CODES for code in codes) or (status in (400, 422) and _LONG.search(refusal.message)):
        return ContextTooLong(said)
    if status in (400, 409, 415, 422):
        return InvalidParameter(f"{whom.server} refuses it: {said}")
    if "overloaded" in codes or status == 529:
        return Overloaded(
            f"{whom.server} has more to do than it can: {said}", retry_after=1.0 if wait is None else wait
        )
    told = f"status {status}" if status else "an error"
    return Unavailable(f"{whom.server} answers with {told}: {said}", retry_after=1.0 if wait is None else wait)


def broken(why: str, whom: Whom, *, said: bool) -> FairleadError:
    """The end of an answer that was not to end yet. ``said``: something of it was told."""
    if said:
        return EngineLost(f"{whom.server} broke off while it wrote the answer: {why}", retry_after=1)
    return Unavailable(f"{whom.server} does not answer: {why}", retry_after=1)


def _said(refusal: Refusal, whom: Whom) -> str:
    line = re.sub(r"[\x00-\x1f\x7f\s]+", " ", whom.hide(refusal.message)).strip()
    return (line if len(line) <= _SHOWN else f"{line[:_SHOWN]}...") or "it does not say why"


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else msgspec.json.encode(value, enc_hook=str).decode()
