"""``fairlead doctor --image``."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fairlead.cli.unwinding import unwound
from fairlead.contracts.errors import UsageError
from fairlead.package.doctor import Finding
from fairlead.package.image_check import Budget
from fairlead.wiring import image_check
from fairlead.wiring.images import tool_for


def findings(
    image: str,
    *,
    tool: str,
    ready_seconds: float,
    latency_ms: float,
    memory_mb: float,
    network: str,
    env: Sequence[str],
    volume: Sequence[str],
) -> list[Finding]:
    """Start it, wait, ask, look, stop it. Raises UsageError for a variable without a name, or endless memory."""
    if not math.isfinite(memory_mb):
        raise UsageError(f"--memory-mb is {memory_mb:g}; expected a number of MiB, or 0 for any")
    _, found = tool_for(tool, runs=True)
    for one in env:
        if not one.partition("=")[0]:
            raise UsageError(f"--env is {one!r}; expected NAME, which takes this machine's value, or NAME=VALUE")
    budget = Budget(ready_seconds, latency_ms / 1000, int(memory_mb * 2**20))
    asked = image_check.Check(
        image, budget, network, {one.partition("=")[0]: one.partition("=")[2] for one in env}, tuple(volume)
    )
    with unwound():
        return image_check.check(asked, found)
