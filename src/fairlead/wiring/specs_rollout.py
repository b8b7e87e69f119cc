"""What a spec makes of a rollout's plan. Loaded by need: the tests of a rollout stand on scipy."""

from __future__ import annotations

from typing import Any

from fairlead.contracts.errors import UsageError
from fairlead.kit.spec.loop import Rollout
from fairlead.kit.spec.read import SpecFile
from fairlead.orchestrate.plan import Plan, Strategy, checked
from fairlead.orchestrate.verdict import gate
from fairlead.package.sources import parse


def fields(rollout: Rollout) -> dict[str, Any]:
    """What a plan has of the spec, by the names of its fields. Raises UsageError for a gate that is none."""
    gates = tuple(gate(one.name, one.margin, higher_is_better=one.higher_is_better) for one in rollout.gates)
    same = {name: getattr(rollout, name) for name in Rollout.model_fields}
    return {**same, "strategy": Strategy(rollout.strategy), "gates": gates}


def plan(rollout: Rollout, endpoint: str, uri: str, champion: str, candidate: str) -> Plan:
    """From one version to another of the registered model ``uri``, as the spec has it. Raises UsageError."""
    source = parse(uri)
    return checked(Plan(endpoint, source.model, champion, candidate, alias=source.pointer, **fields(rollout)))


def check(file: SpecFile) -> None:
    """Raises UsageError for a rollout that makes no sense, whatever the versions."""
    for name, endpoint in file.spec.endpoints.items():
        if "rollout" in endpoint.model_fields_set:
            try:
                plan(endpoint.rollout, name, endpoint.model, "champion", "candidate")
            except UsageError as error:
                raise UsageError(f"{file.at('endpoints', name, 'rollout')}: {error}") from None
