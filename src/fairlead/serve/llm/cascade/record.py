"""What was fitted, as it is kept: one JSON file a step of a cascade, whole or not there."""

from __future__ import annotations

import base64
import binascii
import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from fairlead.contracts.errors import UsageError
from fairlead.kit.files import write_whole
from fairlead.serve.llm.cascade.confidence import ROUTER, SIGNALS
from fairlead.serve.llm.cascade.fitting import Fitted
from fairlead.serve.llm.cascade.router import Router


class Weights(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of a router. ``data``: float16 of little end, base64."""

    bits: int
    bias: float
    data: str


class Found(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of rows: ``kept``, ``loss`` and its bounds as ``Fitted`` has them."""

    rows: int
    kept: float
    loss: float
    low: float
    high: float


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``made``: day.  ``data``: name of the labelled file, ``digest``: SHA-256 of it.

    ``threshold`` None: nothing is kept.

    ``tested``: on rows that neither the router nor the threshold was fitted on; None where there are none.
    ``bins``: mean score, share of cheap answers that were right, and rows.
    """

    made: str
    data: str
    digest: str
    signal: str
    threshold: float | None
    max_loss: float
    delta: float
    fitted: Found
    tested: Found | None = None
    bins: tuple[tuple[float, float, int], ...] = ()
    router: Weights | None = None

    @property
    def level(self) -> float:
        """The threshold as a number: infinity where nothing is kept."""
        return math.inf if self.threshold is None else self.threshold


def found(rows: int, fitted: Fitted) -> Found:
    return Found(rows, fitted.kept, fitted.loss, fitted.low, fitted.high)


def packed(router: Router) -> Weights:
    return Weights(router.bits, router.bias, base64.b64encode(router.weights.astype("<f2").tobytes()).decode())


def unpacked(weights: Weights) -> Router:
    """Raises UsageError for what is no such thing."""
    try:
        data = np.frombuffer(base64.b64decode(weights.data, validate=True), "<f2").astype(np.float32)
    except (ValueError, binascii.Error):
        raise UsageError("the router's weights are damaged; fit it again: fairlead cascade fit") from None
    if not 1 <= weights.bits <= 24 or len(data) != 1 << weights.bits or not np.isfinite(data).all():
        raise UsageError("the router's weights are damaged; fit it again: fairlead cascade fit")
    return Router(weights.bits, data, weights.bias)


def write(path: Path, record: Record) -> None:
    write_whole(path, msgspec.json.format(msgspec.json.encode(record)))


def read(path: Path) -> Record | None:
    """None where there is none. Raises UsageError for a file that is something else."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        record = msgspec.json.decode(data, type=Record)
    except msgspec.DecodeError as error:
        raise UsageError(f"{path} is no fitted cascade: {error}; fit it again: fairlead cascade fit") from None
    if record.signal not in SIGNALS or (record.signal == ROUTER) != (record.router is not None):
        raise UsageError(f"{path} names the signal {record.signal!r} and has not what belongs to it; fit it again")
    return record


def told(record: Record) -> dict[str, Any]:
    """For people and scripts: all but the weights."""
    return {name: value for name, value in msgspec.to_builtins(record).items() if name != "router"}
