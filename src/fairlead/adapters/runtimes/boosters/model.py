"""A booster behind the public signature."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from fairlead.adapters.runtimes.boosters.table import Array, Features
from fairlead.contracts.errors import ModelFailed
from fairlead.contracts.runtime import Traits
from fairlead.contracts.types import DataType, Parameters, Signature, Tensors, TensorSpec


@dataclass(frozen=True, slots=True)
class Booster:
    """What a library read from ``file``.

    ``outputs``: what it can answer.  ``answer``: a matrix of features to those outputs; it keeps no array and shares no
    state between threads.
    """

    file: str
    features: Features
    outputs: tuple[TensorSpec, ...]
    answer: Callable[[Array], Tensors]
    platform: str


class BoosterModel:
    """Takes columns, or one matrix, and gives what ``Booster.outputs`` names. Thread-safe.

    A public signature that names some of these outputs gets those, in its own types.
    """

    def __init__(self, booster: Booster, public: Signature | None) -> None:
        self.traits = Traits(releases_gil=True, platform=booster.platform)
        public = public or Signature(())
        inputs = public.inputs or booster.features.inputs()
        known = _known(public.outputs, booster.outputs)
        outputs = public.outputs if known else booster.outputs
        self.signature = replace(
            public,
            inputs=inputs,
            outputs=outputs,
            batched=True,
            prediction=public.prediction if known and public.prediction else (outputs[0].name,),
        )
        self._feed = booster.features.feeder(inputs, booster.file)
        self._answer = booster.answer
        self._outputs = [(spec.name, spec.datatype.numpy) for spec in outputs]

    def predict(self, inputs: Tensors, parameters: Parameters) -> Tensors:  # noqa: ARG002 - boosters take none
        answers = self._answer(self._feed(inputs))
        return {name: np.ascontiguousarray(answers[name], dtype) for name, dtype in self._outputs}

    def close(self) -> None:
        self._answer = _closed


def classes(chances: Array) -> Tensors:
    """``label`` and ``probabilities`` of a classifier, from the chances [n, k] of its classes."""
    return {"label": chances.argmax(axis=1), "probabilities": chances}


def two_classes(chance: Array) -> Tensors:
    """The same, from the chance [n] of the second of two classes. A tie is the first class, as in both libraries."""
    chances = np.stack([1.0 - chance, chance], axis=1, dtype=chance.dtype)
    return {"label": (chance > 0.5).astype(np.int64), "probabilities": chances}


def classifier(count: int, datatype: DataType) -> tuple[TensorSpec, ...]:
    """The outputs of a classifier of ``count`` classes. Labels are 0 to ``count`` - 1: the files keep no others."""
    return TensorSpec("label", DataType.INT64, (-1,)), TensorSpec("probabilities", datatype, (-1, count))


def value(width: int, datatype: DataType) -> tuple[TensorSpec, ...]:
    """The output of what is no classifier. ``width``: targets."""
    return (TensorSpec("prediction", datatype, (-1,) if width == 1 else (-1, width)),)


def _known(public: tuple[TensorSpec, ...], ours: tuple[TensorSpec, ...]) -> bool:
    """The public outputs are some of ours, of the same rank."""
    ranks = {spec.name: len(spec.shape) for spec in ours}
    return bool(public) and all(
        ranks.get(spec.name) == len(spec.shape) and spec.datatype is not DataType.BYTES for spec in public
    )


def _closed(_rows: Array) -> Tensors:
    raise ModelFailed("the model was closed; load it again")
