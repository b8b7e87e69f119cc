"""What the spec says about guardrails."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints

from fairlead.kit.spec.part import Part, Reference

Act = Literal["flag", "mask", "block"]
Kind = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")]


class Guardrail(Part):
    """One detector, and what is done about what it finds."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$", examples=["pii"])
    """Which: `pii`, `injection`, `presidio`, `http`, or another one that is installed."""
    kinds: tuple[Kind, ...] = Field(default=(), max_length=64, examples=[["email", "card"]])
    """Kinds that it looks for; empty: all that it knows."""
    action: Act | None = None
    """What is done: `flag` (only told), `mask` or `block`; null: what finds places masks, what judges texts blocks."""
    actions: dict[Kind, Act] = Field(default_factory=dict, examples=[{"card": "block"}])
    """The same for single kinds."""
    threshold: float | None = Field(default=None, ge=0, le=1)
    """Score from which a finding counts; null: the detector's own."""
    channels: tuple[Literal["system", "user", "tool", "answer"], ...] = ()
    """Texts of a question that it looks at; empty: `user`, `tool` and `answer` (earlier turns), never `system`."""
    fail: Literal["closed", "open"] = "closed"
    """When it does not answer, or not within the budget: `closed` lets nothing pass, `open` all."""
    calls: bool = True
    """Whether it looks at the arguments of tool calls in an answer as well."""
    url: str = Field(default="", pattern=r"^(https?://.+)?$", examples=["https://guard.internal/check"])
    """Address of the other server (`http`)."""
    token: Reference = Field(default="", examples=["env:GUARD_TOKEN"])
    """Where the credential for it is: `env:NAME` or `file:PATH`; empty: none."""
    options: dict[str, Any] = Field(default_factory=dict)
    """More, which the detector knows."""


def _named(value: Any) -> Any:
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, dict):
        return {key: tuple(one) if isinstance(one, list) and key != "options" else one for key, one in value.items()}
    return value


AsGuardrail = Annotated[Guardrail, BeforeValidator(_named, json_schema_input_type=str | Guardrail)]
"""A guardrail, or its name."""


class AllowedTool(Part):
    """A tool that the model may call."""

    name: str = Field(min_length=1, max_length=128, examples=["search"])
    """As callers name it."""
    arguments: dict[str, Any] = Field(default_factory=dict, examples=[{"type": "object", "required": ["q"]}])
    """JSON Schema of its arguments; empty: they may be anything."""


AsTool = Annotated[AllowedTool, BeforeValidator(_named, json_schema_input_type=str | AllowedTool)]
"""A tool, or its name."""


class Guardrails(Part):
    """What must not pass, in questions and in answers."""

    input: tuple[AsGuardrail, ...] = Field(default=(), max_length=16, examples=[["injection", "pii"]])
    """Detectors that look at what is asked."""
    output: tuple[AsGuardrail, ...] = Field(default=(), max_length=16, examples=[["pii"]])
    """Detectors that look at what is answered, while it streams."""
    tools: tuple[AsTool, ...] | None = Field(default=None, max_length=256, examples=[["search"]])
    """Tools that the model may call; null: every one."""
    tools_action: Literal["flag", "block"] = "block"
    """What is done about a call that is not on the list, or whose arguments are not as they must be."""
    budget_ms: float = Field(default=500.0, ge=1, le=60_000)
    """Time that detectors may take for one look, all together."""
    restore: bool = False
    """Whether an answer has what was masked in its question again; else it has the names that stand for it."""
