"""What is wanted of language models, as a command line or a spec says it. Light: every server reads this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Wanted:
    """One endpoint, as the spec says. ``most``, ``default``: tokens of an answer; None: as many as fit.

    ``engine``: empty where it is made of others.  ``deadline``: seconds.

    ``parts``: what the spec says of its stages, by the name of the part; each stage's maker reads its own.
    """

    name: str
    engine: str
    model: str = ""
    url: str = ""
    token: str = ""
    precision: str = "int8"
    threads: int = 0
    most: int | None = None
    default: int | None = None
    deadline: float = 60.0
    options: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Vectors:
    """What is wanted, as the part of the spec says it (``kit.spec.embedding``), which costs 100 ms to import."""

    model: str
    engine: str = ""
    tokenizer: str = ""
    normalize: bool | None = None
