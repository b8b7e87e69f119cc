"""Keep a training run: parameters, metrics, tags and files."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from fairlead.adapters.stores.mlflow.connection import artifact_root, sqlite_file

# isort: split
# The connection sets MLflow's environment, so it comes first.
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

EXISTS = ("RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS")
"""MLflow's error codes for a name that is taken."""


def keep(
    client: MlflowClient,
    experiment_id: str,
    name: str,
    *,
    params: Mapping[str, str | int | float | bool],
    metrics: Mapping[str, float],
    tags: Mapping[str, str],
    files: Mapping[str, Path],
) -> str:
    """Write one run, finished or (when it cannot be kept whole) failed. Returns its id."""
    run = client.create_run(experiment_id, run_name=name)
    run_id, started = str(run.info.run_id), run.info.start_time
    try:
        client.log_batch(
            run_id,
            metrics=[Metric(key, float(value), started, 0) for key, value in metrics.items()],
            params=[Param(key, str(value)) for key, value in params.items()],
            tags=[RunTag(key, value) for key, value in tags.items()],
        )
        for place, file in files.items():
            _keep_file(client, run_id, PurePosixPath(place), file)
    except BaseException:
        client.set_terminated(run_id, "FAILED")
        raise
    client.set_terminated(run_id, "FINISHED")
    return run_id


def experiment(client: MlflowClient, uri: str, name: str) -> str:
    """The id of the experiment ``name``; makes it, with its artifacts next to an embedded database."""
    found = client.get_experiment_by_name(name)
    if found is None:
        database = sqlite_file(uri)
        location = (artifact_root(database) / _folder_name(name)).as_uri() if database else None
        try:
            client.create_experiment(name, artifact_location=location)
        except MlflowException as error:
            if error.error_code not in EXISTS:
                raise
        found = client.get_experiment_by_name(name)
    return str(found.experiment_id)


def _keep_file(client: MlflowClient, run_id: str, place: PurePosixPath, file: Path) -> None:
    """MLflow names an artifact after its local file, so a copy of the wanted name is what goes there."""
    with tempfile.TemporaryDirectory() as folder:
        renamed = Path(folder) / place.name
        shutil.copyfile(file, renamed)
        client.log_artifact(run_id, str(renamed), str(place.parent) if len(place.parts) > 1 else None)


def _folder_name(experiment: str) -> str:
    return f"{re.sub('[^A-Za-z0-9]+', '-', experiment)[:40]}-{hashlib.sha256(experiment.encode()).hexdigest()[:8]}"
