"""From what a request shows to who sends it: keys from memory, other tokens by verifiers, certificates by their owner.

Who showed the same before is known by one look-up, for a while: a key for ``KEY_SECONDS``, a token of a verifier for
``TOKEN_SECONDS``, each less where it ends sooner, and all of them anew when the keys change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeVar

from fairlead.contracts.access import Caller, Verifier
from fairlead.contracts.errors import Unauthenticated, Unavailable
from fairlead.kit.clock import Clock
from fairlead.serve.access.asking import Asking
from fairlead.serve.access.credentials import Certificate, Headers, refused, shown
from fairlead.serve.access.keys import MARK, KeyRing

KEY_SECONDS: Final = 30.0
TOKEN_SECONDS: Final = 1.0
REMEMBERED: Final = 4096
"""Entries of a memory; when there are more, all are forgotten."""
_LONGEST: Final = 4096
"""Bytes of credentials that are remembered."""
_KEY: Final = MARK.encode()

K = TypeVar("K")
V = TypeVar("V")
Mark = tuple[bytes | None, bytes | None, bytes | None]
"""What a request shows, as it stands in its headers."""


class Known(NamedTuple):
    """``until``: monotonic seconds."""

    caller: Caller
    until: float


class Callers:
    """``verifiers``: who may know a token that is no key, asked in turn.  ``certificates``: whom one stands for.

    Without a ``ring`` no key was read yet. All on the event loop.
    """

    def __init__(
        self,
        clock: Clock,
        ring: KeyRing | None = None,
        *,
        verifiers: Sequence[Verifier] = (),
        certificates: Callable[[Certificate], Caller | None] | None = None,
    ) -> None:
        self._clock = clock
        self._ring = ring
        self._verifiers = verifiers
        self._certificates = certificates
        self._known: dict[Mark, Known] = {}

    def know(self, ring: KeyRing) -> None:
        """From now on these keys hold, and no others."""
        self._ring = ring
        self.forget()

    def forget(self) -> None:
        """Ask keys and verifiers again for everybody."""
        self._known.clear()

    def find(self, asking: Asking, mark: Mark) -> Known:
        """Who it is. Raises Unauthenticated, or Unavailable where no key was read yet."""
        known = self._known.get(mark)
        if known is not None and known.until > asking.arrived:
            return known
        known = self._find(asking)
        if short(mark):
            keep(self._known, mark, known)
        return known

    def again(self, caller: Caller | None) -> Caller:
        """Somebody who came before, for what the server does for them later: a key as it is now, whoever is known by
        something else as they were then. Raises Unauthenticated, or Unavailable where no key was read yet.
        """
        if caller is None:
            raise refused()
        if caller.kind != "key":
            return caller
        if self._ring is None:
            raise Unavailable("the keys of this server cannot be read yet", retry_after=1)
        found = self._ring.named(caller.name, self._clock.wall_ms())
        if found is None:
            raise refused()
        return found

    def _find(self, asking: Asking) -> Known:
        credential, now = shown(asking.headers), asking.arrived
        if credential is None:
            return Known(self._certified(asking), now)
        if not credential.startswith(_KEY):
            return Known(self._verified(credential), now + TOKEN_SECONDS)
        if self._ring is None:
            raise Unavailable("the keys of this server cannot be read yet", retry_after=1)
        wall = self._clock.wall_ms()
        found = self._ring.find(credential, wall)
        if found is None:
            raise refused()
        left = (found.until_ms - wall) / 1000 if found.until_ms else KEY_SECONDS
        return Known(found.caller, now + min(left, KEY_SECONDS))

    def _certified(self, asking: Asking) -> Caller:
        if self._certificates is not None:
            shows = asking.certificate()
            caller = self._certificates(shows) if shows is not None else None
            if caller is not None:
                return caller
        raise refused()

    def _verified(self, credential: bytes) -> Caller:
        try:
            token = credential.decode("ascii")
        except UnicodeDecodeError:
            raise refused() from None
        for verifier in self._verifiers:
            try:
                return verifier.verify(token, self._clock.wall_ms() / 1000)
            except Unauthenticated:
                continue
        raise refused()


def mark_of(headers: Headers) -> Mark:
    get = headers.get
    return get(b"authorization"), get(b"x-api-key"), get(b"api-key")


def short(mark: Mark) -> bool:
    """Whether it shows something, and no more than is worth remembering."""
    return 0 < sum(len(one) for one in mark if one is not None) <= _LONGEST


def keep(memory: dict[K, V], key: K, value: V) -> None:
    """Remember it, within bounds."""
    if len(memory) >= REMEMBERED:
        memory.clear()
    memory[key] = value
