"""Small PyTorch models: every test that needs one makes it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch

NETS = """
from typing import NamedTuple

import torch


class Pair(NamedTuple):
    logits: torch.Tensor
    best: torch.Tensor


class Net(torch.nn.Module):
    inputs = [("x", "FP32", [-1, 4])]

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 3)

    def forward(self, x):
        return {"logits": self.linear(x)}


class Bare(Net):
    inputs = []


class Deep(Net):
    def __init__(self):
        super().__init__()
        self.more = torch.nn.Linear(3, 3)


class Paired(Net):
    def forward(self, x):
        logits = self.linear(x)
        return Pair(logits, logits.argmax(1))


class Noisy(Net):
    def forward(self, x):
        return {"logits": self.linear(x) + 1e-3 * torch.rand(3)}
"""
"""A module of the user's: ``nets.py``."""


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": self.linear(x)}


class Exp(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.exp()


def save(path: Path, module: Any, *example: torch.Tensor, free: Any = None) -> Path:
    """A ``.pt2``. ``free``: dynamic shapes, the first dimension of everything unless told."""
    shapes = tuple({0: torch.export.Dim.AUTO} for _ in example) if free is None else free
    torch.export.save(torch.export.export(module.eval(), example, dynamic_shapes=shapes or None), path)
    return path


def script(path: Path, module: Any, *example: torch.Tensor, said: str = "") -> Path:
    """A TorchScript file: traced where there is an example, compiled otherwise. ``said``: its ``fairlead.json``."""
    extra = {"fairlead.json": said} if said else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.jit.trace(module, example, strict=False) if example else torch.jit.script(module)
        torch.jit.save(made, path, _extra_files=extra)
    return path
