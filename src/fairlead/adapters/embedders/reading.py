"""What all embedders do before they compute: ids of texts, within the bounds of the model; and its small files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from fairlead.contracts.embedder import Text
from fairlead.contracts.errors import BrokenModel, ContextTooLong, InvalidParameter, SourceNotFound
from fairlead.contracts.tokens import Tokenizer

_LARGEST: Final = 1 << 24
_MODULES: Final = ("Transformer", "Pooling", "Normalize", "StaticEmbedding")
"""Steps of a sentence-transformers model that are done here."""


def ids(text: Text, tokenizer: Tokenizer, most: int) -> list[int]:
    """As the model takes them. Raises ContextTooLong, InvalidParameter."""
    if isinstance(text, str):
        found = tokenizer.encode(text)
        if not text.strip() or not found:
            raise InvalidParameter("input has an empty text, of which there is no vector; leave it out")
    else:
        found = list(text)
        if not found:
            raise InvalidParameter("input has a list without tokens, of which there is no vector; leave it out")
        if min(found) < 0 or max(found) >= tokenizer.size:
            wrong = min(found) if min(found) < 0 else max(found)
            raise InvalidParameter(f"input: there is no token {wrong}; the model has 0 to {tokenizer.size - 1}")
    if isinstance(text, str) or found[: len(tokenizer.begin)] != list(tokenizer.begin):
        found = [*tokenizer.begin, *found, *tokenizer.final]
    if len(found) > most:
        over = len(found) - most
        raise ContextTooLong(
            f"input has a text of {len(found)} tokens, and the model takes {most}; shorten it by {over} tokens"
        )
    return found


def folder(model: str) -> Path:
    """Of a model. Raises SourceNotFound."""
    path = Path(model)
    if not path.is_dir():
        raise SourceNotFound(f"{model} is no folder; name the folder of a model with its tokenizer.json")
    return path


def document(path: Path) -> Any:
    """A small JSON file; None where there is none. Raises BrokenModel."""
    if not path.is_file():
        return None
    if path.stat().st_size > _LARGEST:
        raise BrokenModel(f"{path} has more than {_LARGEST} bytes")
    try:
        return msgspec.json.decode(path.read_bytes())
    except (msgspec.DecodeError, RecursionError) as error:
        raise BrokenModel(f"{path} is no JSON: {error}") from None


def settings(path: Path) -> dict[str, Any]:
    """A JSON file that is an object; empty where there is none."""
    found = document(path)
    if found is not None and not isinstance(found, dict):
        raise BrokenModel(f"{path} is no JSON object")
    return found or {}


def steps(path: Path) -> dict[str, Path]:
    """Steps of a sentence-transformers model and their folders, by the last part of their type; empty: none are told.

    Raises BrokenModel for a step that is not done here.
    """
    listed = document(path / "modules.json")
    found = {}
    for one in listed if isinstance(listed, list) else []:
        if not isinstance(one, dict):
            raise BrokenModel(f"{path / 'modules.json'} is no list of steps")
        kind = str(one.get("type", "")).rpartition(".")[2]
        if kind not in _MODULES:
            raise BrokenModel(f"{path / 'modules.json'} has a step {kind!r}; done here are {', '.join(_MODULES)}")
        found[kind] = path / str(one.get("path", ""))
    return found


def normalized(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each of length 1; one of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: NDArray[np.float32] = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return found


def groups(rows: Sequence[Sequence[int]], most: int) -> list[list[int]]:
    """Places of rows that are computed together: of like lengths, with at most this many tokens with what fills up."""
    found: list[list[int]] = []
    for place in sorted(range(len(rows)), key=lambda one: len(rows[one])):
        length = len(rows[place])
        if found and (len(found[-1]) + 1) * length <= most:
            found[-1].append(place)
        else:
            found.append([place])
    return found
