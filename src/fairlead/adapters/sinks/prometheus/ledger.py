"""What was spent, what was refused for want of it, and how budgets stand."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

from fairlead.contracts.ledger import NANO


class Ledger:
    """As ``contracts/sink.py`` has it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._tokens = Counter(
            "fairlead_spent_tokens", "Tokens that were settled: prompts and answers, also of those that were given up.",
            ("endpoint",), registry=registry,
        )  # fmt: skip
        self._money = Counter(
            "fairlead_spent_money", "Money that was settled, in units of the currency.", ("endpoint", "currency"),
            registry=registry,
        )  # fmt: skip
        self._over = Counter(
            "fairlead_over_budget",
            "Answers refused; reason is money, tokens, price (the model has none) or down (nothing can be counted).",
            ("endpoint", "reason"),
            registry=registry,
        )
        labels = ("budget", "unit")
        self._stand = [
            Gauge(f"fairlead_budget_{name}", text, labels, registry=registry)
            for name, text in (
                ("amount", "What a budget of the spec has in a window; unit is a currency or tokens."),
                ("settled", "What was spent of it in the present window."),
                ("reserved", "What answers under way may take of it."),
            )
        ]
        self._known: dict[tuple[str, str], tuple[Counter, Counter | None]] = {}

    def spent(self, endpoint: str, tokens: int, cost: int, currency: str) -> None:
        known = self._known.get((endpoint, currency))
        if known is None:
            money = self._money.labels(endpoint, currency) if currency else None
            known = self._known[endpoint, currency] = self._tokens.labels(endpoint), money
        known[0].inc(tokens)
        if known[1] is not None:
            known[1].inc(cost / NANO)

    def over(self, endpoint: str, reason: str) -> None:
        self._over.labels(endpoint, reason).inc()

    def budget(self, budget: str, currency: str, amount: int, settled: int, reserved: int) -> None:
        unit, scale = (currency, NANO) if currency else ("tokens", 1)
        for gauge, value in zip(self._stand, (amount, settled, reserved), strict=True):
            gauge.labels(budget, unit).set(value / scale)
