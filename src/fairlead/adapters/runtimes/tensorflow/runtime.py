"""Loads a SavedModel folder and runs one of its signatures behind the public signature.

**Which signature**: ``serving_default``, else the only one. **Names** are those of the
signature; an only input or output may be called otherwise by the package.

**Batches.** Where the first dimension of every input is open, made-up rows are run at load, alone and together: where
the answers are the same, calls ride together; where they are not, or the signature was saved for one row, one row a
run. Other signatures are run call by call, as they are.

**Threads.** TensorFlow has one number of threads for a process, and takes it before the first model is loaded. Without
``RuntimeOptions.threads`` it uses every core. ``predict`` runs without the interpreter lock.

**Devices** are TensorFlow's own choice: the GPU where it sees one.

What a SavedModel may do beside counting is judged before it comes here: ``package/savedmodel.py``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import tensorflow as tf

from fairlead.adapters.runtimes.tensorflow.graph import Graph, Specs
from fairlead.adapters.runtimes.tensorflow.trial import Trial
from fairlead.contracts.errors import BrokenModel, ModelFailed
from fairlead.contracts.runtime import Artefact, RuntimeOptions, Traits
from fairlead.contracts.types import DataType, Parameters, Signature, Tensors, TensorSpec

_setting = threading.Lock()


class TensorflowRuntime:
    """Loads folders with a ``saved_model.pb``."""

    def load(self, artefact: Artefact, options: RuntimeOptions) -> TensorflowModel:
        """Raises BrokenModel for what TensorFlow cannot load, what no protocol can carry, and threads that differ from
        those of another model in this process."""
        path = artefact.path
        if path is None or not (path / "saved_model.pb").is_file():
            raise BrokenModel(f"there is no SavedModel folder at {path}")
        if options.threads:
            _set_threads(options.threads, path.name)
        graph = Graph(path)
        trial = Trial.of(graph.inputs, graph.outputs, graph.run)
        return TensorflowModel(graph, trial, artefact.signature, path.name)


class TensorflowModel:
    """A signature that takes and gives what it says itself; a public one must fit it. Thread-safe."""

    def __init__(self, graph: Graph, trial: Trial, public: Signature | None, file: str) -> None:
        self.traits = Traits(releases_gil=True, max_rows=trial.max_rows, platform="tensorflow_savedmodel")
        inputs = _counted(graph.inputs, trial)
        outputs = _counted(_seen(graph.outputs, trial), trial)
        public = public or Signature(())
        given = _matched(public.inputs, inputs)
        if public.inputs and len(given) != len(inputs):
            raise BrokenModel(_differing(public.inputs, inputs, file))
        answers = _matched(public.outputs, outputs)
        self.signature = replace(
            public,
            inputs=public.inputs or inputs,
            outputs=public.outputs if answers else outputs,
            batched=trial.batched,
            prediction=public.prediction if answers else (),
        )
        self._feed = [(own.name, name, own.datatype.numpy) for name, own in (given or _itself(inputs)).items()]
        self._answers = [
            (own.name, spec.name, spec.datatype.numpy)
            for spec, own in zip(self.signature.outputs, (answers or _itself(outputs)).values(), strict=True)
        ]
        self._run: Callable[[Tensors], Tensors] = graph.run

    def predict(self, inputs: Tensors, parameters: Parameters) -> Tensors:  # noqa: ARG002 - a signature has none
        found = self._run({own: np.asarray(inputs[name], dtype) for own, name, dtype in self._feed})
        return {name: np.asarray(found[own], dtype) for own, name, dtype in self._answers}

    def close(self) -> None:
        self._run = _closed


def _closed(_feed: Tensors) -> Tensors:
    raise ModelFailed("the model was closed; load it again")


def _set_threads(threads: int, file: str) -> None:
    with _setting:
        if tf.config.threading.get_intra_op_parallelism_threads() == threads:
            return
        try:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
        except RuntimeError as error:
            raise BrokenModel(
                f"{file} asks for {threads} threads, and TensorFlow has taken another number for this process; give "
                "its models the same number, or processes of their own (executor: process)"
            ) from error


def _counted(specs: Specs, trial: Trial) -> Specs:
    """The specs as a caller sees them: in a batched model the first dimension is free, even when the graph's is 1."""
    return tuple(replace(spec, shape=(-1, *spec.shape[1:])) for spec in specs) if trial.batched else specs


def _seen(outputs: Specs, trial: Trial) -> Specs:
    """The outputs with the sizes that the trial saw, but for those that the signature leaves open."""
    return tuple(_sized(spec, trial.shapes.get(spec.name)) for spec in outputs)


def _sized(spec: TensorSpec, seen: tuple[int, ...] | None) -> TensorSpec:
    if seen is None:
        return spec
    if len(seen) != len(spec.shape):
        return replace(spec, shape=seen)
    return replace(spec, shape=tuple(said if said == -1 else size for said, size in zip(spec.shape, seen, strict=True)))


def _itself(specs: Specs) -> dict[str, TensorSpec]:
    return {spec.name: spec for spec in specs}


def _matched(public: Specs, own: Specs) -> dict[str, TensorSpec]:
    """Public name to own tensor: by name, and a single one by place. Empty where they do not fit."""
    known = _itself(own)
    if len(public) == len(own) == 1:
        known = {public[0].name: own[0]}
    if {spec.name for spec in public} - set(known) or not all(_fits(spec, known[spec.name]) for spec in public):
        return {}
    return {spec.name: known[spec.name] for spec in public}


def _differing(public: Specs, inputs: Specs, file: str) -> str:
    shown = [", ".join(f"{one.name} {one.datatype} {list(one.shape)}" for one in specs) for specs in (inputs, public)]
    return f"{file} takes {shown[0]}, and the package says {shown[1]}; package it again, or add --runtime mlflow"


def _fits(given: TensorSpec, wanted: TensorSpec) -> bool:
    if len(given.shape) != len(wanted.shape):
        return False
    if DataType.BYTES in (given.datatype, wanted.datatype):
        return given.datatype is wanted.datatype
    return np.can_cast(given.datatype.numpy, wanted.datatype.numpy, "same_kind")
