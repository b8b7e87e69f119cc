"""A registry and an alias history in memory, for tests; ``fairlead.testing.store_suite`` holds for them too."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from fairlead.contracts.errors import AliasMoved, BrokenModel, RegistryUnreachable, SourceNotFound, UsageError
from fairlead.contracts.stores import AliasMove, Version


class MemoryRegistry:
    """Registry and Tracker. ``down``: answer nothing, as a registry that cannot be reached.

    ``downloads``: URIs that were downloaded, in order.  ``runs``: what ``run`` was told, by run id.
    """

    def __init__(self) -> None:
        self.down = False
        self.downloads: list[str] = []
        self.runs: dict[str, dict[str, object]] = {}
        self._versions: dict[str, list[Version]] = {}
        self._aliases: dict[str, dict[str, str]] = {}
        self._files: dict[str, dict[str, bytes]] = {}

    def add(self, uri: str, files: Mapping[str, bytes]) -> None:
        """Put an artefact where ``download`` finds it: ``models:/m-...`` or ``runs:/ID/PATH``."""
        self._files[uri] = dict(files)

    def models(self) -> list[str]:
        self._answer()
        return sorted(self._versions)

    def versions(self, model: str) -> list[Version]:
        self._answer()
        if model not in self._versions:
            raise SourceNotFound(f"model {model!r} is not there")
        return [self._now(version) for version in reversed(self._versions[model])]

    def version(self, model: str, version: str) -> Version:
        for found in self.versions(model):
            if found.version == version:
                return found
        raise SourceNotFound(f"model {model!r} version {version!r} is not there")

    def resolve(self, model: str, alias: str) -> Version:
        for found in self.versions(model):
            if alias in found.aliases:
                return found
        raise SourceNotFound(f"model {model!r} has no alias {alias!r}")

    def latest(self, model: str) -> Version:
        return self.versions(model)[0]

    def set_alias(self, model: str, alias: str, version: str) -> None:
        self.version(model, version)
        if alias.lower() == "latest":
            raise UsageError(f"alias {alias!r} is reserved")
        self._aliases.setdefault(model, {})[alias] = version

    def delete_alias(self, model: str, alias: str) -> None:
        self.versions(model)
        self._aliases.get(model, {}).pop(alias, None)

    def set_tag(self, model: str, version: str, key: str, value: str) -> None:
        self._retag(model, version, {**self.version(model, version).tags, key: value})

    def delete_tag(self, model: str, version: str, key: str) -> None:
        tags = dict(self.version(model, version).tags)
        tags.pop(key, None)
        self._retag(model, version, tags)

    def download(self, uri: str, into: Path) -> Path:
        self._answer()
        if uri not in self._files:
            raise SourceNotFound(f"{uri}: nothing is there")
        self.downloads.append(uri)
        for name, content in self._files[uri].items():
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            (into / name).write_bytes(content)
        return into

    def log(self, folder: Path, model: str, *, run_id: str = "", description: str = "") -> Version:
        self._answer()
        if not (folder / "MLmodel").is_file():
            raise BrokenModel(f"{folder} is no MLflow model folder: it has no MLmodel file")
        if run_id and run_id not in self.runs:
            raise SourceNotFound(f"run {run_id!r} is not there")
        earlier = self._versions.setdefault(model, [])
        number = str(len(earlier) + 1)
        made = Version(model, number, run_id=run_id, source=f"memory:/{model}/{number}", description=description)
        earlier.append(made)
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        self.add(f"models:/{model}/{number}", files)
        return made

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
        self._answer()
        run_id = f"run{len(self.runs) + 1}"
        kept = {place: file.read_bytes() for place, file in files.items()}
        told = {"experiment": experiment, "name": name, "params": dict(params), "metrics": dict(metrics)}
        self.runs[run_id] = {**told, "tags": dict(tags), "files": kept}
        for place, content in kept.items():
            folder, _, file = place.rpartition("/")
            self._files.setdefault(f"runs:/{run_id}/{folder}", {})[file] = content
        return run_id

    def _answer(self) -> None:
        if self.down:
            raise RegistryUnreachable("the registry in memory was told not to answer")

    def _now(self, version: Version) -> Version:
        pointing = self._aliases.get(version.model, {}).items()
        return replace(version, aliases=tuple(sorted(alias for alias, to in pointing if to == version.version)))

    def _retag(self, model: str, version: str, tags: Mapping[str, str]) -> None:
        self._versions[model] = [
            replace(one, tags=tags) if one.version == version else one for one in self._versions[model]
        ]


class MemoryAliasHistory:
    """AliasHistory for one process."""

    def __init__(self) -> None:
        self._lines: list[AliasMove] = []
        self._lock = threading.RLock()

    def append(self, move: AliasMove, apply: Callable[[], None], current: Callable[[], str]) -> None:
        with self._lock:
            found = current()
            if found != move.before:
                raise AliasMoved(f"alias {move.alias!r} points at {found!r} and not at {move.before!r}")
            apply()
            self._lines.append(move)

    def moves(self, model: str, alias: str | None = None) -> list[AliasMove]:
        with self._lock:
            return [line for line in self._lines if line.model == model and alias in (None, line.alias)]
