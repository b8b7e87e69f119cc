"""From the path of a model to its tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from fairlead.contracts.errors import SourceNotFound
from fairlead.contracts.tokens import Tokenizer
from fairlead.kit import plugins

TOKENIZERS = "fairlead.tokenizers"
_FILES = ("tokenizer.json", "vocab.json", "encoder.json", "tokenizer.model")
"""Of a folder that ``hf`` reads."""


def opened(model: str) -> Tokenizer:
    """Of the folder or file of a model. Takes a moment: call it in a thread. Raises MissingExtra, ModelError."""
    return cast("Tokenizer", plugins.load(TOKENIZERS, _form(Path(model)))(model))


def _form(path: Path) -> str:
    if not path.exists():
        raise SourceNotFound(f"{path}: no such file or folder")
    if path.is_file():
        return "gguf"
    if any((path / one).is_file() for one in _FILES):
        return "hf"
    if any(path.glob("*.gguf")):
        return "gguf"
    raise SourceNotFound(
        f"{path} has no {' nor '.join(_FILES)}: put the tokenizer of the model there, or name its folder as tokenizer"
    )
