"""Words for people out of what libraries say."""

from __future__ import annotations


def cause(error: BaseException) -> str:
    """``ValueError: its first line``: what a foreign exception says, short enough for the end of a sentence."""
    first = (str(error).strip().splitlines() or [""])[0][:200]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
