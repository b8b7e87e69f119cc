"""What a page of the console must show, out of its JSON twin: a sample of its figures, written as people read them."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from fairlead.console import formats

Twin = Mapping[str, Any]


def known(write: Callable[[Any], str], *values: Any) -> list[str]:
    """What is there, written; pages say in their own words why something is not."""
    return [write(one) for one in values if one is not None]


def home(twin: Twin) -> list[str]:
    told = []
    for row in twin["rows"]:
        ops = row["operations"]
        told += [row["name"], *known(formats.seconds, ops["p50"], ops["p99"]), *known(formats.percent, ops["errors"])]
        told += [formats.percent(one["weight"]) for one in row["split"] if one["weight"]]
    return told


def endpoint(twin: Twin) -> list[str]:
    told = [*known(formats.seconds, twin["p50"], twin["p95"], twin["p99"]), *known(formats.percent, twin["errors"])]
    told += [formats.short(twin["rows"]), f"{formats.short(twin['calls'])} calls"]
    for one in twin["versions"]:
        told += [formats.short(one["calls"]), *known(formats.seconds, one["p50"], one["p99"])]
    return told


def drift(twin: Twin) -> list[str]:
    told = [twin["reference"], *known(formats.short, twin["rows"])]
    for one in twin["columns"]:
        told += [one["name"], *known(formats.number, one["psi"]), *known(formats.probability, one["p"])]
        told += known(formats.number, *(test["size"] for test in one["tests"]))
    return told


def performance(twin: Twin) -> list[str]:
    told = []
    if twin["labels"]:
        told.append(formats.percent(twin["labels"]["labelled"] / twin["labels"]["rows"]))
    measures = [one[name] for one in twin["estimates"] for name in ("expected", "realised") if one[name]]
    measures += [one for period in twin["periods"] for one in (*period["then"], *period["now"])]
    return told + known(lambda value: formats.number(value, 4), *(one["value"] for one in measures))


def timeline(twin: Twin) -> list[str]:
    return [part for one in twin["lines"] for part in (one["endpoint"], one["what"], formats.at(one["at_ms"]))]


def rollouts(twin: Twin) -> list[str]:
    told = []
    for one in twin["rows"]:
        told += [one["id"], one["phase"], formats.percent(one["weight"] / 100), formats.at(one["started_ms"])]
    return told


def models(twin: Twin) -> list[str]:
    told = []
    for one in twin["speakers"]:
        told += [one["name"], *known(formats.seconds, *one["first"], *one["per_token"], *one["seconds"])]
    for one in twin["spans"]:
        told += [one["id"], one["outcome"]]
        told += [formats.money(one["cost_nano"], one["currency"])] if one["cost_nano"] is not None else []
    told += [f"{one['cost']} {one['currency']}" for one in twin["spent"]]
    return told + [one["settled"] for one in twin["budgets"]] + [one["kind"] for one in twin["guarded"]]


def trace(twin: Twin) -> list[str]:
    told = [twin["id"], formats.at(twin["start_ms"])]
    return told + [part for one in twin["spans"] for part in (one["name"], *known(formats.seconds, one["per_token"]))]


def access(twin: Twin) -> list[str]:
    told = [one["name"] for one in twin["keys"]]
    return told + [part for one in twin["entries"] for part in (one["action"], formats.moment(one["at"]))]


def trying(twin: Twin) -> list[str]:
    return [one["name"] for one in (*twin["inputs"], *twin["outputs"])]


def retrainings(twin: Twin) -> list[str]:
    return [part for one in twin["rows"] for part in (one["request"]["endpoint"], one["state"])]


def retraining(twin: Twin) -> list[str]:
    return [twin["request"]["endpoint"], *(one["name"] for one in (*twin["tested"], *twin["compared"]))]


OF: Final[Mapping[str, Callable[[Twin], list[str]]]] = {
    "/console": home,
    "/console/endpoints/{name}": endpoint,
    "/console/endpoints/{name}/drift": drift,
    "/console/endpoints/{name}/drift/performance": performance,
    "/console/endpoints/{name}/rollout": rollouts,
    "/console/endpoints/{name}/try": trying,
    "/console/timeline": timeline,
    "/console/rollouts": rollouts,
    "/console/retraining": retrainings,
    "/console/retraining/{id}": retraining,
    "/console/llm": models,
    "/console/llm/traces/{id}": trace,
    "/console/access": access,
}
"""By the path of the page."""


def missing(path: str, twin: Twin, shown: str) -> list[str]:
    """The figures of the twin that the text of the page does not have. ``path``: of the page's route."""
    text = _plain(shown)
    return [one for one in map(_plain, OF[path](twin)) if one not in text]


def _plain(text: str) -> str:
    """Without markup, and every kind of space as one of the plain ones, or none before a unit."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", "", str(text))))
