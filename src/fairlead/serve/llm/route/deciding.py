"""What is done when an answer fails, by what had been said. Pure."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from typing import Any, Final

from fairlead.contracts.errors import (
    CircuitOpen,
    EngineLost,
    FairleadError,
    ModelFailed,
    Overloaded,
    QueueFull,
    Unavailable,
)
from fairlead.contracts.generation import Generation, Message

LONGEST_PAUSE: Final = 2.0
SHORTEST_PAUSE: Final = 0.05
"""Seconds between two looks at an endpoint that is waited for."""


class Then(Enum):
    """``ELSEWHERE``: another one is asked, unseen.  ``CONTINUE``: another one goes on.  ``TELL``: as it is."""

    ELSEWHERE = "elsewhere"
    CONTINUE = "continue"
    TELL = "tell"


def after(error: FairleadError, *, said: bool, continuable: bool) -> Then:
    """``said``: the caller has seen some of the answer."""
    if said:
        return Then.CONTINUE if continuable and isinstance(error, Unavailable | ModelFailed) else Then.TELL
    return Then.ELSEWHERE if isinstance(error, Unavailable | QueueFull | Overloaded | ModelFailed) else Then.TELL


def failed(error: FairleadError) -> bool | None:
    """What it says of the replica; None for nothing: the caller was wrong, or it is only full."""
    return True if isinstance(error, Unavailable | ModelFailed) else None


def pause(error: FairleadError) -> float | None:
    """Seconds to wait for an endpoint that is not there yet; None where waiting does not help."""
    if not isinstance(error, Unavailable) or isinstance(error, EngineLost | CircuitOpen) or error.retry_after is None:
        return None
    return max(SHORTEST_PAUSE, min(LONGEST_PAUSE, error.retry_after))


def continuable(asked: Generation) -> bool:
    """Whether somebody else can go on where an answer stopped: it is plain text, nothing that has a shape."""
    plain = not asked.tools and asked.format is None and asked.sampling.logprobs is None
    return plain and not (isinstance(asked.prompt, tuple) and asked.prompt and not isinstance(asked.prompt[0], Message))


def continued(asked: Generation, text: str, tokens: int) -> Generation | None:
    """The question of the rest, after ``text`` of so many tokens; None when there is none left to ask for.

    A conversation ends with the beginning of the answer as a message of the assistant, which an engine goes on with.
    """
    sampling = asked.sampling
    if sampling.most is not None:
        if tokens >= sampling.most:
            return None
        sampling = replace(sampling, most=sampling.most - tokens)
    if isinstance(asked.prompt, str):
        return replace(asked, prompt=asked.prompt + text, sampling=sampling)
    talk: Any = (*asked.prompt, Message("assistant", text))
    return replace(asked, prompt=talk, sampling=sampling, resumes=True)
