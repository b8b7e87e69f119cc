"""What is written down of who did what. The stages tell an ``Auditor``; who keeps it is wired."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Audited:
    """One decision or act.

    ``actor``: the caller's name, ``anonymous``, or ``local:USER`` for a command.  ``action``: of ``Action``, or a word
    such as ``keys.create``.  ``endpoint``: empty for the server as a whole.  ``outcome``: ``allowed``, or the code of
    the error that refused it.  ``detail``: never a secret.
    """

    actor: str
    action: str
    endpoint: str = ""
    version: str = ""
    outcome: str = "allowed"
    request_id: str = ""
    detail: dict[str, str | int | float] = field(default_factory=dict)


class Auditor(Protocol):
    """Takes notes on the event loop: never blocks, never raises, keeps within bounds however many come."""

    def note(self, entry: Audited) -> None:
        """One decision that is written down as it is: an act of an administrator, or a refusal."""

    def allowed(self, actor: str, action: str, endpoint: str) -> None:
        """One call that was let in; these are summed up, for each costs as little as can be."""
