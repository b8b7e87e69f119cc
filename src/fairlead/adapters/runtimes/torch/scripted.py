"""TorchScript files (``torch.jit.save``), alone or in a TorchServe archive (``.mar``)."""

from __future__ import annotations

import io
import json
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from fairlead.adapters.runtimes.torch.program import Feed, Program, state_of
from fairlead.adapters.runtimes.torch.tensors import spec_of
from fairlead.contracts.errors import BrokenModel
from fairlead.contracts.types import DataType, TensorSpec
from fairlead.kit.sentences import cause

SAID = "fairlead.json"
"""Extra file of a program that says what it takes: ``{"inputs": [["x", "FP32", [-1, 4]]]}``."""


def load(path: Path, device: torch.device, member: str = "") -> Program:
    """``member``: the program's name inside an archive. Raises BrokenModel for what PyTorch cannot load."""
    try:
        if member:
            with zipfile.ZipFile(path) as archive:
                opened: BinaryIO = io.BytesIO(archive.read(member))
        else:
            opened = path.open("rb")
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise BrokenModel(f"{path.name} cannot be read: {cause(error)}") from error
    with opened:
        return _program(opened, device, member or path.name)


def _program(opened: BinaryIO, device: torch.device, file: str) -> Program:
    extra: dict[str, Any] = {SAID: ""}
    try:
        traced = _kept_example(opened)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that TorchScript is no longer worked on is told in our own docs
            module = torch.jit.load(opened, map_location=device, _extra_files=extra, _restore_shapes=traced)
            module.eval()
        arguments = module.forward.schema.arguments[1:]
    except Exception as error:  # its errors share no base class
        raise BrokenModel(f"{file} cannot be loaded by PyTorch {torch.__version__}: {_reason(error)}") from error
    needed = [one for one in arguments if not one.has_default_value()]
    odd = next((one for one in needed if str(one.type) != "Tensor"), None)
    if odd is not None:
        raise BrokenModel(f"{file} takes {odd.name!r} as {odd.type}; only programs that take tensors can be served")
    names = tuple(one.name for one in needed)
    said = _said(extra[SAID], file)
    return Program(
        run=_run(module, names),
        arguments=names,
        file=file,
        device=device,
        source=module,
        state=state_of(module),
        inputs=said or (_traced(module, names, file) if traced else ()),
        guessed=traced and not said,
    )


def _run(module: Any, names: tuple[str, ...]) -> Callable[[Feed], Any]:
    def run(feed: Feed) -> Any:
        return module(*[feed[name] for name in names])

    return run


def _kept_example(opened: BinaryIO) -> bool:
    """Whether the file keeps the tensors that it was traced with."""
    with zipfile.ZipFile(opened) as archive:
        found = any(name.endswith("/traced_inputs.pkl") for name in archive.namelist())
    opened.seek(0)
    return found


def _traced(module: Any, names: tuple[str, ...], file: str) -> tuple[TensorSpec, ...]:
    """Datatypes and shapes of the example; empty where the graph does not tell them all."""
    types = [value.type() for value in list(module.forward.graph.inputs())[1 : len(names) + 1]]
    if any(one.kind() != "TensorType" or one.sizes() is None or one.dtype() is None for one in types):
        return ()
    return tuple(spec_of(name, one.dtype(), tuple(one.sizes()), file) for name, one in zip(names, types, strict=True))


def _said(text: Any, file: str) -> tuple[TensorSpec, ...]:
    if not text:
        return ()
    try:
        document = json.loads(text)
        listed = document["inputs"] if isinstance(document, Mapping) else None
        return tuple(
            TensorSpec(str(name), DataType(kind), tuple(map(int, shape))) for name, kind, shape in listed or ()
        )
    except (ValueError, TypeError, KeyError) as error:
        raise BrokenModel(
            f'{SAID} in {file} must say {{"inputs": [["x", "FP32", [-1, 4]]]}}: {cause(error)}'
        ) from error


def _reason(error: Exception) -> str:
    """PyTorch tells the whole call stack; one line of it says what is wrong."""
    match = re.search(r"Unknown (builtin op|type name|custom class)[^\n]*", str(error))
    return f"{match[0].rstrip('.')}" if match else cause(error)
