"""A PyTorch model to ONNX, with a free batch dimension. By ``torch.onnx``'s exporter over ``torch.export``."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxscript  # noqa: F401 - torch.onnx needs it and says so too late
import torch

from fairlead.contracts.errors import BrokenModel
from fairlead.contracts.types import DataType, Signature, Tensors
from fairlead.kit.sentences import cause

_FREE = 3
"""What a free dimension is made when there is no example."""


class TorchToOnnx:
    """Entry point ``torch-onnx``. ``model``: an ``ExportedProgram``, or a ``Module`` that can be exported."""

    def convert(
        self, model: Any, signature: Signature, into: Path, example: Tensors | None = None, *, opset: int = 0
    ) -> Path:
        """Write ``into/model.onnx`` with the names of ``signature``. ``opset`` 0 takes the exporter's own.

        A module is exported on ``example``, or on made-up rows; its first dimensions are free where ``signature`` is
        batched.  Raises BrokenModel for a part that cannot be converted, and for TorchScript, which keeps no module.
        """
        if isinstance(model, torch.jit.ScriptModule):
            raise BrokenModel("a TorchScript program cannot be exported to ONNX; export the module it was made from")
        file = into / "model.onnx"
        into.mkdir(parents=True, exist_ok=True)
        with _quietly():
            try:
                program = model if hasattr(model, "graph_signature") else _exported(model, signature, example)
                made = torch.onnx.export(
                    program,
                    dynamo=True,
                    verbose=False,
                    opset_version=opset or None,
                    input_names=[spec.name for spec in signature.inputs],
                    output_names=[spec.name for spec in signature.outputs],
                )
                made.save(str(file))
            except Exception as error:  # its errors share no base class
                raise BrokenModel(f"it cannot be exported to ONNX: {_reason(error)}") from error
        return file


def _exported(module: Any, signature: Signature, example: Tensors | None) -> Any:
    feed = {}
    for spec in signature.inputs:
        shape = tuple(size if size >= 0 else _FREE for size in spec.shape)
        array = np.ones(shape, spec.datatype.numpy) if example is None else example[spec.name]
        if len(array) == 1 and signature.batched:
            array = np.concatenate([array, array])  # one row would be taken for a fixed one
        made = torch.from_numpy(np.array(array, spec.datatype.numpy, order="C"))
        feed[spec.name] = made.to(torch.bfloat16) if spec.datatype is DataType.BF16 else made
    free = {
        spec.name: {axis: torch.export.Dim.DYNAMIC for axis, size in enumerate(spec.shape) if size < 0}
        for spec in signature.inputs
    }
    with torch.no_grad():
        return torch.export.export(module, (), feed, dynamic_shapes=free)


@contextlib.contextmanager
def _quietly() -> Any:
    """The exporter tells its progress on standard output and its doubts in the log; the verdict is parity's."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _reason(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return cause(error)
