"""Which endpoints share a pod, and how many pods there are. Pure.

A pod is one server with one endpoint, so that each scales by itself; endpoints that call one another (graphs, routes,
cascades, fallbacks, embeddings of a cache) are in one pod together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from fairlead.contracts.errors import UsageError
from fairlead.kit.spec.deploy import Pods
from fairlead.kit.spec.read import SpecFile
from fairlead.kit.spec.serving import Replicas
from fairlead.kit.spec.spec import Endpoint
from fairlead.package.sources import Kind, parse
from fairlead.plan import littles_law
from fairlead.plan.littles_law import Load
from fairlead.wiring import specs

_LONGEST: Final = 46
"""Characters of a unit's name: what is put behind it stays within 63."""


@dataclass(frozen=True, slots=True)
class Unit:
    """``name``: of its objects.  ``head``: the endpoint that none of the others calls, the first of them."""

    name: str
    head: str
    endpoints: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scale:
    """``least`` to ``most`` pods, each for ``target`` calls in flight on average; None where the number stands.

    ``why``: where the target comes from.  ``limit``: where ``most`` does.  ``where``: the place in the spec.
    ``idle``, ``wake``: seconds, as ``contracts.scaling.Scaling`` has them.
    """

    least: int
    most: int
    target: float | None
    why: str
    limit: str
    where: str
    idle: float
    wake: float


def units(file: SpecFile) -> list[Unit]:
    """In the order of the spec. Raises UsageError for names that Kubernetes cannot have."""
    called = {name: sorted(set(_called(one)) & file.spec.endpoints.keys()) for name, one in file.spec.endpoints.items()}
    apart: list[set[str]] = []
    for name, others in called.items():
        together = {name, *others}
        touched = [one for one in apart if one & together]
        apart = [one for one in apart if not one & together]
        apart.append(together.union(*touched))
    order = list(file.spec.endpoints)
    found = []
    for one in sorted(apart, key=lambda members: min(map(order.index, members))):
        members = tuple(sorted(one, key=order.index))
        behind = {other for name in members for other in called[name] if other != name}
        head = next((name for name in members if name not in behind), members[0])
        found.append(Unit(_name(file, head), head, members))
    for place, unit in enumerate(found):
        for other in found[:place]:
            if other.name == unit.name:
                where = file.at("endpoints", unit.head)
                raise UsageError(f"{where} and {other.head} are both {unit.name} in Kubernetes; rename one of them")
    return found


def apart(file: SpecFile, name: str) -> bool:
    """Whether an endpoint's engine is a server in pods of its own, of which its ``deploy`` speaks."""
    served = file.spec.endpoints[name].llm
    return served is not None and served.engine == "vllm" and not served.base_url


def pods(file: SpecFile, unit: Unit) -> tuple[str, Pods]:
    """What the spec says of the pods, and at which endpoint. Raises UsageError where two endpoints say it."""
    here = [name for name in unit.endpoints if not apart(file, name)]
    said = [name for name in here if "deploy" in file.spec.endpoints[name].model_fields_set]
    if len(said) > 1:
        raise UsageError(f"{file.at('endpoints', said[1], 'deploy')}: {_together(said)} deploy; say it at one of them")
    if not here:
        return unit.head, Pods()
    name = said[0] if said else here[0]
    return name, file.spec.endpoints[name].deploy


def scale(file: SpecFile, unit: Unit) -> Scale:
    """Of a unit's own pods. Raises UsageError for numbers that contradict one another."""
    said = [one for one in unit.endpoints if file.spec.endpoints[one].replicas is not None]
    if len(said) > 1:
        where = file.at("endpoints", said[1], "replicas")
        raise UsageError(f"{where}: {_together(said)} replicas; say it at one of them")
    replicas = file.spec.endpoints[said[0]].replicas if said else None
    return _scale(file, *pods(file, unit), (said[0], replicas) if replicas else None)


def engine_scale(file: SpecFile, name: str) -> Scale:
    """Of the pods of an engine that is apart."""
    return _scale(file, name, file.spec.endpoints[name].deploy, None)


def _scale(file: SpecFile, name: str, asked: Pods, said: tuple[str, Replicas] | None) -> Scale:
    replicas = said[1] if said else None
    also = replicas.model_fields_set if replicas else set()
    for part in ("min", "max"):
        if said and part in also and getattr(asked, part) is not None:
            where = file.at("endpoints", name, "deploy", part)
            raise UsageError(
                f"{where} and {file.at('endpoints', said[0], 'replicas', part)} say the same; leave one out"
            )
    least = asked.min if asked.min is not None else replicas.min if replicas else 1
    most, limit = _most(file, name, asked, least, _load(file, name, asked), said)
    where = file.at("endpoints", said[0], "replicas") if said else file.at("endpoints", name, "deploy")
    if most < least:
        raise UsageError(f"{where} has at most {most} pods and at least {least}; make the most the larger one")
    target, why = _target(file, name, asked, said)
    if most > least and target is None:
        raise UsageError(
            f"{where} has {least} to {most} pods, and nothing says how many calls one holds inside "
            "its deadline; measure "
            "it, and give deploy: {concurrency: ...}"
        )
    idle, wake = (replicas.idle_ttl, replicas.wake_deadline) if replicas else (600.0, 5.0)
    return Scale(least, most, target if most > least else None, why, limit, where, idle, wake)


