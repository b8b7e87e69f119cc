"""The release of a version as a workflow: data tests, model tests, the image, the infra test, a canary.

What runs is the same command that a person would type; the workflow has no logic of its own. The version comes in as a
variable of the environment and never as text of a script.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from fairlead import __version__
from fairlead.contracts.errors import UsageError
from fairlead.kit import noted_yaml
from fairlead.kit.config import nearest
from fairlead.kit.noted_yaml import Noted
from fairlead.kit.spec.read import SpecFile
from fairlead.package import image as images
from fairlead.package.sources import Kind, parse

PROVIDERS: Final = ("github", "gitlab")
_PYTHON: Final = "3.11"
_EXTRAS: Final = "registry,train,events,retrain,postgres"
_SECRETS: Final = ("FAIRLEAD_TRACKING", "FAIRLEAD_STATE", "FAIRLEAD_EVENTS", "REGISTRY_USER", "REGISTRY_PASSWORD")
"""Variables that the workflow takes from the secrets of the provider; an empty one is as if it were not set."""


_LOGIN: Final = 'printf %s "$REGISTRY_PASSWORD" | podman login --username "$REGISTRY_USER" --password-stdin'


@dataclass(frozen=True, slots=True)
class Asked:
    """``spec``: file name.  ``endpoint``: what is released.  ``image``: where images go, without a tag.  ``base``: what
    they stand on, empty: the usual one.  ``latency_ms``, ``memory_mb``: budgets of the infra test."""

    spec: str
    endpoint: str
    image: str
    base: str
    latency_ms: float
    memory_mb: float


@dataclass(frozen=True, slots=True)
class Job:
    """``needs``: jobs before it.  ``release``: it runs only for a version that somebody names."""

    name: str
    title: str
    script: tuple[str, ...]
    needs: tuple[str, ...] = ()
    release: bool = True


def chosen(file: SpecFile, endpoint: str) -> str:
    """The endpoint that is meant. Raises UsageError for one that has no registered model, or for a choice that is
    open."""
    able = [name for name, one in file.spec.endpoints.items() if one.model and parse(one.model).kind is Kind.ALIAS]
    if endpoint and endpoint not in file.spec.endpoints:
        raise UsageError(f"--endpoint {endpoint!r} is not in {file.name}{nearest(endpoint, list(file.spec.endpoints))}")
    if endpoint and endpoint not in able:
        raise UsageError(
            f"{file.at('endpoints', endpoint, 'model')} is no registered model by alias, so there are no versions to "
            "release; say models:/NAME@champion"
        )
    if not endpoint and len(able) != 1:
        told = ", ".join(able) or "none"
        raise UsageError(
            f"--endpoint is not given, and {file.name} has {told} with a registered model by alias; name one"
        )
    return endpoint or able[0]


def jobs(file: SpecFile, asked: Asked) -> tuple[Job, ...]:
    """Raises UsageError for an image name with a tag, or a base that is another tomorrow."""
    images.tagged(f"{asked.image}:1")
    if asked.base:
        images.base(asked.base)
    endpoint = file.spec.endpoints[asked.endpoint]
    model, name = parse(endpoint.model).model, shlex.quote(asked.endpoint)
    uri, image = f'{shlex.quote(f"models:/{model}/")}"$VERSION"', f'{asked.image}:"$VERSION"'
    base = f" --base {shlex.quote(asked.base)}" if asked.base else ""
    budgets = f"--latency-ms {asked.latency_ms:g} --memory-mb {asked.memory_mb:g}"
    found = [
        Job("check-spec", "The spec can be served", (f"fairlead up {shlex.quote(asked.spec)} --check",), release=False)
    ]
    if endpoint.retrain is not None:
        found.append(
            Job(
                "data-tests",
                "Data tests, and the gate of a challenger",
                (f"fairlead retrain {name} --dry-run",),
                ("check-spec",),
                False,
            )
        )
    found += [
        Job("model-tests", "Model tests", (f"fairlead doctor {uri}",), (found[-1].name,)),
        Job(
            "build-image",
            "The image, and the infra test of it",
            (
                f"fairlead package image {name}={uri} --image {image}{base} --tool podman --build",
                f"fairlead doctor --image {image} {budgets} --env FAIRLEAD_TRACKING --tool podman",
                f"{_LOGIN} {shlex.quote(asked.image.partition('/')[0])}",
                f"podman push {image}",
            ),
            ("model-tests",),
        ),
        Job(
            "canary",
            "A canary, which the controller carries on",
            (f'fairlead rollout start {name} --to "$VERSION"',),
            ("build-image",),
        ),
    ]
    return tuple(found)


def document(file: SpecFile, provider: str, asked: Asked) -> dict[str, Any]:
    """The workflow as plain data. Raises UsageError for a provider that is not known."""
    found: dict[str, Any] = noted_yaml.plain(_tree(file, provider, asked))
    return found


def render(file: SpecFile, provider: str, asked: Asked) -> str:
    """The same as YAML."""
    head = f"# Rendered from {file.name} by `fairlead init ci --provider {provider}`.\n# Secrets of the project: "
    return f"{head}{', '.join(_SECRETS)}.\n" + noted_yaml.text(_tree(file, provider, asked))


def _tree(file: SpecFile, provider: str, asked: Asked) -> dict[str, Any]:
    if provider not in PROVIDERS:
        raise UsageError(f"--provider is {provider!r}{nearest(provider, PROVIDERS)}; expected {' or '.join(PROVIDERS)}")
    found = jobs(file, asked)
    return _github(found) if provider == "github" else _gitlab(found)


def _install(job: Job) -> list[str]:
    extra = f"fairlead[{_EXTRAS}]=={__version__}"
    return [f"python -m pip install --disable-pip-version-check '{extra}'", *job.script]


def _github(found: tuple[Job, ...]) -> dict[str, Any]:
    """docs.github.com/actions/reference/workflow-syntax-for-github-actions"""
    version = {"description": "Version of the model to release", "required": True, "type": "string"}
    return {
        "name": "model",
        "on": {
            "push": {"branches": ["main"]},
            "pull_request": {},
            "workflow_dispatch": {"inputs": {"version": version}},
        },
        "permissions": {"contents": "read"},
        "concurrency": {"group": "model-${{ github.ref }}", "cancel-in-progress": False},
        "env": {
            "VERSION": Noted("${{ inputs.version }}", "of the model; empty on a push"),
            **{name: f"${{{{ secrets.{name} }}}}" for name in _SECRETS},
        },
        "jobs": {one.name: _github_job(one) for one in found},
    }


def _github_job(job: Job) -> dict[str, Any]:
    found: dict[str, Any] = {"name": job.title, "runs-on": "ubuntu-24.04", "timeout-minutes": 60}
    if job.needs:
        found["needs"] = list(job.needs)
    if job.release:
        found["if"] = "github.event_name == 'workflow_dispatch'"
    if job.name == "canary":
        found["environment"] = "production"
    steps: list[dict[str, Any]] = [
        {"uses": "actions/checkout@v4.2.2", "with": {"persist-credentials": False}},
        {"uses": "actions/setup-python@v5.3.0", "with": {"python-version": _PYTHON}},
        *({"run": line} for line in _install(job)),
    ]
    return {**found, "steps": steps}


def _gitlab(found: tuple[Job, ...]) -> dict[str, Any]:
    """docs.gitlab.com/ci/yaml"""
    return {
        "stages": [one.name for one in found],
        "default": {"image": f"docker.io/library/python:{_PYTHON}-bookworm", "interruptible": False},
        "variables": {"VERSION": {"value": "", "description": "Version of the model to release; empty: none"}},
        **{one.name: _gitlab_job(one) for one in found},
    }


def _gitlab_job(job: Job) -> dict[str, Any]:
    rule: Mapping[str, Any] = {"if": '$VERSION != ""'} if job.release else {"when": "always"}
    found: dict[str, Any] = {"stage": job.name, "needs": list(job.needs), "rules": [dict(rule)], "timeout": "1h"}
    if job.name == "canary":
        found["environment"] = {"name": "production"}
        found["rules"] = [{**rule, "when": "manual"}]
    script = _install(job)
    if job.name == "build-image":
        script = ["apt-get update && apt-get install -y --no-install-recommends podman", *script]
    return {**found, "script": [Noted(line, "") for line in script]}
