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
_STORES: Final = ("FAIRLEAD_TRACKING", "MLFLOW_TRACKING_TOKEN", "FAIRLEAD_STATE", "FAIRLEAD_EVENTS")
_REGISTRY: Final = ("REGISTRY_USER", "REGISTRY_PASSWORD")
"""Variables that the workflow takes from the secrets of the provider; an empty one is as if it were not set."""
_CHECKOUT: Final = ("actions/checkout@11bd71901bbe5b1630ceea73d27597364c9af683", "v4.2.2")
_SETUP: Final = ("actions/setup-python@0b93645e9fea7318ecaed2b359559ac225c90a2b", "v5.3.0")
"""Actions by commit: a tag can be moved."""
_OURS: Final = (
    "github.event_name != 'pull_request' || github.event.pull_request.head.repo.full_name == github.repository"
)
"""Pull requests of forks are shown no secret, so there are no stores to ask."""
_DEFAULT: Final = "github.ref_name == github.event.repository.default_branch"
_TESTED: Final = f"github.event_name != 'push' || {_DEFAULT}"
"""Of pushes only those to the default branch, whatever its name is: a filter of branches takes no expression, and other
branches are tested as pull requests."""
_RELEASE: Final = f"github.event_name == 'workflow_dispatch' && {_DEFAULT}"


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
    """``needs``: jobs before it.  ``release``: it runs only for a version that somebody names, from the branch that was
    reviewed."""

    name: str
    title: str
    script: tuple[str, ...]
    needs: tuple[str, ...] = ()
    release: bool = True

    @staticmethod
    def secrets(line: str) -> tuple[str, ...]:
        """What a line is shown."""
        if line == _LOGIN or line.startswith(f"{_LOGIN} "):
            return _REGISTRY
        return _STORES if line.startswith("fairlead ") and " --check" not in line else ()


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
    """Raises UsageError for an image name with a tag or without its registry, or a base that is another tomorrow."""
    if not asked.image or images.has_tag(asked.image):
        raise UsageError(
            f"--image is {asked.image!r}; expected a name without a tag, as registry.example.com/churn: the version of "
            "the model is its tag"
        )
    images.tagged(f"{asked.image}:1")
    registry = _registry(asked.image)
    if asked.base:
        images.base(asked.base)
    endpoint = file.spec.endpoints[asked.endpoint]
    model, name = parse(endpoint.model).model, shlex.quote(asked.endpoint)
    uri, image = f'{shlex.quote(f"models:/{model}/")}"$VERSION"', f'{asked.image}:"$VERSION"'
    spec = "" if asked.spec == "fairlead.yaml" else f" --spec {shlex.quote(asked.spec)}"
    base = f" --base {shlex.quote(asked.base)}" if asked.base else ""
    budgets = f"--latency-ms {asked.latency_ms:g} --memory-mb {asked.memory_mb:g}"
    shown = "--env FAIRLEAD_TRACKING --env MLFLOW_TRACKING_TOKEN"
    found = [
        Job("check-spec", "The spec can be served", (f"fairlead up {shlex.quote(asked.spec)} --check",), release=False)
    ]
    if endpoint.retrain is not None:
        found.append(
            Job(
                "data-tests",
                "Data tests, and the gate of a challenger",
                (f"fairlead retrain {name} --dry-run{spec}",),
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
                f"fairlead doctor --image {image} {budgets} {shown} --tool podman",
                f"{_LOGIN} {shlex.quote(registry)}",
                f"podman push {image}",
            ),
            ("model-tests",),
        ),
        Job(
            "canary",
            "A canary, which the controller carries on",
            (f'fairlead rollout start {name} --to "$VERSION"{spec}',),
            ("build-image",),
        ),
    ]
    return tuple(found)


def _registry(name: str) -> str:
    """Where ``podman login`` goes: the first part of a name is a registry if it is a host, as tools read it. Raises
    UsageError."""
    first, slash, _ = name.partition("/")
    if not slash or (first != "localhost" and not {".", ":"} & set(first)):
        hub = name if slash else f"USER/{name}"
        raise UsageError(
            f"--image {name} names no registry to log in and push to; write it whole, as registry.example.com/{name} "
            f"or docker.io/{hub}"
        )
    return first


_MORE: Final[Mapping[str, str]] = {
    "github": "# Give the environment `production` reviewers: the canary waits for them.\n",
    "gitlab": (
        "# Make them masked and protected. build-image needs a runner that may start containers (privileged).\n"
        "# Protect the environment `production`, and the default branch.\n"
    ),
}


