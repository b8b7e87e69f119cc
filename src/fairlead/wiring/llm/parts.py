"""Parts of an endpoint that only a language model has. Light: every spec is held against them."""

from __future__ import annotations

from typing import Final

from fairlead.contracts.errors import UsageError
from fairlead.kit.spec.read import SpecFile
from fairlead.kit.spec.spec import Endpoint

PARTS: Final[tuple[str, ...]] = ("cache", "guardrails", "route", "cascade", "scheduling", "embedding")
"""For stages of its line."""


def refuse(file: SpecFile, name: str, endpoint: Endpoint) -> None:
    """Raises UsageError for a part that only a language model has."""
    for part in PARTS:
        if getattr(endpoint, part) is not None:
            raise UsageError(f"{file.at('endpoints', name, part)} is for a language model, and {name} is none")
