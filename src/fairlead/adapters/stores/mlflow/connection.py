"""Open an MLflow client without noise, races or long waits, and tell its failures as our errors.

``import mlflow`` takes about two seconds however little of it is asked for (``mlflow/__init__`` imports everything),
so nothing outside this folder imports it, and the folder is loaded only when a registry is needed.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from fairlead.contracts.errors import (
    FairleadError,
    RegistryError,
    RegistryUnreachable,
    SourceNotFound,
    StorageFull,
    UsageError,
)
from fairlead.kit.files import locked, unwritable
from fairlead.kit.sentences import masked, without_secrets

# MLflow reads these while it is imported and at each request; what the user has set wins.
for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # its default keeps asking a dead server for over four minutes
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}.items():
    os.environ.setdefault(_name, _value)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import requests
    import sqlalchemy
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from mlflow.utils.credentials import get_default_host_creds as creds
    from mlflow.utils.rest_utils import augmented_raise_for_status, http_request

_GONE = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND")
_REFUSED = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "INVALID_STATE")
_UNKNOWN = ("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "PERMISSION_DENIED")
_DENIED = re.compile(r"failed with (?:error code|status) (401|403)\b")
_PROBE_SECONDS = 3

__all__ = [
    "augmented_raise_for_status",
    "connect",
    "creds",
    "http_request",
    "is_server",
    "requests",
    "sqlite_file",
    "told",
]

_MIGRATING: Final = threading.Lock()
"""What migrates keeps its connection in a module: two databases at once would find each other's."""


def connect(uri: str) -> MlflowClient:
    """A client that has been answered once. A fresh SQLite file is made under a lock: MLflow's migrations race."""
    _be_quiet()
    if is_server(uri):
        http_request(creds(uri), "/health", "GET", max_retries=0, timeout=_PROBE_SECONDS)
        return MlflowClient(uri, uri)
    database = sqlite_file(uri)
    if database is None:
        if uri.startswith("postgresql"):
            _probe(uri)
        return MlflowClient(uri, uri)
    with _MIGRATING, locked(database.with_name(f"{database.name}.lock")):
        if not database.exists() or database.stat().st_size == 0:
            # Only the store takes an artifact root; the client would put artifacts under ./mlruns.
            SqlAlchemyStore(uri, artifact_root(database).as_uri()).engine.dispose()
        client = MlflowClient(uri, uri)
        client.search_registered_models(max_results=1)
        client.search_experiments(max_results=1)
    return client


def is_server(uri: str) -> bool:
    """True for a tracking server, False for stores that run in this process."""
    return uri.startswith(("http://", "https://"))


def sqlite_file(uri: str) -> Path | None:
    """The database file behind ``uri``; None when it is something else."""
    scheme, _, rest = uri.partition(":///")
    return Path(rest.partition("?")[0]).absolute() if scheme.startswith("sqlite") and rest else None


def artifact_root(database: Path) -> Path:
    """Artifacts lie next to the database, wherever the process was started."""
    return database.parent / "artifacts"


@contextmanager
def told(what: str, uri: str) -> Iterator[None]:
    """Turn what MLflow and its stores raise into our errors; ``what`` begins the sentence."""
    try:
        yield
    except MlflowException as error:
        raise _full(error, what, uri) or _translated(error, what, uri) from error
    except requests.exceptions.HTTPError as error:  # of an artefact, which MLflow leaves as it is
        raise _refused(error, what, uri) from error
    except (requests.exceptions.RequestException, ConnectionError, TimeoutError) as error:
        raise RegistryUnreachable(_unreachable(uri), retry_after=5) from error
    except sqlalchemy.exc.SQLAlchemyError as error:
        failed = RegistryError(f"{what}: the registry database failed: {_first_line(error)}")
        raise _full(error, what, uri) or failed from error
    except OSError as error:
        failed = RegistryError(f"{what}: {error.strerror or error} ({error.filename or without_secrets(uri)})")
        raise _full(error, what, uri) or failed from error


def _refused(error: requests.exceptions.HTTPError, what: str, uri: str) -> FairleadError:
    status = error.response.status_code if error.response is not None else 0
    if status in (401, 403):
        return _denied(uri, str(status))
    if status == 404:
        return SourceNotFound(f"{what} is not there: {without_secrets(uri)} has no such artefact")
    if status in (429, 502, 503, 504):
        return RegistryUnreachable(_unreachable(uri), retry_after=5)
    return RegistryError(f"{what}: the registry at {without_secrets(uri)} answers {status}")


def _denied(uri: str, status: str) -> RegistryError:
    return RegistryError(
        f"{without_secrets(uri)} refuses who asks ({status}); show it a token in MLFLOW_TRACKING_TOKEN, or a password "
        "by reference: https://USER:${env:NAME}@HOST"
    )


def _probe(uri: str) -> None:
    """MLflow tries a dead PostgreSQL server fifteen times, for over a minute."""
    engine = sqlalchemy.create_engine(uri, connect_args={"connect_timeout": _PROBE_SECONDS})
    try:
        engine.connect().close()
    except sqlalchemy.exc.OperationalError as error:
        raise RegistryUnreachable(_unreachable(uri), retry_after=5) from error
    finally:
        engine.dispose()


def _be_quiet() -> None:
    """MLflow and Alembic tell their own story on the console, tracebacks too; ours is told by errors."""
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"mlflow\.")


def _full(error: Exception, what: str, uri: str) -> FairleadError | None:
    """The disk is ours when the stores run in this process; of a server's disk its own message tells."""
    said = "" if is_server(uri) and isinstance(error, MlflowException) else unwritable(error)
    return StorageFull(f"{what}: {said}; free some space, or name another folder with --home") if said else None


def _translated(error: MlflowException, what: str, uri: str) -> FairleadError:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, (requests.exceptions.ConnectionError, requests.exceptions.Timeout)):
            return RegistryUnreachable(_unreachable(uri), retry_after=5)
        cause = cause.__cause__ or cause.__context__
    said = _first_line(error)
    if (found := _DENIED.search(said)) or error.error_code in _UNKNOWN:
        return _denied(uri, found[1] if found else error.error_code)
    if said.startswith("API request to"):  # an answer that is not MLflow's JSON
        return RegistryError(
            f"{without_secrets(uri)} answers, but not as an MLflow server does: {said}; check --tracking"
        )
    if error.error_code in _GONE:
        return SourceNotFound(f"{what} is not there: {said}; see `fairlead models list`")
    if error.error_code in _REFUSED:
        return UsageError(f"{what}: MLflow refuses it: {said}")
    if error.error_code in ("TEMPORARILY_UNAVAILABLE", "DEADLINE_EXCEEDED"):
        return RegistryUnreachable(_unreachable(uri), retry_after=5)
    return RegistryError(f"{what}: the registry at {without_secrets(uri)} failed: {said}")


def _unreachable(uri: str) -> str:
    shown = without_secrets(uri)
    return f"the registry at {shown} does not answer; start it, or name another with --tracking or FAIRLEAD_TRACKING"


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return masked(text[0])[:300].rstrip(".") if text else type(error).__name__
