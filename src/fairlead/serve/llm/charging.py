"""What texts that become vectors are charged to the limits of a caller: a request, a row a text, and their tokens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from fairlead.contracts.access import Caller
from fairlead.contracts.embedder import Embedded, Text
from fairlead.serve.limits.limiter import Limiter
from fairlead.serve.llm import worst
from fairlead.serve.llm.ask import Notes


class Charging:
    """Of one endpoint. ``limiter`` None: nothing is counted."""

    def __init__(self, limiter: Limiter | None, endpoint: str) -> None:
        self._limiter, self._endpoint = limiter, endpoint

    async def embed(
        self,
        texts: Sequence[Text],
        caller: Caller | None,
        size: int,
        notes: Notes,
        embed: Callable[[], Awaitable[Embedded]],
    ) -> Embedded:
        """What ``embed`` gives, charged in advance as guessed and corrected when it is known; what fails costs none.

        ``size``: bytes of the body. Raises RateLimited and Unavailable, and what ``embed`` raises.
        """
        limiter = self._limiter
        permit = None if limiter is None else limiter.permit(caller, self._endpoint)
        if limiter is None or permit is None or permit.account is None or not permit.account.buckets:
            return await embed()
        tokens = sum(map(_guess, texts)) if permit.account.tokens else 0
        taken = 0
        try:
            waiting = limiter.charge(permit, (1, len(texts), size, tokens))
            if waiting is not None:
                await waiting
            if permit.allowance is not None:
                notes.allowance = permit.allowance
            try:
                found = await embed()
                taken = sum(found.tokens)
            finally:
                limiter.give_back(permit, tokens - taken)
        finally:
            permit.release()
        return found


def _guess(text: Text) -> int:
    return worst.piece_guess(text) if isinstance(text, str) else len(text)
