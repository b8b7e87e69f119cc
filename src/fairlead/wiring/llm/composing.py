"""Language models that are made of others: who is behind whom, checked before anything starts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fairlead.contracts.errors import UsageError
from fairlead.kit.config import nearest
from fairlead.wiring.llm.wanted import Wanted

if TYPE_CHECKING:  # pydantic is not loaded for a server that was started without a spec
    from fairlead.kit.spec.cascade import Cascade
    from fairlead.kit.spec.read import SpecFile
    from fairlead.kit.spec.route import Route
    from fairlead.kit.spec.spec import Endpoint


def behind(wanted: Wanted) -> list[str]:
    """The endpoints behind one that has no engine, the one that stands for it first."""
    cascade: Cascade | None = wanted.parts.get("cascade")
    route: Route | None = wanted.parts.get("route")
    names: list[str] = []
    if route is not None:
        names += [*route.replicas, *route.fallback]
    if cascade is not None:
        names += reversed(cascade.steps)
    return [name for name in names if name != wanted.name]


def check(file: SpecFile, name: str, endpoint: Endpoint) -> None:
    """Raises UsageError for a name that is no language model of the spec, and for endpoints that lead back."""
    if endpoint.llm is None and endpoint.scheduling is not None:
        where = file.at("endpoints", name, "scheduling")
        raise UsageError(f"{where} shares an engine, and {name} has none: set it at the endpoints behind it")
    if endpoint.route is not None:
        _route(file, name, endpoint, endpoint.route)
    if endpoint.cascade is not None:
        steps = endpoint.cascade.steps
        where = file.at("endpoints", name, "cascade", "steps")
        if len(set(steps)) < len(steps):
            raise UsageError(f"{where} names an endpoint twice")
        answers = endpoint.llm is not None or endpoint.route is not None
        if name in steps[:-1] or (name == steps[-1] and not answers):
            raise UsageError(f"{where} leads back to {name} itself, which has no engine of its own to end with")
        if answers and name != steps[-1]:
            raise UsageError(
                f"{where} ends with {steps[-1]}; {name} has a model of its own, so that it must be the last"
            )
    known = {one: found for one, found in file.spec.endpoints.items() if found.speaks}
    for path, other in _edges(name, endpoint):
        if other not in known:
            where = file.at("endpoints", name, *path)
            raise UsageError(f"{where} is {other!r}, no language model of this spec{nearest(other, list(known))}")
    if found := _circle(name, known):
        raise UsageError(f"{file.at('endpoints', name)} leads back to itself: {' -> '.join(found)}")


def _route(file: SpecFile, name: str, endpoint: Endpoint, route: Route) -> None:
    where = file.at("endpoints", name, "route")
    if endpoint.llm is None and not route.replicas:
        raise UsageError(f"{where} has no replicas, and {name} has no llm: name endpoints that answer for it")
    if len({*route.replicas, *route.fallback}) < len(route.replicas) + len(route.fallback):
        raise UsageError(f"{where} names an endpoint twice")
    if name in (*route.replicas, *route.fallback, route.cheaper):
        raise UsageError(f"{where} names {name} itself; its own engine is always a replica")


def _edges(name: str, endpoint: Endpoint) -> Iterator[tuple[tuple[str, str], str]]:
    """The field that names another endpoint, and its name."""
    if (route := endpoint.route) is not None:
        yield from ((("route", "replicas"), one) for one in route.replicas)
        yield from ((("route", "fallback"), one) for one in route.fallback)
        if route.cheaper:
            yield ("route", "cheaper"), route.cheaper
    if endpoint.cascade is not None:
        yield from ((("cascade", "steps"), one) for one in endpoint.cascade.steps if one != name)


def _circle(name: str, known: dict[str, Endpoint]) -> list[str]:
    """The way from an endpoint back to it; empty where there is none."""
    stack, seen = [[name]], set[str]()
    while stack:
        way = stack.pop()
        for _, other in _edges(way[-1], known[way[-1]]):
            if other == name:
                return [*way, other]
            if other in known and other not in seen:
                seen.add(other)
                stack.append([*way, other])
    return []