def rolled_out(file: SpecFile, unit: Unit) -> bool:
    """Whether it has a second arm beside it for another version: a registered model by alias, that rolls out."""
    endpoint = file.spec.endpoints[unit.head]
    return "rollout" in endpoint.model_fields_set and bool(endpoint.model) and parse(endpoint.model).kind is Kind.ALIAS


def _load(file: SpecFile, name: str, asked: Pods) -> Load | None:
    if asked.rate is None:
        return None
    for part in ("seconds", "concurrency"):
        if not getattr(asked, part):
            raise UsageError(
                f"{file.at('endpoints', name, 'deploy', 'rate')} says a load without {part}; give deploy.{part}"
            )
    assert asked.concurrency is not None  # noqa: S101 - looked at above
    return Load(asked.rate, asked.seconds, asked.concurrency, asked.headroom)


def _most(
    file: SpecFile, name: str, asked: Pods, least: int, load: Load | None, replicas: tuple[str, Replicas] | None
) -> tuple[int, str]:
    needed = littles_law.plan(load, least=max(1, least)).replicas if load else None
    said = ""
    if asked.max is not None:
        most, said = asked.max, file.at("endpoints", name, "deploy", "max")
    elif replicas and "max" in replicas[1].model_fields_set:
        most, said = replicas[1].max, file.at("endpoints", replicas[0], "replicas", "max")
    elif needed is not None:
        law = (
            f"{load.rate:g}/s x {load.seconds:g} s, {load.headroom:.0%} beside it, {load.concurrency:g} in a pod"
            if load
            else ""
        )
        return needed, f"{law} (Little's law)"
    else:
        return max(least, 1), ""
    if needed is not None and most < needed and load is not None:
        raise UsageError(
            f"{said} is {most}, and {load.rate:g} calls a second of {load.seconds:g} s need {needed} pods that hold "
            f"{load.concurrency:g} each; allow {needed}, or plan for less"
        )
    return most, said


def _target(file: SpecFile, name: str, asked: Pods, replicas: tuple[str, Replicas] | None) -> tuple[float | None, str]:
    said = replicas[1].target_concurrency if replicas else None
    chosen = replicas is not None and "target_concurrency" in replicas[1].model_fields_set
    measured = file.at("endpoints", name, "deploy", "concurrency")
    if asked.concurrency is None:
        return (
            said,
            "target_concurrency, which nobody measured: deploy.concurrency says what a pod holds" if said else "",
        )
    if not chosen or replicas is None or said is None:
        why = f"{measured}: a pod holds {asked.concurrency:g} inside its deadline, {asked.headroom:.0%} beside the load"
        return asked.concurrency / (1 + asked.headroom), why
    where = file.at("endpoints", replicas[0], "replicas", "target_concurrency")
    if said > asked.concurrency:
        raise UsageError(
            f"{where} is {said:g}, more than the {asked.concurrency:g} that a pod holds inside its deadline "
            f"(deploy.concurrency); give {asked.concurrency / (1 + asked.headroom):g} or leave it out"
        )
    return said, f"{where}; a pod holds {asked.concurrency:g} inside its deadline"


def _called(endpoint: Endpoint) -> Iterator[str]:
    """Endpoints that this one calls."""
    if endpoint.graph is not None:
        yield from specs.graph(endpoint.graph).endpoints
    if endpoint.route is not None:
        yield from (*endpoint.route.replicas, *endpoint.route.fallback, endpoint.route.cheaper)
    if endpoint.cascade is not None:
        yield from endpoint.cascade.steps
    if endpoint.cache is not None and endpoint.cache.semantic is not None:
        yield endpoint.cache.semantic.embedding
    yield from (rung.endpoint for rung in endpoint.resilience.fallback)


def _together(names: list[str]) -> str:
    return f"{' and '.join(names)} run in one pod, since one calls the other, and both say"


def _name(file: SpecFile, endpoint: str) -> str:
    found = re.sub(r"[^a-z0-9]+", "-", endpoint.lower()).strip("-")
    if not found or len(found) > _LONGEST or len(endpoint) > 63 or not endpoint[-1].isalnum():
        where = file.at("endpoints", endpoint)
        raise UsageError(
            f"{where} has a name that Kubernetes cannot have; give at most {_LONGEST} letters, digits and '-', "
            "and no '-' last"
        )
    return found if found[0].isalpha() else f"m-{found}"
