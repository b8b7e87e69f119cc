"""The whole compose file: the server, and beside it what the spec needs (compose-spec.io)."""

from __future__ import annotations

import re
from typing import Any, Final

from fairlead.contracts.errors import UsageError
from fairlead.kit import noted_yaml
from fairlead.kit.noted_yaml import Noted
from fairlead.kit.spec.read import SpecFile
from fairlead.package import image
from fairlead.wiring.compose import inside, refused, services
from fairlead.wiring.compose.asked import SPEC, WORK, Address, Rendering, address
from fairlead.wiring.compose.inside import Inside
from fairlead.wiring.contained import HOME, METRICS_KEY, USER
from fairlead.wiring.specs_identity import required

_TAKEN: Final = ("server", "prometheus", "home")
"""Services that are always ours, and the volume of the server: each service has one by its own name."""
_MARGIN: Final = 5
"""Seconds beyond ``server.grace`` before the container is killed."""


def stack(file: SpecFile, how: Rendering) -> dict[str, Any]:
    """Raises UsageError for what compose cannot honour, naming the field and its line."""
    refused.check(file, how)
    found = inside.found(file)
    beside = _beside(file, how)
    if how.prometheus:
        beside["prometheus"] = services.prometheus(file, how)
    server = _server(file, how, found, [name for name in beside if name != "prometheus"])
    volumes = ["home", *(name for name in beside if name != "server")]
    secrets: dict[str, Any] = {name: {"file": how.path(f"secrets/{name}")} for name in found.secrets}
    if how.prometheus and required(file.spec.access):
        secrets["metrics_key"] = Noted(
            {"environment": METRICS_KEY}, "fairlead keys create --name prometheus --scope '*:metrics'"
        )
    configs: dict[str, Any] = {"spec": {"file": how.path(file.name)}}
    if how.prometheus:
        configs["prometheus"] = {"content": services.scrapes(file)}
        configs["rules"] = {"content": services.alerts(file)}
    return {
        "name": _name(file.spec.project),
        "services": {"server": server, **beside},
        "configs": configs,
        **({"secrets": secrets} if secrets else {}),
        "volumes": {name: {} for name in volumes},
    }


def render(file: SpecFile, how: Rendering) -> str:
    """The same as YAML, with where each value comes from. Raises UsageError."""
    head = f"# Compose, rendered from {file.name} by `fairlead render compose`: change that file, not this one.\n"
    return head + noted_yaml.text(stack(file, how))


def _server(file: SpecFile, how: Rendering, found: Inside, after: list[str]) -> dict[str, Any]:
    server = file.spec.server
    bind = "127.0.0.1:" if how.insecure else ""
    ports = [f"{bind}{port}:{port}" for port in (server.port, server.grpc_port) if port]
    what: dict[str, Any] = {
        "image": how.image or "${FAIRLEAD_IMAGE:?fairlead package MODEL --image NAME:TAG makes one}",
        "command": ["up", SPEC, *(["--insecure"] if how.insecure else [])],
        "working_dir": WORK,
        "user": f"{USER}:{USER}",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "tmpfs": ["/tmp"],  # noqa: S108 - in the container
        "ports": Noted(ports, file.at("server")),
        "environment": {"FAIRLEAD_HOME": HOME, **_environment(file, found)},
        "configs": [{"source": "spec", "target": SPEC}],
        "volumes": [f"home:{HOME}", *_mounts(found, how)],
        "healthcheck": services.health(image.ready(server.port, secure=server.tls is not None)),
        "stop_grace_period": Noted(
            f"{server.grace + _MARGIN:g}s", f"{file.at('server', 'grace')}, and {_MARGIN} seconds"
        ),
        "restart": "unless-stopped",
    }
    if found.secrets:
        what["secrets"] = [Noted(name, where) for name, where in found.secrets.items()]
    if after:
        what["depends_on"] = {name: {"condition": "service_healthy"} for name in after}
    gpu = next((name for name, one in file.spec.endpoints.items() if "cuda" in one.providers), None)
    if gpu is not None:
        device = {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
        what["deploy"] = Noted(
            {"resources": {"reservations": {"devices": [device]}}}, file.at("endpoints", gpu, "providers")
        )
    return what


def _environment(file: SpecFile, found: Inside) -> dict[str, Any]:
    asked: dict[str, Any] = {name: Noted(f"${{{name}:?}}", where) for name, where in sorted(found.variables.items())}
    if file.spec.events.startswith("s3:") or _stores_in_s3(file):
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
            asked.setdefault(name, Noted(f"${{{name}:-}}", file.at("events")))
    return asked


def _stores_in_s3(file: SpecFile) -> bool:
    return any(str(one).startswith("s3:") for one in (file.spec.tracking, file.spec.state))


def _mounts(found: Inside, how: Rendering) -> list[Any]:
    return [
        Noted(f"{how.path(source)}:{target}:ro".replace("$", "$$"), where)
        for source, (target, where) in found.files.items()
    ]


def _beside(file: SpecFile, how: Rendering) -> dict[str, Any]:
    """Services that the spec names, by the name that it gives them."""
    spec = file.spec
    made: dict[str, Any] = {}
    for part, url, schemes, make in (
        ("state", spec.state, ("postgresql", "postgresql+psycopg"), services.postgres),
        ("redis", spec.redis, ("redis",), services.redis),
        ("tracking", spec.tracking, ("http",), services.mlflow),
    ):
        if not url or url.startswith("sqlite:"):
            continue
        found = address(file, part, url)
        if found is None:
            continue
        if found.scheme not in schemes:
            raise UsageError(
                f"{found.field} speaks {found.scheme}, and the service here {schemes[0]}; say {schemes[0]}://"
            )
        if found.service in made or found.service in _TAKEN:
            raise UsageError(
                f"{found.field} names the host {found.service!r}, which is another service or volume here; choose "
                "another name"
            )
        made[found.service] = make(_checked(found), how)
    return made


def _checked(found: Address) -> Address:
    """Raises UsageError for a password that stands in the spec, since this file is shown to others, or in a file: the
    service beside takes it from the environment."""
    if found.password and not re.fullmatch(r"\$\{env:[A-Za-z_][A-Za-z0-9_]*\}", found.password):
        raise UsageError(f"{found.field} has a password in it that is no variable; write ${{env:NAME}} in its place")
    return found


def _name(project: str) -> str:
    """As compose wants it: lower case letters, digits, ``-`` and ``_``."""
    return re.sub(r"[^a-z0-9_-]+", "-", project.lower()).strip("-_") or "fairlead"
