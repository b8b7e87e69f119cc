"""Secrets from the environment: ``env:NAME``."""

from __future__ import annotations

from fairlead.contracts.errors import UsageError
from fairlead.kit import config


class EnvironmentSecrets:
    """The contract's ``SecretSource``. A process's environment does not change, so neither does the stamp."""

    def read(self, name: str) -> str:
        value = config.variables().get(name, "")
        if not value:
            raise UsageError(f"the environment variable {name!r} is not set, or empty; set it, or refer to a file")
        return value

    def stamp(self, name: str) -> object:  # noqa: ARG002 - the contract names it
        return None
