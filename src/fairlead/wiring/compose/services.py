"""What stands beside the server: PostgreSQL, Redis, MLflow, Prometheus."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import yaml

from fairlead.contracts.errors import UsageError
from fairlead.kit.noted_yaml import Noted
from fairlead.kit.spec.read import SpecFile
from fairlead.wiring.compose.asked import PINNED, Address, Rendering
from fairlead.wiring.prometheus import rules
from fairlead.wiring.specs_identity import required

_MLFLOW_PORT: Final = 5000
_PROMETHEUS_PORT: Final = 9090
_RULES: Final = "/etc/prometheus/fairlead.yml"


def health(test: list[str], start: str = "60s") -> dict[str, Any]:
    return {"test": ["CMD", *test], "interval": "5s", "timeout": "3s", "retries": 12, "start_period": start}


def postgres(at: Address, how: Rendering) -> dict[str, Any]:
    """Raises UsageError for a port of its own, or a URL without user and database."""
    _usual_port(at, 5432)
    if not at.user or not at.path or not at.password:
        raise UsageError(
            f"{at.field} names no user, password or database; say postgresql://USER:${{env:NAME}}@{at.service}/DATABASE"
        )
    return {
        "image": how.pins.get("postgres", PINNED["postgres"]),
        "environment": {
            "POSTGRES_USER": Noted(_plain(at.user), at.field),
            "POSTGRES_PASSWORD": _variable(at.password),
            "POSTGRES_DB": _plain(at.path),
        },
        "volumes": [f"{at.service}:/var/lib/postgresql/data"],
        "healthcheck": health(["pg_isready", "--username", _plain(at.user), "--dbname", _plain(at.path)]),
        "restart": "unless-stopped",
    }


def redis(at: Address, how: Rendering) -> dict[str, Any]:
    """Raises UsageError for a port of its own, or a user."""
    _usual_port(at, 6379)
    if at.user:
        raise UsageError(f"{at.field} names the user {at.user!r}, which this Redis does not know; leave the name out")
    words = ["redis-server", "--save", "60", "1"]
    found: dict[str, Any] = {"image": how.pins.get("redis", PINNED["redis"]), "command": Noted(words, at.field)}
    if at.password:
        secret = _variable(at.password)
        found["command"] = Noted([*words, "--requirepass", secret], at.field)
        found["environment"] = {"REDISCLI_AUTH": secret}
    return {
        **found,
        "volumes": [f"{at.service}:/data"],
        "healthcheck": health(["redis-cli", "ping"], "10s"),
        "restart": "unless-stopped",
    }


def mlflow(at: Address, how: Rendering) -> dict[str, Any]:
    """It keeps runs in SQLite and serves artefacts itself: its own image has no driver of PostgreSQL."""
    if at.user or at.password:
        raise UsageError(f"{at.field} names a user, and this MLflow asks nobody; leave user and password out")
    port = at.port or 80
    if port != _MLFLOW_PORT:
        raise UsageError(
            f"{at.field} has the port {port}, and MLflow listens at {_MLFLOW_PORT}; say http://{at.service}:5000"
        )
    code = f"import urllib.request as u; u.urlopen('http://127.0.0.1:{_MLFLOW_PORT}/health', timeout=2)"
    words = ["mlflow", "server", "--host", "0.0.0.0", "--port", str(_MLFLOW_PORT), "--workers", "1"]  # noqa: S104 - a container
    words += ["--backend-store-uri", "sqlite:////mlflow/mlflow.db", "--artifacts-destination", "/mlflow/artifacts"]
    words += ["--serve-artifacts", "--allowed-hosts", f"{at.service}:{_MLFLOW_PORT},127.0.0.1:{_MLFLOW_PORT}"]
    return {
        "image": how.pins.get("mlflow", PINNED["mlflow"]),
        "command": Noted(words, at.field),
        "environment": {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        "volumes": [f"{at.service}:/mlflow"],
        "healthcheck": health(["python", "-c", code], "120s"),
        "restart": "unless-stopped",
    }


def prometheus(file: SpecFile, how: Rendering) -> dict[str, Any]:
    found: dict[str, Any] = {
        "image": how.pins.get("prometheus", PINNED["prometheus"]),
        "command": ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"],
        "ports": [f"127.0.0.1:{_PROMETHEUS_PORT}:{_PROMETHEUS_PORT}"],
        "configs": [
            {"source": "prometheus", "target": "/etc/prometheus/prometheus.yml"},
            {"source": "rules", "target": _RULES},
        ],
        "volumes": ["prometheus:/prometheus"],
        "healthcheck": health(["wget", "--quiet", "--spider", f"http://127.0.0.1:{_PROMETHEUS_PORT}/-/ready"], "10s"),
        "restart": "unless-stopped",
    }
    if required(file.spec.access):
        found["secrets"] = ["metrics_key"]
    return found


def scrapes(file: SpecFile) -> str:
    """The configuration of Prometheus, in which compose replaces nothing."""
    server = file.spec.server
    job: dict[str, Any] = {"job_name": "fairlead", "static_configs": [{"targets": [f"server:{server.port}"]}]}
    if server.tls is not None:
        job |= {"scheme": "https", "tls_config": {"insecure_skip_verify": True}}
    if required(file.spec.access):
        job["authorization"] = {"credentials_file": "/run/secrets/metrics_key"}
    whole = {"global": {"scrape_interval": "15s"}, "rule_files": [_RULES], "scrape_configs": [job]}
    return _plain(yaml.safe_dump(whole, sort_keys=False))


def alerts(file: SpecFile) -> str:
    """The rules of `fairlead render prometheus`: objectives (`slo`), and what a server says of itself."""
    made = json.loads(json.dumps(rules.document(file)))  # what stands in two places is written twice
    return _plain(yaml.safe_dump(made, sort_keys=False, width=120, allow_unicode=True))


def _usual_port(at: Address, port: int) -> None:
    if at.port not in (None, port):
        raise UsageError(f"{at.field} has the port {at.port}, and the service listens at {port}; leave it out")


def _variable(password: str) -> str:
    """``${env:NAME}`` as compose writes it."""
    name = re.sub(r"^\$\{env:|\}$", "", password)
    return f"${{{name}:?}}"


def _plain(text: str) -> str:
    return text.replace("$", "$$")
