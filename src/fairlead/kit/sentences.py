"""Words for people out of what libraries say."""

from __future__ import annotations

import re

_USER = re.compile(r"^([\w+.-]+://)(?!/).*@", re.DOTALL)  # to the last @: a password may hold / and @
_SECRETS = re.compile(r"([?&][^=&]*(?:pass|pwd|secret|token|key|credential)[^=&]*=)[^&]*", re.IGNORECASE)


_URL = re.compile(r"[A-Za-z][\w+.-]*://\S+")


def cause(error: BaseException) -> str:
    """``ValueError: its first line``: what a foreign exception says, short enough for the end of a sentence."""
    first = masked((str(error).strip().splitlines() or [""])[0])[:200]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def without_secrets(url: str) -> str:
    """A URL for a sentence, a log or a report: no user, no password, no token of its query."""
    return _SECRETS.sub(r"\1***", _USER.sub(r"\1***@", url))


def masked(text: str) -> str:
    """A text in which URLs may stand, for a log or a person: each of them ``without_secrets``."""
    return _URL.sub(lambda found: without_secrets(found[0]), text) if "://" in text else text