def document(file: SpecFile, provider: str, asked: Asked) -> dict[str, Any]:
    """The workflow as plain data. Raises UsageError for a provider that is not known."""
    found: dict[str, Any] = noted_yaml.plain(_tree(file, provider, asked))
    return found


def render(file: SpecFile, provider: str, asked: Asked) -> str:
    """The same as YAML."""
    told = noted_yaml.text(_tree(file, provider, asked))
    head = f"# Rendered from {file.name} by `fairlead init ci --provider {provider}`.\n# Secrets of the project: "
    return f"{head}{', '.join((*_STORES, *_REGISTRY))}.\n{_MORE[provider]}{told}"


def _tree(file: SpecFile, provider: str, asked: Asked) -> dict[str, Any]:
    if provider not in PROVIDERS:
        raise UsageError(f"--provider is {provider!r}{nearest(provider, PROVIDERS)}; expected {' or '.join(PROVIDERS)}")
    found = jobs(file, asked)
    return _github(found, asked.spec) if provider == "github" else _gitlab(found)


def _install(job: Job) -> list[str]:
    extra = f"fairlead[{_EXTRAS}]=={__version__}"
    return [f"python -m pip install --disable-pip-version-check '{extra}'", *job.script]


def _github(found: tuple[Job, ...], spec: str) -> dict[str, Any]:
    """docs.github.com/actions/reference/workflow-syntax-for-github-actions"""
    version = {"description": "Version of the model to release", "required": True, "type": "string"}
    return {
        "name": "model",
        "on": {
            "push": {"branches": ["**"]},
            "pull_request": {},
            "workflow_dispatch": {"inputs": {"version": version}},
        },
        "permissions": {"contents": "read"},
        "concurrency": {
            "group": "model-${{ github.event_name }}-${{ github.ref }}-${{ inputs.version }}",
            "cancel-in-progress": "${{ github.event_name == 'pull_request' }}",
        },
        "env": {"VERSION": Noted("${{ inputs.version }}", "of the model; empty on a push")},
        "jobs": {one.name: _github_job(one, spec) for one in found},
    }


def _github_job(job: Job, spec: str) -> dict[str, Any]:
    found: dict[str, Any] = {"name": job.title, "runs-on": "ubuntu-24.04", "timeout-minutes": 60}
    if job.needs:
        found["needs"] = list(job.needs)
    if job.release:
        found["if"] = _RELEASE
    elif any(job.secrets(line) for line in job.script):
        found["if"] = f"({_TESTED}) && ({_OURS})"
    else:
        found["if"] = _TESTED
    if job.name == "canary":
        found["environment"] = "production"
    steps: list[dict[str, Any]] = [
        {"uses": Noted(*_CHECKOUT), "with": {"persist-credentials": False}},
        {
            "uses": Noted(*_SETUP),
            "with": {"python-version": _PYTHON, "cache": "pip", "cache-dependency-path": spec},
        },
        *(_step(job, line) for line in _install(job)),
    ]
    return {**found, "steps": steps}


def _step(job: Job, line: str) -> dict[str, Any]:
    shown = {name: f"${{{{ secrets.{name} }}}}" for name in job.secrets(line)}
    return {"run": line, **({"env": shown} if shown else {})}


def _gitlab(found: tuple[Job, ...]) -> dict[str, Any]:
    """docs.gitlab.com/ci/yaml"""
    return {
        "stages": [one.name for one in found],
        "workflow": {
            "rules": [
                {"if": '$CI_PIPELINE_SOURCE == "merge_request_event"'},
                {"if": "$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH"},
            ]
        },
        "default": {
            "image": f"docker.io/library/python:{_PYTHON}-bookworm",
            "interruptible": False,
            "cache": {"key": f"pip-{__version__}", "paths": [".cache/pip"]},
        },
        "variables": {
            "VERSION": {"value": "", "description": "Version of the model to release; empty: none"},
            "PIP_CACHE_DIR": "$CI_PROJECT_DIR/.cache/pip",
        },
        **{one.name: _gitlab_job(one) for one in found},
    }


def _gitlab_job(job: Job) -> dict[str, Any]:
    release = {"if": '$VERSION != "" && $CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH'}
    rule: Mapping[str, Any] = release if job.release else {"when": "on_success"}
    found: dict[str, Any] = {"stage": job.name, "needs": list(job.needs), "rules": [dict(rule)], "timeout": "1h"}
    if job.name == "canary":
        found["environment"] = {"name": "production"}
        found["resource_group"] = "production"
        found["rules"] = [{**rule, "when": "manual"}]
    script = _install(job)
    if job.name == "build-image":
        script = ["apt-get update && apt-get install -y --no-install-recommends podman", *script]
    return {**found, "script": [Noted(line, "") for line in script]}
