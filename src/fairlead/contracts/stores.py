"""Plugin contracts: the model registry, tracking and the alias history. Entry-point group ``fairlead.stores``.

``Registry`` is where versions live (MLflow, in process or over HTTP). ``AliasHistory`` is the append-only log of
alias moves and the place where a compare-and-set is decided: MLflow has neither.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Version:
    """A registered model version. ``version`` is the registry's own string, ``aliases`` those that point at it now."""

    model: str
    version: str
    aliases: tuple[str, ...] = ()
    run_id: str = ""
    source: str = ""
    created_ms: int = 0
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AliasMove:
    """One line of the history. ``before``/``after``: versions, empty for none. ``at_ms``: Unix time, milliseconds.

    ``outside``: the move was not made through Fairlead, only seen by it.
    """

    model: str
    alias: str
    before: str
    after: str
    who: str
    why: str
    at_ms: int
    outside: bool = False
    evidence: str = ""


class Registry(Protocol):
    """Raises SourceNotFound for what is not there, RegistryUnreachable when the registry does not answer."""

    def models(self) -> list[str]: ...

    def versions(self, model: str) -> list[Version]:
        """Newest first."""

    def version(self, model: str, version: str) -> Version: ...

    def resolve(self, model: str, alias: str) -> Version: ...

    def latest(self, model: str) -> Version: ...

    def set_alias(self, model: str, alias: str, version: str) -> None: ...

    def delete_alias(self, model: str, alias: str) -> None: ...

    def set_tag(self, model: str, version: str, key: str, value: str) -> None: ...

    def delete_tag(self, model: str, version: str, key: str) -> None: ...

    def download(self, uri: str, into: Path) -> Path:
        """Bring the artefact of ``models:/...`` or ``runs:/...`` under ``into`` and return its folder or file.

        Where it fails it may leave whole files there, and beginnings of them under other names: asked again with the
        same folder it goes on.
        """

    def log(self, folder: Path, model: str, *, run_id: str = "", description: str = "") -> Version:
        """Log an MLflow model folder (it has an ``MLmodel`` file) and register it as a new version of ``model``."""


class Tracker(Protocol):
    """Where training runs are kept: the registry's other half (in MLflow the same object)."""

    def run(
        self,
        experiment: str,
        name: str,
        *,
        params: Mapping[str, str | int | float | bool],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        files: Mapping[str, Path],
    ) -> str:
        """Keep one finished run and return its id. ``files``: path inside the run to the file that goes there.

        Makes the experiment when it does not exist. A run that could not be kept whole is marked as failed.
        """


class AliasHistory(Protocol):
    def append(self, move: AliasMove, apply: Callable[[], None], current: Callable[[], str]) -> None:
        """Under one lock: check that ``current()`` is ``move.before``, call ``apply()``, store the line.

        Raises AliasMoved when ``current()`` is something else; then nothing changed.
        """

    def moves(self, model: str, alias: str | None = None) -> list[AliasMove]:
        """Oldest first."""
