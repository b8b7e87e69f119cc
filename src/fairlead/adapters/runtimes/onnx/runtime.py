"""Loads an ONNX file and runs it behind the public signature.

**Threads.** One intra-op thread where a run of one row takes under a millisecond (waking a second thread costs more
than it brings), every core this process may use otherwise; ``RuntimeOptions.threads`` overrules. Files over 64 MiB get
every core without asking, because loading them twice costs more than the answer is worth. Idle threads do not spin:
measured on ResNet-18 that costs 1.5 % and leaves the core between two calls to the event loop.

**Providers.** The CPU unless named: ``cuda`` and ``CUDAExecutionProvider`` are the same. One that this build of
onnxruntime lacks, or that does not come up, is an error: never a silent fall back to the CPU.

**Batches.** A graph is batched when the first dimension of every input is free and a trial at load (made-up rows,
alone and together) gives the same answers; a graph whose every first dimension is 1 takes one row a run. Anything else
(scalar inputs, state tensors) is run call by call, as it is.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fairlead.adapters.runtimes.onnx.binding import Convert, choose_outputs, feeder, picker
from fairlead.adapters.runtimes.onnx.graph import Graph
from fairlead.adapters.runtimes.onnx.trial import Trial
from fairlead.contracts.errors import BrokenModel, ModelFailed
from fairlead.contracts.runtime import Artefact, RuntimeOptions, Traits
from fairlead.contracts.types import Parameters, Signature, Tensors, TensorSpec

_HEAVY_SECONDS = 0.001
_BIG_BYTES = 64 << 20


class OnnxRuntime:
    """Loads ``.onnx`` files, and folders that hold one (MLflow's ``onnx`` flavour)."""

    def load(self, artefact: Artefact, options: RuntimeOptions) -> OnnxModel:
        """Raises BrokenModel for a file that onnxruntime cannot run, MissingExtra for a provider it does not have."""
        path = _graph_file(artefact)
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        threads = options.threads or (cores if path.stat().st_size > _BIG_BYTES else 1)
        graph = Graph.open(path, threads, options.providers)
        trial = Trial.of(graph)
        if not options.threads and threads < cores and trial.seconds > _HEAVY_SECONDS:
            graph = Graph.open(path, cores, options.providers)
        return OnnxModel(graph, trial, artefact.signature)


class OnnxModel:
    """A graph that takes and gives what the public signature says, or what the graph says where that says nothing.

    Thread-safe.
    """

    def __init__(self, graph: Graph, trial: Trial, public: Signature | None) -> None:
        self.traits = Traits(releases_gil=True, max_rows=trial.max_rows, platform="onnx_onnxv1")
        inputs = _counted(graph.inputs, trial)
        outputs = _counted(_seen(graph.outputs, trial), trial)
        public = public or Signature(())
        chosen = choose_outputs(public.outputs, outputs)
        self.signature = replace(
            public,
            inputs=public.inputs or inputs,
            outputs=outputs if chosen is None else public.outputs,
            batched=trial.batched,
            prediction=() if chosen is None else public.prediction,
        )
        order = range(len(outputs)) if chosen is None else chosen
        self._run = graph.run
        self._feed = feeder(public.inputs, inputs, graph.file) if public.inputs else None
        self._graph_outputs = [graph.names[index] for index in order]
        self._outputs = tuple(spec.name for spec in self.signature.outputs)
        self._converts: tuple[Convert | None, ...] = tuple(
            picker(graph.unzips[index], outputs[index], spec)
            for index, spec in zip(order, self.signature.outputs, strict=True)
        )
        self._plain = not any(self._converts)

    def predict(self, inputs: Tensors, parameters: Parameters) -> Tensors:  # noqa: ARG002 - a graph has no parameters
        feed = inputs if self._feed is None else self._feed(inputs)
        arrays = self._run(self._graph_outputs, feed)
        if self._plain:
            return dict(zip(self._outputs, arrays, strict=True))
        return {
            name: array if convert is None else convert(array)
            for name, array, convert in zip(self._outputs, arrays, self._converts, strict=True)
        }

    def close(self) -> None:
        self._run = _closed


def _closed(_names: list[str], _feed: Tensors) -> Sequence[Any]:
    raise ModelFailed("the model was closed; load it again")


def _graph_file(artefact: Artefact) -> Path:
    path = artefact.path
    if path is None or not path.exists():
        raise BrokenModel(f"there is no ONNX file at {path}")
    if path.is_file():
        return path
    graphs = sorted(path.glob("*.onnx"))
    if len(graphs) != 1:
        raise BrokenModel(f"expected one .onnx file in {path.name}, found {len(graphs)}")
    return graphs[0]


def _counted(specs: tuple[TensorSpec, ...], trial: Trial) -> tuple[TensorSpec, ...]:
    """The specs as a caller sees them: in a batched model the first dimension is free, even when the graph's is 1."""
    if not trial.batched:
        return specs
    return tuple(replace(spec, shape=(-1, *spec.shape[1:])) for spec in specs)


def _seen(outputs: tuple[TensorSpec, ...], trial: Trial) -> tuple[TensorSpec, ...]:
    """The outputs with the shape the trial saw, where the graph declares none or one of another rank."""
    return tuple(
        replace(spec, shape=shape) if len(spec.shape) != len(shape) else spec
        for spec, shape in zip(outputs, trial.shapes or [spec.shape for spec in outputs], strict=True)
    )
