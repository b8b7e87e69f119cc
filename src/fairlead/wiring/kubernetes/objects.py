"""Every object that a cluster needs for a spec, by the file that it is written to."""

from __future__ import annotations

from typing import Any, Final

from fairlead.contracts.errors import UsageError
from fairlead.kit import noted_yaml
from fairlead.kit.noted_yaml import Noted
from fairlead.kit.spec.deploy import Pods
from fairlead.kit.spec.read import SpecFile
from fairlead.wiring.kubernetes import (
    carried,
    engines,
    network,
    pods,
    refused,
    routes,
    scaling,
    units,
    watched,
)
from fairlead.wiring.kubernetes.asked import (
    CANARY,
    HOME,
    SPEC,
    STABLE,
    Rendering,
    image,
    labels,
    part_of,
    selected,
    thing,
)
from fairlead.wiring.kubernetes.units import Unit

HEAD: Final = "# Kubernetes, rendered from {} by `fairlead render kubernetes`: change that file, not this one.\n"
MARK: Final = " by `fairlead render kubernetes`: change that file, not this one."
"""By this in their first line files of ours are known."""

Files = dict[str, list[Any]]


def objects(file: SpecFile, how: Rendering) -> Files:
    """File name, without ``.yaml``, to its objects. Raises UsageError for what a cluster cannot honour."""
    found = units.units(file)
    refused.check(file, how, found)
    routes.check(file, how, found)
    image(file, how)
    made: Files = {}
    jobs: list[str] = []
    for unit in found:
        made[unit.name] = _unit(file, how, unit, found)
        jobs += [f"{unit.name}-{arm}" for arm in _arms(file, how, unit)] or [unit.name]
    engine_jobs = [name for unit in found for name in engines.names(file, unit)]
    common = [*routes.gateway(file), watched.monitor(file)]
    common += [watched.engines(file)] if engine_jobs else []
    common.append(watched.rules(file, jobs, engine_jobs, how.rules))
    if how.mesh == "gateway-api" and any(units.scale(file, unit).least == 0 for unit in found):
        common.append(routes.granted(file))
    common += _controller(file, how, found)
    first = "common"
    while first in made:
        first = f"fairlead-{first}"
    files = {first: common, **made}
    _apart(file, files, found)
    return files


def _apart(file: SpecFile, files: Files, found: list[Unit]) -> None:
    """Raises UsageError for two objects that are one: what is made for an endpoint is named after it."""
    heads = {unit.name: unit.head for unit in found}
    seen: dict[tuple[str, str], str] = {}
    for name, bodies in files.items():
        for one in bodies:
            key = (one["kind"], one["metadata"]["name"])
            if key in seen and (head := heads.get(name)):
                of = heads.get(seen[key])
                other = f"one of {of}" if of else "one of the whole"
                where = file.at("endpoints", head)
                raise UsageError(f"{where} makes the {key[0]} {key[1]}, and so does {other}; rename the endpoint")
            seen[key] = name


def render(file: SpecFile, how: Rendering) -> dict[str, str]:
    """File name to its text, with where each value comes from. Raises UsageError."""
    head = HEAD.format(file.name)
    return {
        f"{name}.yaml": head + "---\n".join(noted_yaml.text(one) for one in bodies)
        for name, bodies in objects(file, how).items()
    }


def _arms(file: SpecFile, how: Rendering, unit: Unit) -> tuple[str, ...]:
    return (STABLE, CANARY) if how.mesh and units.rolled_out(file, unit) else ()


