"""What becomes of a message that failed, and how long to wait for a broker. Pure: chance is passed in."""

from __future__ import annotations

from dataclasses import dataclass

from fairlead.contracts.errors import FairleadError, InputError, UsageError


@dataclass(frozen=True, slots=True)
class Wait:
    """Grows from ``first`` by ``factor`` to ``most`` seconds, each taken shorter by up to ``jitter`` of itself."""

    first: float = 0.1
    factor: float = 2.0
    most: float = 10.0
    jitter: float = 0.5

    def seconds(self, tries: int, chance: float) -> float:
        """After ``tries`` failures, from 1. ``chance``: in [0, 1)."""
        full = min(self.most, self.first * self.factor ** min(tries - 1, 64))
        return full * (1 - self.jitter * chance)


@dataclass(frozen=True, slots=True)
class Patience:
    """``attempts``: how often a message is tried while the failure is the server's.  ``deliveries``: how often it may
    come from the broker; one that comes more often ended the workers that had it.
    """

    attempts: int = 5
    deliveries: int = 5
    wait: Wait = Wait()

    def __post_init__(self) -> None:
        for what, value in (("attempts", self.attempts), ("deliveries", self.deliveries)):
            if not 1 <= value <= 1_000:
                raise UsageError(f"--{what} is {value}; expected 1 to 1,000")


def again(error: FairleadError, attempts: int, patience: Patience, chance: float) -> float | None:
    """Seconds until a message that failed with ``error`` is tried again; None: it is a dead letter.

    What is wrong with the message stays wrong; a full queue, a model that failed or a deadline may not.
    """
    if isinstance(error, InputError) or attempts >= patience.attempts:
        return None
    return max(patience.wait.seconds(attempts, chance), min(error.retry_after or 0.0, patience.wait.most))


def delivered_too_often(deliveries: int, patience: Patience) -> FairleadError | None:
    """The reason to give a message up before it is tried."""
    if deliveries <= patience.deliveries:
        return None
    return FairleadError(
        f"it was delivered {deliveries} times and never answered (limit: {patience.deliveries}): workers ended, or "
        "lost the broker, while they had it"
    )
