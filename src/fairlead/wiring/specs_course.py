"""What a spec makes of the loop's course for an endpoint. Loaded by need, as all of the loop."""

from __future__ import annotations

from pathlib import Path

from fairlead.contracts.errors import UsageError
from fairlead.kit.spec.loop import Monitor
from fairlead.kit.spec.spec import Endpoint, Spec
from fairlead.monitor.alerts import Rule
from fairlead.package.sources import Kind, parse
from fairlead.retrain.triggers import Triggers
from fairlead.wiring import specs, specs_retrain, specs_rollout
from fairlead.wiring.baselines import Performance
from fairlead.wiring.loop import Course
from fairlead.wiring.monitors import Monitored


def courses(spec: Spec) -> list[Course]:
    """Of every endpoint whose model has other versions, in the order of the spec."""
    modelled = {name: one for name, one in spec.endpoints.items() if one.graph is None and not one.speaks}
    aliased = {name: one for name, one in modelled.items() if parse(specs.uri(name, one)).kind is Kind.ALIAS}
    return [course(name, one) for name, one in aliased.items()]


def course(name: str, endpoint: Endpoint) -> Course:
    """What the loop does with it. Raises UsageError for a model that is named by no alias: it has no other versions."""
    if endpoint.graph is not None or endpoint.speaks:
        raise UsageError(f"endpoint {name!r} has no model of its own; the loop needs models:/NAME@ALIAS")
    source, retrain = parse(specs.uri(name, endpoint)), endpoint.retrain
    if source.kind is not Kind.ALIAS:
        raise UsageError(f"endpoint {name!r} serves {source.uri}; the loop needs models:/NAME@ALIAS")
    return Course(
        name,
        source.model,
        source.pointer,
        monitored(endpoint.monitor),
        specs_rollout.fields(endpoint.rollout),
        Path(retrain.pipeline).expanduser() if retrain else None,
        specs_retrain.triggers_of(retrain) if retrain else Triggers(),
        specs.abuse(endpoint) if endpoint.abuse.watch is not False else None,
    )


def monitored(monitor: Monitor) -> Monitored:
    """How an endpoint is watched. Raises UsageError for a rule that makes no sense."""
    labels, alerts = monitor.labels, monitor.alerts
    return Monitored(
        specs.contract(monitor),
        round(labels.delay * 1000),
        Performance(labels.metric or "", labels.margin, labels.alpha, monitor.prediction, monitor.score),
        tuple(Rule(**rule.model_dump()) for rule in alerts.rules),
        alerts.webhook,
        specs.SEASONS[monitor.season],
    )
