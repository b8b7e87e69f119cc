"""Plugin contract: where a secret comes from. Entry-point group ``fairlead.secrets``.

A reference is ``SCHEME:NAME``, as ``env:TOKEN`` or ``file:/run/secrets/token``. The entry point under the scheme is a
class that is called without arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, Protocol


class SecretSource(Protocol):
    def read(self, name: str) -> str:
        """The secret now. Raises UsageError that names where it was looked for, and never says what was found."""

    def stamp(self, name: str) -> object:
        """Something that changes when ``read`` would give another value; cheap. It never raises."""


class Secret:
    """A secret that no print, log, format, copy or pickle shows. ``reference``: where it is, which is no secret."""

    __slots__ = ("_read", "reference")

    def __init__(self, reference: str, read: Callable[[], str]) -> None:
        self.reference = reference
        self._read = read

    def reveal(self) -> str:
        """Its value now, for the one who sends or checks it."""
        return self._read()

    def __repr__(self) -> str:
        return f"<secret {self.reference}>"

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a secret is not pickled; send its reference, and read it there")
