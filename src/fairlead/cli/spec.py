"""The spec option of the commands that work on endpoints of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from fairlead.cli.where import spec_path
from fairlead.contracts.errors import UsageError
from fairlead.kit.config import Home, nearest
from fairlead.kit.config import home as read_home
from fairlead.kit.spec.spec import Spec
from fairlead.wiring import retraining, slos, specs, specs_course
from fairlead.wiring.burning import Budgeted
from fairlead.wiring.loop import Course
from fairlead.wiring.stores import registry

SpecOption = Annotated[
    Path | None, typer.Option("--spec", help="The spec file.", show_default="fairlead.yaml, if there is one")
]


@dataclass(frozen=True, slots=True)
class Asked:
    """Where things are, and what the spec says; None without a spec."""

    home: Home
    spec: Spec | None

    def course(self, endpoint: str, model: str = "") -> Course:
        """What is known of an endpoint. ``model`` wins over what the spec or the registry says.

        Raises SourceNotFound when no model is known for it, UsageError for one that a spec does not have.
        """
        if self.spec is not None and (not model or endpoint in self.spec.endpoints):
            if endpoint not in self.spec.endpoints:
                raise UsageError(f"the spec has no endpoint {endpoint!r}{nearest(endpoint, list(self.spec.endpoints))}")
            found = specs_course.course(endpoint, self.spec.endpoints[endpoint])
            return replace(found, model=model or found.model)
        return Course(endpoint, model or retraining.model_of(self.home, endpoint))

    def every(self) -> list[Course]:
        """Every endpoint of the spec; without one, every registered model under its own name."""
        if self.spec is not None:
            return specs_course.courses(self.spec)
        return [Course(name, name) for name in registry(self.home).models()]

    def budgeted(self) -> list[Budgeted]:
        """The endpoints of the spec that have windows, with what each promises: no language models."""
        found = {} if self.spec is None else self.spec.endpoints
        return [
            Budgeted(name, tuple(slos.objectives(one)), one.monitor.alerts.webhook)
            for name, one in found.items()
            if not one.speaks
        ]

    def gate(self, endpoint: str) -> dict[str, Any]:
        """The gate's fields as the spec gives them."""
        known = self.spec.endpoints.get(endpoint) if self.spec else None
        return known.retrain.gate.model_dump() if known and known.retrain else {}


def asked(spec: Path | None, home: Path | None, tracking: str | None) -> Asked:
    """Read the spec, or the one that lies here, or none. Raises UsageError."""
    path = spec_path(spec)
    if path is None:
        return Asked(read_home(home, tracking), None)
    file = specs.read(path)
    specs.check_loop(file)
    return Asked(specs.home(file.spec, home, tracking), file.spec)
