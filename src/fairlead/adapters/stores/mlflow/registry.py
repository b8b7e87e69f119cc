"""The model registry and run tracking on MLflow: in process on SQLite, or against any MLflow server."""

from __future__ import annotations

import re
import shlex
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fairlead.adapters.stores.mlflow import proxied, runs
from fairlead.adapters.stores.mlflow.connection import connect, is_server, told

# isort: split
# The connection sets MLflow's environment, so it comes first.
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import LoggedModelOutput
from mlflow.exceptions import MlflowException

from fairlead.contracts.errors import BrokenModel, SourceNotFound, UsageError
from fairlead.contracts.stores import Version


class MlflowRegistry:
    """Registry and Tracker over one MLflow tracking URI. Opening is lazy: the constructor touches nothing."""

    def __init__(self, tracking_uri: str) -> None:
        self._uri = tracking_uri
        self._opened: MlflowClient | None = None
        self._opening = threading.Lock()

    def models(self) -> list[str]:
        with told("the registry", self._uri):
            return sorted(model.name for model in _pages(self._client.search_registered_models))

    def versions(self, model: str) -> list[Version]:
        with told(f"model {model!r}", self._uri):
            aliases = self._client.get_registered_model(model).aliases
            quoted = f"name='{model}'" if "'" not in model else f'name="{model}"'
            found = _pages(self._client.search_model_versions, filter_string=quoted)
        versions = [_version(entry, aliases) for entry in found]
        return sorted(versions, key=lambda version: int(version.version), reverse=True)

    def version(self, model: str, version: str) -> Version:
        with told(f"model {model!r} version {version!r}", self._uri):
            entry = self._client.get_model_version(model, version)
            return _version(entry, self._client.get_registered_model(model).aliases)

    def resolve(self, model: str, alias: str) -> Version:
        with told(f"model {model!r}", self._uri):
            aliases = self._client.get_registered_model(model).aliases
        if alias not in aliases:
            known = ", ".join(sorted(aliases)) or "none"
            raise SourceNotFound(
                f"model {model!r} has no alias {alias!r} (it has: {known}); set it with "
                f"`fairlead models alias {shlex.quote(model)} {shlex.quote(alias)} VERSION`"
            )
        return self.version(model, str(aliases[alias]))

    def latest(self, model: str) -> Version:
        versions = self.versions(model)
        if not versions:
            raise SourceNotFound(f"model {model!r} has no versions; log one with `fairlead models log`")
        return versions[0]

    def set_alias(self, model: str, alias: str, version: str) -> None:
        with told(f"model {model!r} version {version!r}", self._uri):
            self._client.set_registered_model_alias(model, alias, version)

    def delete_alias(self, model: str, alias: str) -> None:
        with told(f"alias {alias!r} of model {model!r}", self._uri):
            self._client.delete_registered_model_alias(model, alias)

    def set_tag(self, model: str, version: str, key: str, value: str) -> None:
        with told(f"model {model!r} version {version!r}", self._uri):
            self._client.set_model_version_tag(model, version, key, value)

    def delete_tag(self, model: str, version: str, key: str) -> None:
        with told(f"model {model!r} version {version!r}", self._uri):
            self._client.delete_model_version_tag(model, version, key)

    def download(self, uri: str, into: Path) -> Path:
        with told(f"the artefact of {uri}", self._uri):
            into.mkdir(parents=True, exist_ok=True)
            location = self._location(uri)
            path = proxied.fetched(location, into, self._uri) if is_server(self._uri) else None
            if path is None:
                known = {"tracking_uri": self._uri, "registry_uri": self._uri}
                path = Path(download_artifacts(artifact_uri=location, dst_path=str(into), **known))
            if path.is_dir() and not any(path.iterdir()):
                raise SourceNotFound(f"{uri}: nothing lies at {location}; the run or model has no such artefact")
        return path

    def log(self, folder: Path, model: str, *, run_id: str = "", description: str = "") -> Version:
        if not (folder / "MLmodel").is_file():
            raise BrokenModel(f"{folder} is no MLflow model folder: it has no MLmodel file; pack the model first")
        with told(f"logging {model!r}", self._uri):
            run = self._client.get_run(run_id) if run_id else None
            logged = self._client.create_logged_model(
                run.info.experiment_id if run else "0",
                name=re.sub(r"[/:.%\"']", "_", model),
                source_run_id=run_id or None,
                params=run.data.params if run else None,
            )
            self._upload(logged.model_id, folder)
            if run:
                self._client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
            self._register(model)
            # In process, MLflow looks model ids up in its *global* tracking URI, which need not be ours.
            server = is_server(self._uri)
            made = self._client.create_model_version(
                model,
                f"models:/{logged.model_id}" if server else str(logged.artifact_location),
                run_id or None,
                description=description,
                model_id=logged.model_id if run or server else None,
            )
            return _version(made, {})

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
        with told(f"experiment {experiment!r}", self._uri):
            where = runs.experiment(self._client, self._uri, experiment)
            return runs.keep(self._client, where, name, params=params, metrics=metrics, tags=tags, files=files)

    @property
    def _client(self) -> MlflowClient:
        with self._opening:
            if self._opened is None:
                self._opened = connect(self._uri)
            return self._opened

    def _location(self, uri: str) -> str:
        """Where the bytes of ``models:/NAME/VERSION``, ``models:/m-ID`` or ``runs:/ID/PATH`` lie."""
        if uri.startswith("runs:/"):
            return self._run_location(uri)
        if not uri.startswith("models:/"):
            raise UsageError(f"{uri} is no registry URI; give models:/NAME/VERSION, models:/m-ID or runs:/ID/PATH")
        name, _, version = uri.removeprefix("models:/").rpartition("/")
        if not name:
            return str(self._client.get_logged_model(version).artifact_location)
        found = str(self._client.get_model_version_download_uri(name, version))
        return self._location(found) if found.startswith(("models:/", "runs:/")) else found

    def _run_location(self, uri: str) -> str:
        """MLflow 3 keeps the models of a run outside the run's own folder: look for one of that name first."""
        run_id, _, path = uri.removeprefix("runs:/").partition("/")
        run = self._client.get_run(run_id)
        outputs = run.outputs.model_outputs if run.outputs else []
        head, _, rest = path.partition("/")
        for output in reversed(outputs):
            logged = self._client.get_logged_model(output.model_id)
            if logged.name == head:
                return "/".join(part for part in (str(logged.artifact_location), rest) if part)
        return "/".join(part for part in (str(run.info.artifact_uri), path) if part)

    def _upload(self, model_id: str, folder: Path) -> None:
        try:
            self._client.log_model_artifacts(model_id, str(folder))
        except BaseException:
            self._client.finalize_logged_model(model_id, "FAILED")
            raise
        self._client.finalize_logged_model(model_id, "READY")

    def _register(self, model: str) -> None:
        try:
            self._client.create_registered_model(model)
        except MlflowException as error:
            if error.error_code not in runs.EXISTS:
                raise


def _pages(search: Callable[..., Any], **arguments: Any) -> list[Any]:
    found: list[Any] = []
    token = None
    while True:
        page = search(page_token=token, **arguments)
        found += page
        token = page.token
        if not token:
            return found


def _version(entry: Any, aliases: Mapping[str, Any]) -> Version:
    return Version(
        model=entry.name,
        version=str(entry.version),
        aliases=tuple(sorted(alias for alias, version in aliases.items() if str(version) == str(entry.version))),
        run_id=entry.run_id or "",
        source=entry.source or "",
        created_ms=entry.creation_timestamp or 0,
        description=entry.description or "",
        tags=dict(entry.tags or {}),
    )
