"""Every message between a server and a process that runs one of its models. Tensors travel beside them (``frames``)."""

from __future__ import annotations

from typing import Any

import msgspec

from fairlead.contracts.runtime import Traits
from fairlead.contracts.types import Signature
from fairlead.serve.tune import Curve


class Message(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The class's name is the tag."""


# To the process.


class Load(Message, frozen=True):
    """Be this model; the tensors are the example's, if there is one. Answered with ``Loaded`` or ``Failed``.

    ``format`` to ``trusted_types``: the ``Artefact``.  ``threads``, ``providers``: the runtime's.
    ``rows``: most in a batch; 0: the curve is known, only warm up.
    ``modules``: where to find Python modules too.  ``level``: of the log.
    """

    endpoint: str
    name: str
    format: str
    path: str | None
    target: str
    signature: Signature | None
    details: dict[str, Any]
    trusted: bool
    trusted_types: tuple[str, ...]
    threads: int
    providers: tuple[str, ...]
    rows: int
    modules: list[str]
    level: int


class Batch(Message, frozen=True):
    """Predict. Answered with ``Answer`` or ``Raised``."""

    parameters: dict[str, str | int | float | bool]


# To the server.


class Loaded(Message, frozen=True):
    """The model answers."""

    signature: Signature
    traits: Traits
    curve: Curve


class Failed(Message, frozen=True):
    """The model does not load: the error's code and its sentence."""

    code: str
    message: str


class Answer(Message, frozen=True):
    """The tensors are the outputs of the last ``Batch``."""


class Raised(Message, frozen=True):
    """The model raised: the error that the caller gets, and the traceback for the log."""

    code: str
    message: str
    trace: str


ToProcess = Load | Batch
ToServer = Loaded | Failed | Answer | Raised
