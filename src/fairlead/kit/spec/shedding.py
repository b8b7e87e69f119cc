"""What the spec says about more calls than can be answered."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from fairlead.kit.spec.part import Part


class Shed(Part):
    """Which calls are refused early because they would wait too long."""

    target_ms: float = Field(default=0.0, ge=0, le=3_600_000)
    """Longest that a standard call waits in overload, lane batch half of it, interactive twice; 0: by its deadline."""
    interval_ms: float = Field(default=100.0, ge=1, le=600_000)
    """A queue that was not empty (with a target: not below it) for so long is overload."""


def _read(value: Any) -> Any:
    """``true`` and ``false`` beside a mapping."""
    if value is True:
        return Shed()
    return None if value is False else value


AsShed = Annotated[Shed | None, BeforeValidator(_read, json_schema_input_type=Shed | bool)]
"""A mapping; ``false`` for none."""
