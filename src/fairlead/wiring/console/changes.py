"""What changed in the stores since the last look, by topic: a few small queries, asked while somebody watches."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fairlead.contracts.state import StateStore
from fairlead.kit.clock import Clock
from fairlead.monitor import timeline
from fairlead.wiring.console.kept import Kept

WINDOWS_MS: Final = 5_000
"""Workers put their windows each second; pages are drawn anew less often."""

TOPICS: Final[Mapping[str, Sequence[str]]] = {
    "rollouts": ("split", "rollout", "rollout-of", "applied"),
    "retraining": ("retrain",),
    "monitors": ("monitor", "watch", "baseline", "slo"),
    "access": ("access-key",),
}
"""Documents that a topic is about, by their kinds. ``windows``, ``timeline`` and ``verdicts`` are topics beside."""


@dataclass(frozen=True, slots=True)
class Stored:
    """``Changes`` over the state store."""

    kept: Kept
    clock: Clock

    def stamps(self) -> Mapping[str, str]:
        store = self.kept.state
        found = {topic: _documents(store, kinds) for topic, kinds in TOPICS.items()}
        found["timeline"] = _newest(store, timeline.KIND)
        found["verdicts"] = _newest(store, "verdict")
        found["windows"] = str(self.clock.wall_ms() // WINDOWS_MS)
        return found


def _documents(store: StateStore, kinds: Sequence[str]) -> str:
    seen = hashlib.sha256()
    for kind in kinds:
        for one in store.all(kind):
            seen.update(f"{kind}\n{one.key}\n{one.revision}\n{one.at_ms}\n".encode())
    return seen.hexdigest()


def _newest(store: StateStore, kind: str) -> str:
    return str(next((one.number for one in store.entries(kind, limit=1)), 0))
