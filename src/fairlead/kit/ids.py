"""Identifiers: short, unique over processes, cheap to make."""

from __future__ import annotations

import itertools
import os
import secrets

_counter = itertools.count()
_prefix = secrets.token_hex(6)
os.register_at_fork(after_in_child=lambda: globals().__setitem__("_prefix", secrets.token_hex(6)))


def request_id() -> str:
    """A fresh request id: 12 random hex digits of this process and a counter."""
    return f"{_prefix}-{next(_counter):x}"


def process() -> str:
    """What tells this process from all others, also from one of the same number before it."""
    return _prefix
