"""Scopes as people write them: ``churn:predict``, ``churn:predict:3``, ``*:metrics``."""

from __future__ import annotations

import re
from typing import Final

from fairlead.contracts.access import EVERY, Action, Scope
from fairlead.contracts.errors import UsageError
from fairlead.kit.config import nearest

_ENDPOINT: Final = re.compile(r"\*|[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_VERSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")
_ACTIONS: Final = (*(one.value for one in Action), EVERY)


def scope(text: str) -> Scope:
    """``ENDPOINT:ACTION`` or ``ENDPOINT:ACTION:VERSION``. Raises UsageError."""
    endpoint, first, rest = text.strip().partition(":")
    action, second, version = rest.partition(":")
    if not first or not _ENDPOINT.fullmatch(endpoint):
        raise UsageError(
            f"scope {text[:80]!r} is none; expected ENDPOINT:ACTION or ENDPOINT:ACTION:VERSION, as churn:predict"
        )
    if action not in _ACTIONS:
        raise UsageError(
            f"scope {text[:80]!r}: unknown action {action[:40]!r}{nearest(action[:40], _ACTIONS)}; "
            f"known are {', '.join(_ACTIONS)}"
        )
    if second and not _VERSION.fullmatch(version):
        raise UsageError(f"scope {text[:80]!r}: {version[:40]!r} is no version; leave it out for all of them")
    if version and endpoint == EVERY:
        raise UsageError(f"scope {text[:80]!r}: a version belongs to one endpoint; name it instead of *")
    return Scope(endpoint, action, version)
