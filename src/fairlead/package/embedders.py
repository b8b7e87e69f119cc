"""Whether a folder is a model that makes vectors of texts, told by the names of its files."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_ONNX: Final = ("model.onnx", "onnx/model.onnx", "model_quantized.onnx", "onnx/model_quantized.onnx")


def form(path: Path) -> str:
    """The engine for a folder; empty where it is no embedding model that is known."""
    if not any((path / one).is_file() for one in ("tokenizer.json", "vocab.json", "tokenizer.model")):
        return ""
    if any((path / one).is_file() for one in _ONNX):
        return "onnx"
    return "static" if (path / "model.safetensors").is_file() else ""


def looks(path: Path) -> bool:
    """Whether a folder says of itself that it makes vectors of texts: the files of sentence-transformers do."""
    return (path / "modules.json").is_file() and bool(form(path))
