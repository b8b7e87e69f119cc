"""Moves of aliases: compare-and-set, with a history that says who, when, from where, to where and why.

MLflow has neither, so the check and the line of history are made under one lock of the history, around the call that
moves the alias. A move that somebody made past Fairlead is seen at the next move or look, and becomes a line too.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import replace
from pathlib import Path

from fairlead.contracts.errors import AliasMoved, SourceNotFound, UsageError
from fairlead.contracts.stores import AliasHistory, AliasMove, Registry, Version
from fairlead.kit.clock import Clock
from fairlead.package import manifest

OUTSIDE = "moved outside Fairlead"
"""``why`` of a move that was only seen; who made it is not known."""
_ALIAS = re.compile(r"[A-Za-z0-9_-]{1,255}")
_RESERVED = re.compile(r"v\d+|latest", re.IGNORECASE)

ROLLBACK = "rollback"
"""``evidence`` of a rollback: it is what the next one looks for."""


class Moves:
    """Alias moves over a registry and a history. ``who`` goes into every line."""

    def __init__(self, registry: Registry, history: AliasHistory, clock: Clock, who: str) -> None:
        self._registry = registry
        self._history = history
        self._clock = clock
        self._who = who

    def current(self, model: str, alias: str) -> str:
        """The version that the alias points at in the registry; empty when there is no such alias."""
        for version in self._registry.versions(model):
            if alias in version.aliases:
                return version.version
        return ""

    def move(
        self, model: str, alias: str, to: str, *, expected: str | None = None, why: str, evidence: str = ""
    ) -> AliasMove:
        """Point ``alias`` at version ``to``, if it points at ``expected`` (empty: at nothing; None: do not care).

        Raises SourceNotFound for a version that is not there, AliasMoved when the alias points elsewhere or somebody
        moved it meanwhile, UsageError when it is there already or ``why`` is empty. After an error nothing has moved.
        """
        if not why.strip():
            raise UsageError('moving an alias needs a reason; add --why "..."')
        self._registry.version(model, to)
        before = self._noticed(model, alias)
        if expected is not None and before != expected:
            raise AliasMoved(
                f"alias {alias!r} of {model!r} points at {_named(before)} and not at {_named(expected)}; "
                "look at it again and repeat the move"
            )
        if before == to:
            raise UsageError(f"alias {alias!r} of {model!r} points at version {to} already; there is nothing to move")
        line = AliasMove(model, alias, before, to, self._who, why.strip(), self._clock.wall_ms(), evidence=evidence)
        self._history.append(
            line,
            apply=lambda: self._registry.set_alias(model, alias, to),
            current=lambda: self.current(model, alias),
        )
        return line

    def rollback(self, model: str, alias: str, why: str) -> AliasMove:
        """Point ``alias`` back at the version it had before the newest move that no rollback has undone.

        Each rollback undoes one move, as an editor's undo does: after 1, 2, 3 the first rollback gives 2 and the
        second 1, not 3 again. A move made after a rollback starts anew. Raises SourceNotFound when nothing is left to
        undo.
        """
        before = self._noticed(model, alias)
        undone = _last_standing(self._history.moves(model, alias))
        if undone is None or not undone.before:
            raise SourceNotFound(
                f"alias {alias!r} of {model!r} has no earlier version to go back to; "
                f"see `fairlead models history {model}`"
            )
        return self.move(model, alias, undone.before, expected=before, why=why, evidence=ROLLBACK)

    def history(self, model: str, alias: str | None = None) -> list[AliasMove]:
        """Every move, oldest first; those made past Fairlead are looked for before. Raises SourceNotFound."""
        aliases = {name for version in self._registry.versions(model) for name in version.aliases}
        aliases |= {line.alias for line in self._history.moves(model)}
        for name in sorted(aliases) if alias is None else [alias]:
            self._noticed(model, name)
        return self._history.moves(model, alias)

    def _noticed(self, model: str, alias: str) -> str:
        """What the alias points at now. A difference to the last line was made outside and becomes a line."""
        lines = self._history.moves(model, alias)
        known = lines[-1].after if lines else ""
        now = self.current(model, alias)
        if now != known:
            seen = AliasMove(model, alias, known, now, "", OUTSIDE, self._clock.wall_ms(), outside=True)
            # The lock compares with ``before``: let it confirm that nobody wrote this line, or moved, meanwhile.
            with contextlib.suppress(AliasMoved):
                self._history.append(seen, apply=lambda: None, current=lambda: self._confirmed(model, alias, seen))
        return now

    def _confirmed(self, model: str, alias: str, seen: AliasMove) -> str:
        lines = self._history.moves(model, alias)
        last = lines[-1].after if lines else ""
        same = self.current(model, alias) == seen.after and last == seen.before
        return seen.before if same else f"{last} (somebody else moved it)"


def check_alias(alias: str) -> None:
    """Refuse a name that MLflow would refuse, before something is logged for it. Raises UsageError."""
    if not _ALIAS.fullmatch(alias) or _RESERVED.fullmatch(alias):
        raise UsageError(f"alias {alias!r} cannot be used: letters, digits, '_' and '-', and neither v1 nor latest")


def publish(registry: Registry, folder: Path, model: str, *, run_id: str = "", description: str = "") -> Version:
    """Log a packaged folder as a new version and tag it with the digest of its manifest, so that nobody swaps it.

    Raises BrokenModel, RegistryError.
    """
    made = registry.log(folder, model, run_id=run_id, description=description)
    if not (folder / manifest.PATH).is_file():
        return made
    digest = manifest.file_digest(folder / manifest.PATH)
    registry.set_tag(made.model, made.version, manifest.TAG, digest)
    return replace(made, tags={**made.tags, manifest.TAG: digest})


def find(registry: Registry, handle: str) -> Version:
    """The version that ``NAME``, ``NAME@ALIAS`` or ``NAME/VERSION`` names; the newest for a bare name."""
    model, at, alias = handle.removeprefix("models:/").rpartition("@")
    if at:
        return registry.resolve(model, alias)
    model, slash, version = handle.removeprefix("models:/").partition("/")
    if not model:
        raise SourceNotFound(f"{handle!r} names no model; give NAME, NAME@ALIAS or NAME/VERSION")
    return registry.version(model, version) if slash else registry.latest(model)


def _last_standing(lines: list[AliasMove]) -> AliasMove | None:
    """The newest move that no rollback has undone: rollbacks and moves pair up like brackets."""
    standing: list[AliasMove] = []
    for line in lines:
        if line.evidence == ROLLBACK and standing:
            standing.pop()
        else:
            standing.append(line)
    return standing[-1] if standing else None


def _named(version: str) -> str:
    return f"version {version}" if version else "nothing"
