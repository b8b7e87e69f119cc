"""Where batches of requests are kept, and who works on them."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.kit.clock import SystemClock
from fairlead.kit.config import Home
from fairlead.serve.llm.batches.runner import Runner
from fairlead.serve.llm.batches.shelf import Shelf
from fairlead.wiring.llm.wanted import Wanted


def batching(home: Home, chats: Sequence[Wanted]) -> Runner | None:
    """None for a server without language models."""
    if not chats:
        return None
    clock = SystemClock()
    return Runner(Shelf(home.root / "batches", clock), clock)
