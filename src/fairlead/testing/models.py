"""Fake models for tests: they speak the runtime contract (``contracts/runtime.py``) and need no library.

``Model`` is also a good start for a test's own fake: give it a function.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fairlead.contracts.runtime import Traits
from fairlead.contracts.types import DataType, Parameters, Signature, Tensors, TensorSpec

TWO_COLUMNS = Signature(
    inputs=(TensorSpec("x", DataType.FP64, (-1, 2)),),
    outputs=(TensorSpec("y", DataType.FP64, (-1, 2)),),
)
"""What the fakes take and give unless told otherwise: ``x`` and ``y``, rows of two numbers."""


class Model:
    """A loaded model made of one function. ``closed`` counts calls of ``close``."""

    def __init__(
        self,
        function: Callable[[Tensors], Tensors],
        signature: Signature = TWO_COLUMNS,
        traits: Traits | None = None,
    ) -> None:
        self.signature = signature
        self.traits = traits or Traits(platform="fairlead_fake")
        self.closed = 0
        self._function = function

    def predict(self, inputs: Tensors, parameters: Parameters) -> Tensors:  # noqa: ARG002 - part of the contract
        return self._function(inputs)

    def close(self) -> None:
        self.closed += 1


class EchoModel(Model):
    """Answers its inputs, under the names of its outputs."""

    def __init__(self, signature: Signature = TWO_COLUMNS, traits: Traits | None = None) -> None:
        super().__init__(self._echo, signature, traits)

    def _echo(self, inputs: Tensors) -> Tensors:
        sources = (inputs[spec.name] for spec in self.signature.inputs)
        return {spec.name: array.copy() for spec, array in zip(self.signature.outputs, sources, strict=True)}


class FailingModel(EchoModel):
    """An echo that raises ``error`` whenever a row of the batch has ``mark`` as its first value."""

    def __init__(
        self,
        mark: float = -1.0,
        error: Exception | None = None,
        signature: Signature = TWO_COLUMNS,
        traits: Traits | None = None,
    ) -> None:
        super().__init__(signature, traits)
        self.mark = mark
        self.error = error or ValueError(f"a row is marked {mark}")

    def predict(self, inputs: Tensors, parameters: Parameters) -> Tensors:
        first = next(iter(inputs.values()))
        if np.any(first.reshape(len(first), -1)[:, 0] == self.mark):
            raise self.error
        return super().predict(inputs, parameters)


class RecordingModel(EchoModel):
    """An echo that keeps a copy of every batch it was given, and its parameters. ``rows``: rows of each batch."""

    def __init__(self, signature: Signature = TWO_COLUMNS, traits: Traits | None = None) -> None:
        super().__init__(signature, traits)
        self.batches: list[Tensors] = []
        self.parameters: list[Parameters] = []

    @property
    def rows(self) -> list[int]:
        return [len(next(iter(batch.values()))) for batch in self.batches]

    def predict(self, inputs: Tensors, parameters: Parameters) -> Tensors:
        self.batches.append({name: array.copy() for name, array in inputs.items()})
        self.parameters.append(dict(parameters))
        return super().predict(inputs, parameters)


class SlowModel(RecordingModel):
    """A recording echo that stands still inside ``predict`` until ``release`` is set.

    ``entered`` is set when a call is inside. ``hold()`` makes the next call stand still again.
    Waiting is bounded by ``patience`` seconds, so that a broken test fails and does not hang.
    """

    def __init__(
        self, signature: Signature = TWO_COLUMNS, traits: Traits | None = None, patience: float = 30.0
    ) -> None:
        super().__init__(signature, traits or Traits(releases_gil=True, platform="fairlead_fake"))
        self.entered = threading.Event()
        self.release = threading.Event()
        self.patience = patience

    def hold(self) -> None:
        self.entered.clear()
        self.release.clear()

    def predict(self, inputs: Tensors, parameters: Parameters) -> Tensors:
        self.entered.set()
        if not self.release.wait(self.patience):
            raise TimeoutError("nobody released the slow model")
        return super().predict(inputs, parameters)


class SumPredictor:
    """A user's class as ``fairlead serve package.module:Class`` takes it: the sum of every row, times ``scale``."""

    inputs = (("x", "FP64", [-1, 2]),)
    outputs = (("y", "FP64", [-1]),)

    def __init__(self) -> None:
        self.scale = 1.0

    def load(self, path: str | None) -> None:
        """``path``: a text file with the scale; None for 1."""
        if path is not None:
            self.scale = float(Path(path).read_text())

    def predict(self, inputs: Tensors) -> Tensors:
        return {"y": inputs["x"].sum(axis=1) * self.scale}
