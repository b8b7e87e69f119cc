"""Callers by certificate (mTLS): whom the names in a certificate stand for. That it holds, TLS has seen to."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from fairlead.contracts.access import Caller, Scope
from fairlead.kit.clock import Clock
from fairlead.serve.access.credentials import Certificate

_DATES: Final = 1024


@dataclass(frozen=True, slots=True)
class Certified:
    """``san``: a URI or a DNS name; else ``cn``: a common name."""

    scopes: tuple[Scope, ...]
    san: str = ""
    cn: str = ""
    tenant: str = ""

    @property
    def name(self) -> tuple[str, str]:
        """What it is found by."""
        if not self.san:
            return "CN", self.cn
        return ("URI", self.san) if ":" in self.san else ("DNS", self.san.lower())


class Certificates:
    """What a gate asks whom a certificate stands for; of several that fit the first one counts."""

    def __init__(self, known: Iterable[Certified], clock: Clock) -> None:
        self._clock = clock
        self._callers: dict[tuple[str, str], tuple[int, Caller]] = {}
        for place, one in enumerate(known):
            caller = Caller(one.san or f"CN={one.cn}", "mtls", one.scopes, one.tenant)
            self._callers.setdefault(one.name, (place, caller))
        self._ends: dict[str, float] = {}

    def __call__(self, shows: Certificate) -> Caller | None:
        """None for one that stands for nobody, or that ended since its connection was made."""
        found = [self._callers[name] for name in _names(shows) if name in self._callers]
        if not found or self._clock.wall_ms() / 1000 >= self._end(shows.get("notAfter", "")):
            return None
        return min(found, key=lambda one: one[0])[1]

    def _end(self, text: str) -> float:
        """Seconds since 1970; remembered, for a connection asks with every call."""
        if text not in self._ends:
            if len(self._ends) >= _DATES:
                self._ends.clear()
            try:
                self._ends[text] = float(ssl.cert_time_to_seconds(text))
            except ValueError:
                self._ends[text] = 0.0
        return self._ends[text]


def _names(shows: Certificate) -> Iterator[tuple[str, str]]:
    for kind, value in shows.get("subjectAltName", ()):
        yield kind, value.lower() if kind == "DNS" else value
    for part in shows.get("subject", ()):
        for name, value in part:
            if name == "commonName":
                yield "CN", value
