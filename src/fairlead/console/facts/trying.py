"""What the page shows on which a model is tried: what it takes, one row of it, and what came back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from fairlead.console.facts.trouble import Trouble


@dataclass(frozen=True, slots=True)
class Field:
    """One value of the row. ``key``: of the form.  ``kind``: ``number``, ``integer``, ``bool`` or ``text``."""

    key: str
    label: str
    kind: str
    datatype: str
    value: str


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output as the server describes it."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    optional: bool = False


@dataclass(frozen=True, slots=True)
class TryFacts:
    """``fields``: empty where the row is too long for a form; ``body`` is the row as JSON in any case.

    ``trouble``: why the server does not say what it takes.  ``asks``: whether calls need a key.
    """

    name: str
    url: str
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    platform: str = ""
    versions: tuple[str, ...] = ()
    fields: tuple[Field, ...] = ()
    body: str = ""
    explained: bool = False
    asks: bool = False
    curl: str = ""
    python: str = ""
    trouble: Trouble | None = None


@dataclass(frozen=True, slots=True)
class Phase:
    """One entry of ``server-timing``. ``seconds``: None where it has no duration.  ``text``: what it says beside."""

    name: str
    seconds: float | None
    text: str


@dataclass(frozen=True, slots=True)
class Attribution:
    column: str
    value: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Shapley values of one row: they add up to ``value - base``. ``exact``: every coalition was tried."""

    output: str
    value: float | None
    base: float | None
    exact: bool
    parts: tuple[Attribution, ...]


@dataclass(frozen=True, slots=True)
class Tried:
    """``status``: of HTTP.  ``seconds``: from asking to the answer, as the console saw it.  ``reply``: its body.

    ``headers``: those that say something about the answer.  ``row``: what was asked, by the keys of the fields.
    """

    status: int
    seconds: float
    reply: str
    headers: tuple[tuple[str, str], ...]
    timing: tuple[Phase, ...]
    asked: str
    row: tuple[tuple[str, str], ...] = ()
    explanation: Explanation | None = None


class Trials(Protocol):
    """Asks the server that runs. What it does is a call like any other: with a key where the server asks for one."""

    def described(self, name: str) -> TryFacts: ...

    def tried(self, name: str, row: tuple[tuple[str, str], ...], body: str, key: str, *, explain: bool) -> Tried:
        """``row``: values by the keys of the fields; ``body``: in its place, JSON as it is sent.

        Raises InvalidParameter for a value that is none of its kind, and Unavailable where the server does not answer.
        """
