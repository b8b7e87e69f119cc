"""References to secrets, and what they lead to. A text that should be a reference and is none is never repeated."""

from __future__ import annotations

import logging
import re
from typing import Final
from urllib.parse import quote

from fairlead.contracts.errors import FairleadError, UsageError
from fairlead.contracts.secrets import Secret, SecretSource
from fairlead.kit import plugins
from fairlead.kit.clock import Clock, SystemClock

GROUP: Final = "fairlead.secrets"
LOOK: Final = 1.0
"""Seconds between two looks at whether a secret changed."""

_log = logging.getLogger("fairlead.secrets")
_REFERENCE: Final = re.compile(r"([a-z][a-z0-9-]*):(\S(?:.*\S)?)")
_INSIDE: Final = re.compile(r"\$\{([^{}]*)\}?")


def schemes() -> str:
    """How a reference may begin, for people."""
    return " or ".join(f"{name}:..." for name in plugins.names(GROUP))


def split(text: str) -> tuple[str, str]:
    """Scheme and name of a reference. Raises UsageError, which does not repeat the text: it may be the secret."""
    match = _REFERENCE.fullmatch(text)
    if match is None or match[1] not in plugins.names(GROUP):
        raise UsageError(f"this must be a reference to a secret, {schemes()}, not the secret itself")
    return match[1], match[2]


def secret(reference: str, clock: Clock | None = None) -> Secret:
    """The secret behind a reference, read now, and again when it changes. Raises UsageError when there is none."""
    scheme, name = split(reference)
    return Secret(reference, _Followed(_source(scheme), name, reference, clock or SystemClock()))


def expanded(text: str, *, url: bool = True) -> str:
    """``text`` with the secret in the place of each ``${env:NAME}``; in a part of a URL it is percent-encoded.

    Raises UsageError for a reference that leads nowhere, or is none.
    """

    def value(match: re.Match[str]) -> str:
        try:
            scheme, name = split(match[1])
        except UsageError:
            shown = match[0] if re.fullmatch(r"\$\{\w+\}", match[0]) else "${...}"
            raise UsageError(f"{shown} is no reference to a secret; write ${{env:NAME}} or ${{file:PATH}}") from None
        found = _source(scheme).read(name)
        return quote(found, safe="") if url and match[0] != text else found

    return _INSIDE.sub(value, text)


def _source(scheme: str) -> SecretSource:
    found: SecretSource = plugins.load(GROUP, scheme)()
    return found


class _Followed:
    """Gives the value, which is looked at again once a second at most; one that is gone stays what it was."""

    def __init__(self, source: SecretSource, name: str, reference: str, clock: Clock) -> None:
        self._source = source
        self._name = name
        self._reference = reference
        self._clock = clock
        self._stamp = source.stamp(name)
        self._value = source.read(name)
        self._looked = clock.now()

    def __call__(self) -> str:
        now = self._clock.now()
        if now - self._looked >= LOOK:
            self._looked = now
            stamp = self._source.stamp(self._name)
            if stamp != self._stamp:
                self._stamp = stamp
                self._read()
        return self._value

    def _read(self) -> None:
        fields = {"reference": self._reference}
        try:
            self._value = self._source.read(self._name)
        except FairleadError as error:
            _log.warning("secret kept", extra={"fields": {**fields, "why": str(error)}})
        else:
            _log.info("secret read again", extra={"fields": fields})
