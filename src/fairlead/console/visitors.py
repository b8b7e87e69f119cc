"""Who looks at the console, and who may act: asked of keys; where nobody is asked, everybody of this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Visitor:
    """``name``: what the audit log calls them.  ``acts``: whether they may change something, not only look."""

    name: str
    acts: bool


class Doorman(Protocol):
    """Knows callers by their keys. Methods may block; they raise Unavailable where the keys cannot be read."""

    @property
    def asks(self) -> bool:
        """Whether visitors must show a key."""

    def unasked(self) -> Visitor:
        """Who comes where nobody is asked."""

    def shown(self, key: str) -> Visitor | None:
        """Who shows this key; None for one that does not hold. Raises Forbidden for a caller who may not look."""

    def again(self, name: str) -> Visitor | None:
        """Somebody who showed a key before, as it is now; None when it holds no more, or may not look any more."""
