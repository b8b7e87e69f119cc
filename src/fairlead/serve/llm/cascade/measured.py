"""What is counted of a cascade."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from fairlead.contracts.figures import Figure
from fairlead.serve.llm.cascade.auditing import Audit


class Measured:
    """``kept``: answers by step.  ``climbed``: those that were not, by step and why."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self.kept: Counter[str] = Counter()
        self.climbed: Counter[tuple[str, str]] = Counter()

    def figures(self, names: Sequence[str], audits: Sequence[Audit]) -> Iterator[Figure]:
        own = ("endpoint", self._endpoint)
        for name, audit in zip(names, audits, strict=True):
            labels = (own, ("step", name))
            yield Figure(
                "fairlead_llm_cascade_kept", "counter", "Answers of a cheap model that were kept.", labels,
                self.kept[name],
            )  # fmt: skip
            yield Figure(
                "fairlead_llm_cascade_audited", "counter", "Kept answers that the last model was asked for again.",
                labels, audit.asked,
            )  # fmt: skip
            yield Figure(
                "fairlead_llm_cascade_disagreed", "counter", "Of these, those that disagree.", labels, audit.disagreed
            )
            if audit.threshold < math.inf:
                yield Figure(
                    "fairlead_llm_cascade_threshold", "gauge",
                    "Least confidence of an answer that is kept; absent: none is; of workers, the greatest.", labels,
                    audit.threshold,
                )  # fmt: skip
        for (name, why), count in self.climbed.items():
            yield Figure(
                "fairlead_llm_cascade_climbed", "counter",
                "Answers that were not kept, by why: unsure, unknown, or the code of an error.",
                (own, ("step", name), ("why", why)), count,
            )  # fmt: skip
