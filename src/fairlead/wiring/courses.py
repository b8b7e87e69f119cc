"""What a spec makes of the loop: the course of each endpoint whose model has other versions."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from fairlead.kit.spec.loop import Monitor
from fairlead.kit.spec.loop import Rollout as RolloutSpec
from fairlead.kit.spec.spec import Endpoint, Spec
from fairlead.monitor.alerts import Rule
from fairlead.orchestrate.plan import Plan
from fairlead.package.sources import Kind, parse
from fairlead.retrain.triggers import Triggers
from fairlead.wiring import specs, specs_retrain, specs_rollout
from fairlead.wiring.baselines import Performance
from fairlead.wiring.loop import Course
from fairlead.wiring.monitors import Monitored

_OF_THE_ROLLOUT = ("endpoint", "model", "champion", "candidate", "alias")


def courses(spec: Spec) -> list[Course]:
    """In the order of the spec. Raises UsageError for rules and triggers that make no sense."""
    return [
        _course(name, endpoint) for name, endpoint in spec.endpoints.items() if parse(endpoint.model).kind is Kind.ALIAS
    ]


def monitored(monitor: Monitor) -> Monitored:
    """How an endpoint is watched."""
    labels, alerts = monitor.labels, monitor.alerts
    return Monitored(
        contract=specs.contract(monitor),
        delay_ms=round(labels.delay * 1000),
        performance=Performance(
            labels.metric or "", labels.margin, labels.false_alarms, monitor.prediction, monitor.score
        ),
        rules=tuple(Rule(**rule.model_dump()) for rule in alerts.rules),
        webhook=alerts.webhook,
    )


def _course(name: str, endpoint: Endpoint) -> Course:
    source = parse(endpoint.model)
    retrain = endpoint.retrain
    return Course(
        name,
        source.model,
        source.pointer,
        monitored(endpoint.monitor),
        _rollout(endpoint.rollout, name, endpoint.model),
        Path(retrain.pipeline).expanduser() if retrain else None,
        specs_retrain.triggers_of(retrain) if retrain else Triggers(),
    )


def _rollout(rollout: RolloutSpec, name: str, uri: str) -> dict[str, Any]:
    made = specs_rollout.plan(rollout, name, uri, "champion", "candidate")
    return {one.name: getattr(made, one.name) for one in fields(Plan) if one.name not in _OF_THE_ROLLOUT}
