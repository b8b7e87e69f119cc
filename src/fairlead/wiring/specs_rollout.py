"""What a spec makes of a rollout's plan. Loaded by need: the tests of a rollout stand on scipy."""

from __future__ import annotations

from fairlead.contracts.errors import UsageError
from fairlead.kit.spec.loop import Rollout
from fairlead.kit.spec.read import SpecFile
from fairlead.orchestrate.plan import Plan, Strategy, checked
from fairlead.orchestrate.verdict import gate
from fairlead.package.sources import parse


def plan(rollout: Rollout, endpoint: str, uri: str, champion: str, candidate: str) -> Plan:
    """From one version to another of the registered model ``uri``, as the spec has it. Raises UsageError."""
    source = parse(uri)
    made = Plan(
        endpoint,
        source.model,
        champion,
        candidate,
        Strategy(rollout.strategy),
        rollout.steps,
        tuple(gate(one.name, one.margin, higher_is_better=one.higher_is_better) for one in rollout.gates),
        rollout.alpha,
        rollout.min_calls,
        rollout.min_seconds,
        rollout.max_seconds,
        rollout.on_timeout,
        rollout.shadow,
        rollout.shadow_calls,
        rollout.settle_seconds,
        rollout.keep_seconds,
        rollout.sticky,
        source.pointer,
    )
    return checked(made)


def check(file: SpecFile) -> None:
    """Raises UsageError for a rollout that makes no sense, whatever the versions."""
    for name, endpoint in file.spec.endpoints.items():
        if "rollout" in endpoint.model_fields_set:
            try:
                plan(endpoint.rollout, name, endpoint.model, "champion", "candidate")
            except UsageError as error:
                raise UsageError(f"{file.at('endpoints', name, 'rollout')}: {error}") from None
