"""What is counted of an endpoint over others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from fairlead.contracts.figures import Figure


class Measured:
    """``names``: of the endpoints behind it."""

    def __init__(self, endpoint: str, names: Sequence[str]) -> None:
        self._endpoint, self._names = endpoint, names
        self.picked: Counter[tuple[str, str]] = Counter()
        """By endpoint, and by what it was chosen by."""
        self.outcomes: Counter[tuple[str, str]] = Counter()
        """By endpoint, ``ok`` or the code of the error."""
        self.retries: Counter[str] = Counter()
        """``elsewhere``, ``continue``, ``wait``; and ``budget``, ``deadline`` for those that were not made."""

    def figures(self, loads: Sequence[int], left_out: Sequence[str]) -> Iterator[Figure]:
        own = ("endpoint", self._endpoint)
        for name, load in zip(self._names, loads, strict=True):
            labels = (own, ("to", name))
            yield Figure(
                "fairlead_llm_route_running", "gauge", "Requests that an endpoint behind another has.", labels, load
            )
            yield Figure(
                "fairlead_llm_route_left_out", "gauge", "1 while it is left out; by workers added up.", labels,
                float(name in left_out),
            )  # fmt: skip
        for (name, why), count in self.picked.items():
            yield Figure(
                "fairlead_llm_routed", "counter",
                "Requests by where they went, and what that was chosen by: prefix, hash, least, order or forced.",
                (own, ("to", name), ("by", why)), count,
            )  # fmt: skip
        for (name, code), count in self.outcomes.items():
            yield Figure(
                "fairlead_llm_route_outcomes", "counter", "How they ended: ok, or the code of an error.",
                (own, ("to", name), ("code", code)), count,
            )  # fmt: skip
        for what, count in self.retries.items():
            yield Figure(
                "fairlead_llm_route_retries", "counter",
                "Requests that went elsewhere, continue there or wait; or did not, for want of budget or deadline.",
                (own, ("outcome", what)), count,
            )  # fmt: skip