def _unit(file: SpecFile, how: Rendering, unit: Unit, found: list[Unit]) -> list[Any]:
    scale, arms = units.scale(file, unit), _arms(file, how, unit)
    stable = carried.unit_data(file, unit)
    made: list[Any] = [network.account(file, unit.name)]
    names = {arm: f"{unit.name}-{arm}" for arm in arms} or {"": unit.name}
    services = routes.services(file, unit, arms)
    made += [routes.scraped(one) if one["metadata"]["name"] in names.values() else one for one in services]
    for arm, name in names.items():
        told = stable if arm != CANARY else carried.unit_data(file, unit, how.canaries.get(unit.head, ""))
        made.append(_config(file, unit, name, told))
        count: Any = None if scale.target and arm != CANARY else scale.least
        if arm == CANARY:
            asked = how.canaries.get(unit.head)
            count = (
                max(1, scale.least) if asked else Noted(0, f"--canary {unit.head}=VERSION says which version runs here")
            )
        made.append(pods.deployment(file, how, unit, arm, told, count))
    made.append(network.disruptions(file, unit.name, unit.name))
    beside = engines.names(file, unit)
    made.append(network.policy(file, how, unit, carried.needs(file, stable, beside), beside))
    made += scaling.scaler(file, how, unit, scale, f"{unit.name}-{STABLE}" if arms else unit.name, found)
    made += routes.route(file, how, unit, found, arms) if how.mesh else []
    return [*made, *engines.of(file, how, unit)]


def _config(file: SpecFile, unit: Unit, name: str, told: dict[str, Any]) -> dict[str, Any]:
    body = {"data": {"fairlead.yaml": carried.text(told, file.name)}}
    return thing(file, "v1", "ConfigMap", name, body, labels(file, unit.name))


def _controller(file: SpecFile, how: Rendering, found: list[Unit]) -> list[Any]:
    """One for all: rollouts, monitors and retraining of every endpoint. None where nothing is recorded."""
    if file.spec.record is False or not any(one.model for one in file.spec.endpoints.values()):
        return []
    name = network.controller(file)
    told = carried.data(file, tuple(file.spec.endpoints))
    needs = carried.needs(file, told)
    moves = how.mesh == "gateway-api" and any(_arms(file, how, unit) for unit in found)
    asked = Pods(volumes=_claims(file))
    container = {
        "name": "controller",
        "image": image(file, how),
        "args": ["controller", SPEC],
        "workingDir": HOME,
        "env": [{"name": "FAIRLEAD_HOME", "value": HOME}, *pods.environment(file, needs)],
        "resources": {"requests": {"cpu": "250m", "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
        "securityContext": pods.contained(),
        "volumeMounts": pods.mounts(file, asked, needs),
    }
    inside = pods.spec(file, name, asked, needs, [container], name)
    inside["automountServiceAccountToken"] = Noted(moves, "it moves the weights of routes") if moves else False
    inside["terminationGracePeriodSeconds"] = 30
    marks = labels(file, name)
    body = {
        "replicas": Noted(1, "of several one would lead, by a lease in the state store"),
        "selector": {"matchLabels": selected(name)},
        "template": {"metadata": {"labels": marks}, "spec": inside},
    }
    return [
        network.account(file, name, told=moves),
        thing(file, "v1", "ConfigMap", name, {"data": {"fairlead.yaml": carried.text(told, file.name)}}, marks),
        thing(file, "apps/v1", "Deployment", name, {"spec": body}, marks),
        network.closed(file, name, needs, told=moves),
        *(network.controls(file, name) if moves else []),
    ]


def _claims(file: SpecFile) -> dict[str, str]:
    """Folder to claim, of the endpoints that are trained again: their pipelines run beside the controller."""
    found: dict[str, str] = {}
    for name, endpoint in file.spec.endpoints.items():
        if endpoint.retrain is None:
            continue
        for folder, claim in endpoint.deploy.volumes.items():
            if found.setdefault(folder, claim) != claim:
                where = file.at("endpoints", name, "deploy", "volumes")
                raise UsageError(
                    f"{where} has {claim} at {folder}, and another endpoint that is trained again has {found[folder]} "
                    "there; give one of them another folder"
                )
    return found


def plain(files: Files) -> dict[str, Any]:
    """As JSON: one list of all objects."""
    return {
        "apiVersion": "v1",
        "kind": "List",
        "items": [noted_yaml.plain(one) for bodies in files.values() for one in bodies],
    }


__all__ = ["HEAD", "MARK", "Files", "objects", "part_of", "plain", "render"]
