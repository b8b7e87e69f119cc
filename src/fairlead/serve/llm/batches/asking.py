"""What a batch needs of the edge that answers its requests."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from fairlead.contracts.access import Caller


class Answered(NamedTuple):
    """One answer, or refusal, as a caller from outside would get it.

    ``again``: seconds after which the same may go well; None: it would not.  ``lost``: it was begun, and may be what
    broke the engine, or is too slow for its time: not to be asked for ever.
    """

    status: int
    request_id: str
    body: bytes
    again: float | None = None
    lost: bool = False


class Answering(Protocol):
    """Answers requests of ``url``, one of those that batches may be of, in lane batch. On the event loop.

    ``model``: that the body names.
    """

    async def answer(self, url: str, model: str, body: bytes, caller: Caller | None) -> Answered:
        """Down the line that calls from outside go. Never raises; who is cancelled cancels it."""

    def unknown(self, url: str, model: str, caller: Caller | None) -> str:
        """Why this caller cannot ask this model there; empty where they can."""

    def room(self, url: str, model: str) -> bool:
        """Whether one more may be asked now, without anybody waiting for it."""
