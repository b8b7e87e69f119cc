"""Sessions of browsers: a signed cookie that says who came until when, and a token that forms must carry. Pure.

Nothing is kept: the signature (HMAC-SHA-256) says that the cookie is ours, the keys say at each request whether its
owner still may come. The token is bound to the session and is not in the cookie, so that another site's form lacks it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Final

import msgspec

COOKIE: Final = "fairlead_console"
SECONDS: Final = 12 * 3600
"""How long a session lasts."""
SECRET_BYTES: Final = 32
_LONGEST: Final = 1024


class Session(msgspec.Struct, frozen=True, array_like=True):
    """``name``: of the caller, empty where nobody is asked.  ``id``: random.  ``until``: Unix seconds."""

    name: str
    id: str
    until: int


@dataclass(frozen=True, slots=True)
class Seal:
    """``secret``: of the server; who knows it can be anybody."""

    secret: bytes

    def begun(self, name: str, now: float) -> Session:
        return Session(name, secrets.token_urlsafe(18), int(now) + SECONDS)

    def written(self, session: Session) -> str:
        """The value of the cookie."""
        body = _text(msgspec.json.encode(session))
        return f"{body}.{_text(self._mark('session', body))}"

    def read(self, cookie: str, now: float) -> Session | None:
        """The session of a cookie; None for one that is not ours, or over."""
        body, _, mark = cookie.partition(".")
        if len(cookie) > _LONGEST or not hmac.compare_digest(
            mark.encode(), _text(self._mark("session", body)).encode()
        ):
            return None
        try:
            session = msgspec.json.decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)), type=Session)
        except (msgspec.DecodeError, binascii.Error):
            return None
        return session if now < session.until else None

    def token(self, session: Session) -> str:
        """What every form of the session carries."""
        return _text(self._mark("form", session.id))

    def holds(self, session: Session, token: str) -> bool:
        return hmac.compare_digest(token.encode(), self.token(session).encode())

    def _mark(self, use: str, text: str) -> bytes:
        return hmac.digest(self.secret, f"{use}\n{text}".encode(), hashlib.sha256)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
