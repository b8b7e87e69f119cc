"""Loads PyTorch models and runs them behind the public signature.

**Kinds.** ``torch.export`` archives, TorchScript programs (also in a TorchServe archive), and a class that builds the
module with weights from safetensors. The first two bring code of their own: PyTorch's reader unpickles parts of an
archive, and a TorchScript program may write files. So they load only when somebody vouched for them. A class is the
user's own code, and safetensors holds none.

**Names.** Inputs: those of the export, of the program's ``forward``, or as the class declares them. Outputs: see
``tensors.arrays``. A public signature that names others is taken by place.

**Batches.** Made-up rows are run at load, alone and together: where the answers are the same, calls ride together, up
to the bound that the export set. A graph exported for one row takes one; one for another fixed number is run as it is.

**Threads.** One where a run of one row takes under a millisecond, else every core; ``RuntimeOptions.threads``
overrules. The number is one for the whole process in PyTorch, and set again before each run (0.4 us).
``predict`` runs without the interpreter lock: measured, a counting thread beside it keeps half of one of two cores.

**Devices.** The CPU unless named (``cuda``, ``cuda:1``, ``mps``); one that is not there is an error.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from fairlead.adapters.runtimes.torch import built, scripted
from fairlead.adapters.runtimes.torch.program import Feed, Program
from fairlead.adapters.runtimes.torch.tensors import arrays, device_of, tensor
from fairlead.adapters.runtimes.torch.trial import Trial
from fairlead.contracts.errors import BrokenModel, ModelFailed, Untrusted
from fairlead.contracts.runtime import Artefact, RuntimeOptions, Traits
from fairlead.contracts.types import DataType, Parameters, Signature, Tensors, TensorSpec
from fairlead.kit import plugins

_EXPORTED = "fairlead.adapters.runtimes.torch.exported:load"
"""Found by name, so that only archives pay for what it imports: 1.2 seconds beside the 1.5 of PyTorch itself."""
_HEAVY_SECONDS = 0.001
_Specs = tuple[TensorSpec, ...]


class TorchRuntime:
    """Loads ``.pt2`` and TorchScript files, ``.mar`` archives, and ``module:Class`` with or without weights."""

    def load(self, artefact: Artefact, options: RuntimeOptions) -> TorchModel:
        """Raises Untrusted for a file that nobody vouched for, BrokenModel for what PyTorch cannot load or run,
        MissingExtra for a device that is not there."""
        program = _program(artefact, device_of(options.providers))
        names, inputs = _bound(program, artefact.signature)
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        torch.set_num_threads(options.threads or 1)
        before = _writes(program)
        trial = Trial.of(program, inputs)
        _unchanged(program, before)
        heavy = trial.seconds > _HEAVY_SECONDS and program.device.type == "cpu"
        return TorchModel(program, trial, names, artefact.signature, options.threads or (cores if heavy else 1))


class TorchModel:
    """A program that takes and gives what the public signature says, or what it says itself. Thread-safe.

    ``names``: public names of the inputs, in the order of the program's arguments.
    ``source``: the ``ExportedProgram``, ``ScriptModule`` or ``Module`` itself.  ``example``: rows that it keeps.
    """

    def __init__(
        self, program: Program, trial: Trial, names: tuple[str, ...], public: Signature | None, threads: int
    ) -> None:
        said = public or Signature(())
        proved = dict(zip(names, trial.inputs, strict=bool(trial.inputs)))
        answers = _chosen(said.outputs, trial.outputs)
        self.traits = Traits(releases_gil=True, max_rows=trial.max_rows, platform=program.platform)
        self.source = program.source
        self.example = _example(program, proved, self.traits.max_rows)
        self.signature = replace(
            said,
            inputs=tuple(_shaped(spec, proved[spec.name], guessed=program.guessed) for spec in said.inputs)
            or tuple(replace(spec, name=name) for name, spec in proved.items()),
            outputs=said.outputs if answers else trial.outputs,
            batched=trial.batched,
            prediction=said.prediction if answers else (),
        )
        self._program: Program | None = program
        self._threads = threads
        self._plan = [
            (argument, name, spec.datatype)
            for argument, (name, spec) in zip(program.arguments, proved.items(), strict=bool(proved))
        ]
        self._answers = answers or [(spec.name, spec.name, spec.datatype.numpy) for spec in trial.outputs]

    def predict(self, inputs: Tensors, parameters: Parameters) -> Tensors:  # noqa: ARG002 - a program has none
        program = self._program
        if program is None:
            raise ModelFailed("the model was closed; load it again")
        torch.set_num_threads(self._threads)
        feed = self._feed(program, inputs)
        with torch.inference_mode():
            found = arrays(program.run(feed))
        if not self._answers:
            return found
        if not self._answers[0][0]:
            return dict(zip([public for _, public, _ in self._answers], found.values(), strict=True))
        return {public: np.asarray(found[own], dtype) for own, public, dtype in self._answers}

    def close(self) -> None:
        self._program = None
        self.source = None

    def _feed(self, program: Program, inputs: Tensors) -> Feed:
        device = program.device
        if self._plan:
            return {argument: tensor(inputs[name], datatype, device) for argument, name, datatype in self._plan}
        given = list(inputs)
        if len(given) != len(program.arguments):
            raise ModelFailed(f"the program takes {', '.join(program.arguments)}; the call has {', '.join(given)}")
        order = program.arguments if set(given) == set(program.arguments) else given
        return {
            argument: tensor(inputs[name], None, device)
            for argument, name in zip(program.arguments, order, strict=True)
        }


def _program(artefact: Artefact, device: torch.device) -> Program:
    if artefact.target:
        return built.load(artefact.target, artefact.path, device)
    path = artefact.path
    if path is None or not path.is_file():
        raise BrokenModel(f"there is no PyTorch file at {path}")
    if not artefact.trusted:
        raise Untrusted(f"{path.name} is a PyTorch program, and loading it runs code that it brings")
    content = artefact.details.get("content", "") or ("pt2" if _is_archive(path) else "torchscript")
    if content == "pt2":
        load = plugins.attribute(_EXPORTED)
        return cast("Program", load(path, device))
    return scripted.load(path, device, str(artefact.details.get("member", "")))


def _is_archive(path: Path) -> bool:
    """Whether a file is an archive of ``torch.export``, of today or of old."""
    try:
        with zipfile.ZipFile(path) as archive:
            tails = {name.rpartition("/")[2] for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile, ValueError):
        return False
    return bool(tails & {"archive_format", "serialized_exported_program.json"})


def _writes(program: Program) -> dict[str, int]:
    """How often each tensor of its state was written; those made under inference mode do not count."""
    return {name: one._version for name, one in program.state.items() if not one.is_inference()}  # noqa: SLF001


def _unchanged(program: Program, before: Mapping[str, int]) -> None:
    """Raises BrokenModel for a program that wrote into its own state: it would answer otherwise every time."""
    for name, count in _writes(program).items():
        if count != before[name]:
            raise BrokenModel(
                f"{program.file} changes its own {name!r} in every run; save or export the model after model.eval()"
            )


def _example(program: Program, proved: Mapping[str, TensorSpec], most: int) -> Tensors | None:
    """The rows that the program was exported with, by their public names."""
    if program.example is None:
        return None
    kept = arrays({name: program.example[own] for name, own in zip(proved, program.arguments, strict=True)})
    return {name: array[:most] if most and array.ndim else array for name, array in kept.items()}


def _bound(program: Program, public: Signature | None) -> tuple[tuple[str, ...], _Specs]:
    """Public names and what the program is given, one for each argument in its order: by name, else by place.

    Raises BrokenModel where signature and program cannot be the same.
    """
    if public is None or not public.inputs:
        return tuple(spec.name for spec in program.inputs), program.inputs
    by_name = {spec.name: spec for spec in public.inputs}
    known = set(program.arguments) <= set(by_name)
    given = tuple(by_name[name] for name in program.arguments) if known else public.inputs
    if len(public.inputs) != len(program.arguments):
        told = f"takes {', '.join(program.arguments)}, the signature names {', '.join(by_name)}"
        raise BrokenModel(f"{program.file} {told}; package it again")
    for own, spec in zip(program.inputs, given, strict=bool(program.inputs)):
        if not _fits(spec, own):
            told = f"takes {own.name!r} as {own.datatype} {list(own.shape)}"
            said = f"the signature says {spec.datatype} {list(spec.shape)}"
            raise BrokenModel(f"{program.file} {told}, {said}; package it again")
    return tuple(spec.name for spec in given), program.inputs or given


def _fits(given: TensorSpec, wanted: TensorSpec) -> bool:
    """Arrays of one spec can be handed over as the other: rounded at most, the same sizes behind the first."""
    if DataType.BYTES in (given.datatype, wanted.datatype) or len(given.shape) != len(wanted.shape):
        return False
    sizes = zip(given.shape[1:], wanted.shape[1:], strict=True)
    castable = np.can_cast(given.datatype.numpy, wanted.datatype.numpy, "same_kind")
    return castable and all(-1 in pair or pair[0] == pair[1] for pair in sizes)


def _shaped(said: TensorSpec, proved: TensorSpec, *, guessed: bool) -> TensorSpec:
    """The public input with the sizes that the program proved to take. Those of an example bind nobody."""
    pairs = zip(said.shape[1:], proved.shape[1:], strict=True)
    behind = tuple(size if guessed or own == -1 else own for size, own in pairs)
    return replace(said, shape=(*proved.shape[:1], *behind))


def _chosen(public: _Specs, own: _Specs) -> list[tuple[str, str, np.dtype[Any]]]:
    """Own name, public name and dtype of every public output: by name, else by place; empty where they do not fit.

    The own name is empty where only a call can tell what there is.
    """
    if not own:
        return [("", spec.name, spec.datatype.numpy) for spec in public]
    known = {spec.name: spec for spec in own}
    given = tuple(known[spec.name] for spec in public) if {spec.name for spec in public} <= set(known) else own
    if len(given) != len(public) or not all(map(_fits, given, public)):
        return []
    return [(one.name, spec.name, spec.datatype.numpy) for one, spec in zip(given, public, strict=True)]
