"""What a spec makes of triggers and the gate. Loaded by need: they stand on scipy and cronsim."""

from __future__ import annotations

from pathlib import Path

from fairlead.contracts.errors import UsageError
from fairlead.kit.spec.loop import Retrain, RetrainGate
from fairlead.kit.spec.read import SpecFile
from fairlead.retrain import triggers
from fairlead.retrain.gate import GatePolicy
from fairlead.retrain.triggers import Triggers


def triggers_of(retrain: Retrain) -> Triggers:
    """Raises UsageError that names the entry."""
    return triggers.parse(retrain.on, round(retrain.cooldown * 1000))


def policy(gate: RetrainGate) -> GatePolicy:
    """Raises UsageError."""
    return GatePolicy(**{name: getattr(gate, name) for name in RetrainGate.model_fields})


def check(file: SpecFile) -> None:
    """Raises UsageError for triggers, a gate or a pipeline that cannot be."""
    for name, endpoint in file.spec.endpoints.items():
        if endpoint.retrain is None:
            continue
        try:
            triggers_of(endpoint.retrain)
            policy(endpoint.retrain.gate)
        except UsageError as error:
            raise UsageError(f"{file.at('endpoints', name, 'retrain')}: {error}") from None
        if not Path(endpoint.retrain.pipeline).expanduser().is_file():
            where = file.at("endpoints", name, "retrain", "pipeline")
            raise UsageError(f"{where} is {endpoint.retrain.pipeline}, which is no file; name the Python file")
