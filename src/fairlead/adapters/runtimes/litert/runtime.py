"""Loads a ``.tflite`` file and runs it behind the public signature.

**Names** are those of the file's signature where it has one (``serving_default``, else the first), else its tensors'.

**Batches.** Where the first dimension of every input is 1 or open, made-up rows are run at load, alone and together. A
graph that can be resized and answers the same takes any number of rows; one that cannot (an LSTM converted for one
row) or answers otherwise takes one row a run. Other graphs are run call by call, as they are. Resizing happens when a
batch has another number of rows than the one before: measured, 15 to 60 us.

**Quantised tensors** are offered as they are: the integers that the model takes and gives, unchanged. What they mean
is ``(integer - zero_point) * scale``, with the file's own numbers, which ``LitertModel.quantization`` tells by tensor
name.

**Threads.** An interpreter serves one call at a time: a lock keeps the others waiting. It runs without the interpreter
lock of Python (measured: a counting thread beside it keeps half of one of two shared cores). One thread a run;
``RuntimeOptions.threads`` overrules. **State** that a graph keeps from run to run (the LSTM kernels do) is cleared
before each: 0.3 us. Variables that a graph assigns itself are not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from fairlead.adapters.runtimes.litert.graph import Graph, Specs
from fairlead.adapters.runtimes.litert.trial import Trial
from fairlead.contracts.errors import BrokenModel, ModelFailed
from fairlead.contracts.runtime import Artefact, RuntimeOptions, Traits
from fairlead.contracts.types import DataType, Parameters, Signature, Tensors, TensorSpec


class LitertRuntime:
    """Loads ``.tflite`` files, whatever their names end in."""

    def load(self, artefact: Artefact, options: RuntimeOptions) -> LitertModel:
        """Raises BrokenModel for a file that is cut short, has an operator that LiteRT lacks, or cannot be carried."""
        path = artefact.path
        if path is None or not path.is_file():
            raise BrokenModel(f"there is no .tflite file at {path}")
        data = path.read_bytes()  # not mapped: what is verified is what runs, whatever becomes of the file

        def fresh() -> Graph:
            return Graph(data, path.name, options.threads or 1)

        return LitertModel(fresh(), Trial.of(fresh), artefact.signature, path.name)


class LitertModel:
    """A graph that takes and gives what it says itself; a public signature must name the same tensors. Thread-safe.

    ``quantization``: tensor name to (scale, zero point), for those that are quantised as a whole.
    """

    def __init__(self, graph: Graph, trial: Trial, public: Signature | None, file: str) -> None:
        self.traits = Traits(releases_gil=True, max_rows=trial.max_rows, platform="litert_tflite")
        self.quantization = graph.quantization
        inputs = _counted(graph.inputs, trial)
        outputs = _counted(_seen(graph.outputs, trial), trial)
        public = public or Signature(())
        known = {spec.name: spec for spec in outputs}
        chosen = bool(public.outputs) and all(_fits(spec, known.get(spec.name)) for spec in public.outputs)
        self.signature = replace(
            public,
            inputs=_agreed(public.inputs, inputs, file) if public.inputs else inputs,
            outputs=public.outputs if chosen else outputs,
            batched=trial.batched,
            prediction=public.prediction if chosen else (),
        )
        self._dtypes = {spec.name: spec.datatype.numpy for spec in inputs}
        self._answers = [(spec.name, spec.datatype.numpy) for spec in self.signature.outputs]
        self._run: Callable[[Tensors], Tensors] = graph.run
        self._lock = threading.Lock()

    def predict(self, inputs: Tensors, parameters: Parameters) -> Tensors:  # noqa: ARG002 - a graph has no parameters
        feed = {name: np.ascontiguousarray(inputs[name], dtype) for name, dtype in self._dtypes.items()}
        with self._lock:
            found = self._run(feed)
        return {name: np.asarray(found[name], dtype) for name, dtype in self._answers}

    def close(self) -> None:
        with self._lock:
            self._run = _closed


def _closed(_feed: Tensors) -> Tensors:
    raise ModelFailed("the model was closed; load it again")


def _counted(specs: Specs, trial: Trial) -> Specs:
    """The specs as a caller sees them: in a batched model the first dimension is free, even when the graph's is 1."""
    return tuple(replace(spec, shape=(-1, *spec.shape[1:])) for spec in specs) if trial.batched else specs


def _seen(outputs: Specs, trial: Trial) -> Specs:
    """The outputs with the sizes that the trial saw, but for those that the file leaves open."""
    return tuple(
        replace(
            spec,
            shape=tuple(
                -1 if len(shape) == len(spec.shape) and spec.shape[axis] == -1 else size
                for axis, size in enumerate(shape)
            ),
        )
        if (shape := trial.shapes.get(spec.name)) is not None
        else spec
        for spec in outputs
    )


def _agreed(public: Specs, inputs: Specs, file: str) -> Specs:
    given = {spec.name: spec for spec in public}
    for spec in inputs:
        if not _fits(given.get(spec.name), spec):
            said = given.get(spec.name)
            told = f"says {said.datatype} {list(said.shape)}" if said else f"names {', '.join(given)}"
            wanted = f"{spec.datatype} {list(spec.shape)}"
            raise BrokenModel(f"{file} takes {spec.name!r} as {wanted}, the signature {told}; package it again")
    return public


def _fits(given: TensorSpec | None, wanted: TensorSpec | None) -> bool:
    if given is None or wanted is None or len(given.shape) != len(wanted.shape):
        return False
    if DataType.BYTES in (given.datatype, wanted.datatype):
        return given.datatype is wanted.datatype
    return np.can_cast(given.datatype.numpy, wanted.datatype.numpy, "same_kind")
