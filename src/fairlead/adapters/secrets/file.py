"""Secrets from files, as containers get them: ``file:/run/secrets/NAME``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fairlead.contracts.errors import UsageError
from fairlead.kit.files import stamp

_LARGEST: Final = 64 * 1024


class FileSecrets:
    """The contract's ``SecretSource``. The line end that editors put behind a secret is no part of it."""

    def read(self, name: str) -> str:
        try:
            with Path(name).expanduser().open("rb") as handle:
                raw = handle.read(_LARGEST + 1)
        except (OSError, ValueError) as error:
            told = getattr(error, "strerror", None) or "that is no path"
            raise UsageError(f"the secret file {name} cannot be read: {told}") from None
        if len(raw) > _LARGEST:
            raise UsageError(f"the secret file {name} has more than {_LARGEST} bytes; is it the right one?")
        try:
            value = raw.decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise UsageError(f"the secret file {name} is not UTF-8 text; is it the right one?") from None
        if not value:
            raise UsageError(f"the secret file {name} is empty")
        return value

    def stamp(self, name: str) -> object:
        return stamp(name)
