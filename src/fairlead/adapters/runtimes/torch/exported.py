"""``torch.export`` archives (``.pt2``): what their graph takes and gives is in the archive."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.export.graph_signature import InputKind, TensorArgument
from torch.export.passes import move_to_device_pass
from torch.export.pt2_archive import _package
from torch.utils import _pytree

from fairlead.adapters.runtimes.torch.program import Feed, Program, state_of
from fairlead.adapters.runtimes.torch.tensors import declared, spec_of
from fairlead.contracts.errors import BrokenModel
from fairlead.contracts.types import TensorSpec
from fairlead.kit.sentences import cause

_LIMITLESS = 1 << 40
"""Bounds above it are those that nobody set."""


def load(path: Path, device: torch.device) -> Program:
    """Raises BrokenModel for an archive that PyTorch cannot read, and for one that holds no pure function of rows."""
    exported = on(_read(path), device, path.name)
    return program(exported, device, path.name)


def program(exported: Any, device: torch.device, file: str) -> Program:
    """An ``ExportedProgram`` that is on ``device``."""
    signature = exported.graph_signature
    values = {node.name: node.meta.get("val") for node in exported.graph.nodes if node.op == "placeholder"}
    given = [spec.arg for spec in signature.input_specs if spec.kind is InputKind.USER_INPUT]
    others = [one.name for one in given if not isinstance(one, TensorArgument) and not hasattr(one, "value")]
    if others:
        raise BrokenModel(f"{file} takes {others[0]!r} as a number; export it with tensors or constants for arguments")
    tensors = [one.name for one in given if isinstance(one, TensorArgument)]
    inputs = tuple(_spec(name, values[name], file) for name in tensors)
    module = exported.module()
    return Program(
        run=_run(module, given, exported.call_spec.in_spec),
        arguments=tuple(tensors),
        file=file,
        device=device,
        source=exported,
        state=state_of(module),
        inputs=inputs,
        outputs=_outputs(exported, file),
        max_rows=_most_rows(exported, [values[name] for name in tensors]),
        example=_example(exported, tensors),
        platform="pytorch_export",
    )


def on(exported: Any, device: torch.device, file: str) -> Any:
    """The program with its weights on ``device``."""
    weights = [*exported.state_dict.values(), *exported.constants.values()]
    if all(not isinstance(one, torch.Tensor) or one.device.type == device.type for one in weights) and (
        device.index is None
    ):
        return exported
    try:
        return move_to_device_pass(exported, str(device))
    except Exception as error:
        raise BrokenModel(f"{file} cannot be moved to {device}: {cause(error)}") from error


def _read(path: Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.partition("/")[2] for name in archive.namelist()}
            names |= set(archive.namelist())
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise BrokenModel(f"{path.name} is an export archive that is broken or cut short: {cause(error)}") from error
    if "serialized_exported_program.json" in names:
        raise BrokenModel(f"{path.name} was saved by PyTorch 2.7 or older; load it there and save it with a newer one")
    if any(name.startswith("data/aotinductor/") for name in names):
        raise BrokenModel(f"{path.name} holds compiled machine code (AOTInductor); serve the archive of torch.export")
    try:
        with path.open("rb") as handle:
            programs = _package.load_pt2(handle).exported_programs
    except Exception as error:  # its errors share no base class
        raise BrokenModel(f"{path.name} cannot be read by PyTorch {torch.__version__}: {_reason(error)}") from error
    if "model" not in programs:
        held = ", ".join(programs) or "none"
        raise BrokenModel(
            f"{path.name} holds no program named 'model' (it holds {held}); save it with torch.export.save"
        )
    return programs["model"]


def _reason(error: BaseException) -> str:
    """The innermost cause: PyTorch wraps it in the text of all outer ones."""
    while error.__cause__ is not None:
        error = error.__cause__
    return cause(error)


def _spec(name: str, value: Any, file: str) -> TensorSpec:
    if not isinstance(value, torch.Tensor):
        raise BrokenModel(f"{file} does not say what the input {name!r} is; export it again")
    return spec_of(name, value.dtype, tuple(size if isinstance(size, int) else -1 for size in value.shape), file)


def _run(module: Any, given: list[Any], spec: Any) -> Callable[[Feed], Any]:
    def run(feed: Feed) -> Any:
        leaves = [feed[one.name] if isinstance(one, TensorArgument) else one.value for one in given]
        args, kwargs = _pytree.tree_unflatten(leaves, spec)
        return module(*args, **kwargs)

    return run


def _outputs(exported: Any, file: str) -> tuple[TensorSpec, ...]:
    node = next(node for node in exported.graph.nodes if node.op == "output")
    values = [one.meta.get("val") if hasattr(one, "meta") else one for one in node.args[0]]
    kept = values[len(values) - exported.call_spec.out_spec.num_leaves :]
    if any(value is not None and not isinstance(value, torch.Tensor) for value in kept):
        return ()
    return declared(_pytree.tree_unflatten(kept, exported.call_spec.out_spec), file)


def _most_rows(exported: Any, values: list[Any]) -> int:
    """The upper bound that the export gave to the first dimension; 0 for none."""
    firsts = [value.shape[0] for value in values if value.ndim and not isinstance(value.shape[0], int)]
    bounds = [exported.range_constraints.get(size.node.expr) for size in firsts]
    known = [int(bound.upper) for bound in bounds if bound is not None and bound.upper < _LIMITLESS]
    return min(known, default=0)


def _example(exported: Any, tensors: list[str]) -> dict[str, Any] | None:
    """The tensors that the archive keeps of its export."""
    if exported.example_inputs is None:
        return None
    leaves = [leaf for leaf in _pytree.tree_leaves(exported.example_inputs) if isinstance(leaf, torch.Tensor)]
    return dict(zip(tensors, leaves, strict=True)) if len(leaves) == len(tensors) else None
