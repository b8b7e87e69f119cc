"""How an engine is shared, as the spec says. Frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fairlead.contracts.generation import Usage


@dataclass(frozen=True, slots=True)
class Sharing:
    """``queue``: requests that wait, at most; ``tokens``: of their prompts together; ``tenant``: share of both that one
    tenant may fill.

    ``parallel``: answers at once; 0: as many as the engine is best at.  ``spare``: of these, how many a tenant that has
    its share already leaves to others; None: one of sixteen.
    ``weights``: of tenants, by name; 1.0 for the others.  ``input``, ``cached``, ``output``: what a token counts.
    ``lead``: weighted tokens that a lane is ahead of the next one.  ``age``: seconds of waiting that make up for it.
    """

    queue: int = 256
    tokens: int = 1_000_000
    tenant: float = 0.5
    parallel: int = 0
    spare: int | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    input: float = 1.0
    cached: float = 0.1
    output: float = 2.0
    lead: float = 4096.0
    age: float = 30.0

    def weight(self, tenant: str) -> float:
        return self.weights.get(tenant, 1.0)

    def cost(self, usage: Usage) -> float:
        """Weighted tokens of an answer."""
        return self.input * usage.input + self.cached * usage.cached + self.output * usage.completion
