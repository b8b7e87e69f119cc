"""The door of the console: who comes with a request, and whether a form is one of ours."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from http.cookies import SimpleCookie
from typing import Final, Literal
from urllib.parse import SplitResult, urlsplit

from starlette.requests import Request

from fairlead.console.reading import Reader
from fairlead.console.sessions import COOKIE, SECONDS, Seal, Session
from fairlead.console.visitors import Doorman, Visitor
from fairlead.contracts.errors import Forbidden, Unauthenticated
from fairlead.kit.clock import Clock
from fairlead.kit.hosts import loopback

PATH: Final = "/console"
TOKEN_FIELD: Final = "token"  # noqa: S105 - the name of a form's field
Tone = Literal["good", "bad"]
_NOTICES: Final = 512


@dataclass(frozen=True, slots=True)
class Visit:
    """``cookie``: what the answer sets, empty for nothing.  ``token``: what forms carry.

    ``headless``: shows its key with each request and has no cookie, so that no other site can act for it.
    """

    visitor: Visitor
    session: Session
    token: str
    cookie: str = ""
    headless: bool = False


class Door:
    """``names``: hosts beside this machine's own that a browser may call the console by, where nobody is asked."""

    def __init__(self, doorman: Doorman, seal: Seal, reader: Reader, clock: Clock) -> None:
        self._doorman = doorman
        self._seal = seal
        self._reader = reader
        self._clock = clock
        self._notices: OrderedDict[str, tuple[Tone, str]] = OrderedDict()

    @property
    def asks(self) -> bool:
        return self._doorman.asks

    async def enter(self, request: Request) -> Visit:
        """Raises Unauthenticated where a key must be shown, and Forbidden for a key that may not look."""
        if not self._doorman.asks:
            return self._unasked(request)
        key = bearer(request)
        if key:
            visitor = await self._reader.read(("key", key), lambda: self._doorman.shown(key), brief=True)
            if visitor is None:
                raise Unauthenticated("the key that was shown does not hold; make one: fairlead keys create")
            session = self._seal.begun(visitor.name, self._now)
            return Visit(visitor, session, self._seal.token(session), headless=True)
        session_or_none = self._session(request)
        if session_or_none is None or not session_or_none.name:
            raise Unauthenticated("the console shows itself to callers with a key; sign in")
        name = session_or_none.name
        known = await self._reader.read(("caller", name), lambda: self._doorman.again(name), brief=True)
        if known is None:
            raise Unauthenticated("the key of this session holds no more; sign in with another")
        return Visit(known, session_or_none, self._seal.token(session_or_none))

    async def sign_in(self, request: Request, key: str) -> Visit:
        """Begin a session with a key. Raises Unauthenticated or Forbidden."""
        visitor = await self._reader.act(lambda: self._doorman.shown(key))
        if visitor is None:
            raise Unauthenticated("this key does not hold; make one: fairlead keys create --scope console:read")
        session = self._seal.begun(visitor.name, self._now)
        return Visit(visitor, session, self._seal.token(session), self._cookie(request, self._seal.written(session)))

    def stranger(self, request: Request) -> tuple[str, str]:
        """The token for the form by which somebody signs in, and the cookie that it is bound to."""
        session = self._session(request)
        if session is not None and not session.name:
            return self._seal.token(session), ""
        session = self._seal.begun("", self._now)
        return self._seal.token(session), self._cookie(request, self._seal.written(session))

    def checked(self, request: Request, token: str, visit: Visit | None = None) -> None:
        """Whether a form is ours. Raises Forbidden."""
        if visit is not None and visit.headless:
            return
        session = visit.session if visit is not None else self._session(request)
        origin = request.headers.get("origin")
        own = origin is None or _split(origin).netloc == request.headers.get("host", "")
        site = request.headers.get("sec-fetch-site", "same-origin")
        if session is None or not own or site not in ("same-origin", "none") or not self._seal.holds(session, token):
            raise Forbidden("this form was not made by this console, or is too old; open the page again and repeat it")

    def over(self, request: Request) -> str:
        """The cookie that ends a session."""
        return self._cookie(request, "", 0)

    def tell(self, visit: Visit, tone: Tone, text: str) -> None:
        """Said once, on the next page of the session."""
        self._notices[visit.session.id] = (tone, text[:2000])
        if len(self._notices) > _NOTICES:
            self._notices.popitem(last=False)

    def told(self, visit: Visit) -> tuple[Tone, str] | None:
        return self._notices.pop(visit.session.id, None)

    @property
    def _now(self) -> float:
        return self._clock.wall_ms() / 1000

    def _unasked(self, request: Request) -> Visit:
        """Nobody is asked on this machine: so nobody may come under a name of another (DNS rebinding)."""
        host = _split(f"//{request.headers.get('host', '')}").hostname or ""
        if host != "localhost" and not loopback(host):
            raise Forbidden(
                f"this console is open to this machine alone, and was called {host[:80]!r}; open it as 127.0.0.1, or "
                "have it ask for keys: --access"
            )
        session = self._session(request)
        cookie = ""
        if session is None or session.name:
            session = self._seal.begun("", self._now)
            cookie = self._cookie(request, self._seal.written(session))
        return Visit(self._doorman.unasked(), session, self._seal.token(session), cookie)

    def _session(self, request: Request) -> Session | None:
        cookie = request.cookies.get(COOKIE, "")
        return self._seal.read(cookie, self._now) if cookie else None

    def _cookie(self, request: Request, value: str, seconds: int = SECONDS) -> str:
        made: SimpleCookie = SimpleCookie({COOKIE: value})
        told = made[COOKIE]
        told["path"], told["samesite"], told["max-age"] = PATH, "Strict", str(seconds)
        told["httponly"], told["secure"] = True, request.url.scheme == "https"
        return told.OutputString()


def _split(url: str) -> SplitResult:
    """Of what a stranger wrote; what is no URL has no host."""
    try:
        return urlsplit(url)
    except ValueError:
        return SplitResult("", "", "", "", "")


def bearer(request: Request) -> str:
    """The key of the ``authorization`` header; empty for none."""
    kind, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if kind.lower() == "bearer" else ""
