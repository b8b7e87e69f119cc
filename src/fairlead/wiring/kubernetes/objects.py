"""Every object that a cluster needs for a spec, by the file that it is written to."""

from __future__ import annotations

from typing import Any, Final

from fairlead.contracts.errors import UsageError
from fairlead.kit import noted_yaml
from fairlead.kit.spec.read import SpecFile
from fairlead.wiring.kubernetes import (
    carried,
    control,
    engines,
    network,
    pods,
    refused,
    routes,
    scaling,
    units,
    watched,
)
from fairlead.wiring.kubernetes.asked import CANARY, STABLE, Rendering, image, labels, part_of, thing
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
    common += control.objects(file, how, [unit.name for unit in found if _arms(file, how, unit)])
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
    """Where the controller moves the weights of a route; everywhere else the servers share calls out themselves."""
    return (STABLE, CANARY) if how.mesh == "gateway-api" and units.rolled_out(file, unit) else ()


def _unit(file: SpecFile, how: Rendering, unit: Unit, found: list[Unit]) -> list[Any]:
    scale, arms = units.scale(file, unit), _arms(file, how, unit)
    told = carried.unit_data(file, unit)
    made: list[Any] = [network.account(file, unit.name)]
    names = {arm: f"{unit.name}-{arm}" for arm in arms} or {"": unit.name}
    services = routes.services(file, unit, arms)
    made += [routes.scraped(one) if one["metadata"]["name"] in names.values() else one for one in services]
    for arm, name in names.items():
        made.append(_config(file, unit, name, told))
        made.append(pods.deployment(file, how, unit, arm, told, None if scale.target else scale.least))
    made.append(network.disruptions(file, unit.name, unit.name))
    beside = engines.names(file, unit)
    made.append(network.policy(file, how, unit, carried.needs(file, told, beside), beside))
    for arm, name in names.items():  # a rollout's last step leads all calls to the second arm
        made += scaling.scaler(file, how, unit, scale if arm != CANARY else scale.awake, name, found)
    made += routes.route(file, how, unit, found, arms) if how.mesh else []
    return [*made, *engines.of(file, how, unit)]


def _config(file: SpecFile, unit: Unit, name: str, told: dict[str, Any]) -> dict[str, Any]:
    body = {"data": {"fairlead.yaml": carried.text(told, file.name)}}
    return thing(file, "v1", "ConfigMap", name, body, labels(file, unit.name))


def plain(files: Files) -> dict[str, Any]:
    """As JSON: one list of all objects."""
    return {
        "apiVersion": "v1",
        "kind": "List",
        "items": [noted_yaml.plain(one) for bodies in files.values() for one in bodies],
    }


__all__ = ["HEAD", "MARK", "Files", "objects", "part_of", "plain", "render"]
