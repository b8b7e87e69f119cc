"""Bundles: a model that was found, verified and allowed to load. Nothing here loads it."""

from __future__ import annotations

from dataclasses import dataclass

from fairlead.contracts.runtime import Artefact
from fairlead.contracts.types import Tensors
from fairlead.package.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Bundle:
    """``name``: default endpoint name.  ``version``: the registry's; ``1`` for a file or a class.

    ``digest``: SHA-256 over the bytes (empty for a class).  ``notes``: sentences that a user must be told.
    ``example``: the input example, rows on axis 0, for warm-up; None without one.
    """

    name: str
    version: str
    uri: str
    artefact: Artefact
    digest: str
    notes: tuple[str, ...] = ()
    manifest: Manifest | None = None
    example: Tensors | None = None
