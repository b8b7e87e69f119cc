"""What the three kinds of PyTorch model have in common once they are in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from fairlead.contracts.types import TensorSpec

Feed = Mapping[str, Any]
"""Argument name to tensor."""


@dataclass(frozen=True, slots=True)
class Program:
    """A loaded program, on its device.

    ``run``: tensors by the names in ``arguments`` to whatever the program answers.  ``inputs``: what is known of the
    tensors that it takes, -1 where a dimension is free; empty when nobody said.  ``outputs``: what it declares of its
    answer; empty when only a run can tell.  ``max_rows``: the most rows that it was exported for (0: no limit).
    ``guessed``: the first dimension of ``inputs`` is that of an example, and only a trial can free it.
    ``example``: tensors that it is known to take, by argument; None without one.
    ``state``: its weights and buffers, by name.
    ``source``: the ``ExportedProgram``, ``ScriptModule`` or ``Module`` itself.  ``file``: its name, for sentences.
    """

    run: Callable[[Feed], Any]
    arguments: tuple[str, ...]
    file: str
    device: torch.device
    source: Any
    state: Mapping[str, Any]
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    max_rows: int = 0
    guessed: bool = False
    example: Mapping[str, Any] | None = None
    platform: str = "pytorch_torchscript"


def state_of(module: Any) -> dict[str, Any]:
    """Parameters and buffers by name, those too that are not saved."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}
