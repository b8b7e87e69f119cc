"""How an endpoint is spread over others, as the spec says. Frozen."""

from __future__ import annotations

from dataclasses import dataclass

from fairlead.serve.resilience.breaker import BreakerPolicy


@dataclass(frozen=True, slots=True)
class Routing:
    """``replicas``: endpoints that are the same model, in any order.  ``fallback``: that answer instead, in this order.

    ``own``: whether the endpoint has an engine itself, which is the first replica then.
    ``block``: characters of a prompt that are remembered as one; 0: prompts are not looked at.  ``memory``: blocks.
    ``spread``: times the even share of the load that a replica may have for the sake of a prefix.
    ``retries``: of one request, other than waiting.  ``budget``: of all requests, as a share of them.
    ``continues``: an answer whose engine is lost goes on elsewhere.
    ``wake``: seconds that an endpoint which is not there yet is waited for.
    """

    replicas: tuple[str, ...] = ()
    fallback: tuple[str, ...] = ()
    own: bool = False
    block: int = 256
    memory: int = 65_536
    spread: float = 1.25
    retries: int = 2
    budget: float = 0.2
    continues: bool = False
    wake: float = 0.0
    breaker: BreakerPolicy = BreakerPolicy(fail_max=3, cooldown=5.0)
