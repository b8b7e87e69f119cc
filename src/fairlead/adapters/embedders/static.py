"""Embedder ``static``: a vector for each token, weighed and averaged (Model2Vec, ``StaticEmbedding``). No inference.

vector(text) = mean over its tokens, those unknown left out, of ``embeddings[mapping[token]] * weights[token]``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from fairlead.adapters.embedders import reading
from fairlead.contracts.embedder import EmbedderOptions, Text
from fairlead.contracts.errors import BrokenModel, SourceNotFound

_FORMS: Final = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
}
_LONGEST: Final = 65_536
_INLINE: Final = 4_096
"""Tokens that are averaged on the event loop: about a millisecond."""


class StaticEmbedder:
    """``Embedder``."""

    def __init__(self, options: EmbedderOptions) -> None:
        self._options = options
        self._vectors: NDArray[np.float32] | None = None
        self._known: NDArray[np.bool_] = np.zeros(0, bool)
        self._mapping: NDArray[np.int64] | None = None
        self._weights: NDArray[np.float32] | None = None
        self._normalizes = False
        self._most = _LONGEST

    @property
    def size(self) -> int:
        return 0 if self._vectors is None else int(self._vectors.shape[1])

    @property
    def most(self) -> int:
        return self._most

    async def start(self) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self._load)

    async def stop(self) -> None:
        self._vectors = None

    def _load(self) -> None:
        path = reading.folder(self._options.model)
        config = reading.settings(path / "config.json")
        asked = self._options.normalize
        steps = reading.steps(path)
        self._normalizes = bool(config.get("normalize", "Normalize" in steps)) if asked is None else asked
        told = config.get("seq_length")
        self._most = min(told, _LONGEST) if type(told) is int and told > 0 else _LONGEST
        file = steps.get("StaticEmbedding", path) / "model.safetensors"
        found = tensors(file)
        size = self._options.tokenizer.size
        vectors = found.get("embeddings", found.get("embedding.weight"))
        if vectors is None or vectors.ndim != 2:
            raise BrokenModel(f"{file} has no matrix embeddings")
        mapping, weights = found.get("mapping"), found.get("weights")
        if mapping is None and len(vectors) < size:
            raise BrokenModel(f"{file} has {len(vectors)} vectors for {size} tokens")
        for name, one in (("mapping", mapping), ("weights", weights)):
            if one is not None and one.shape != (size,):
                raise BrokenModel(
                    f"{file}: {name} has the shape {list(one.shape)}; expected one for each of {size} tokens"
                )
        if mapping is not None and (mapping.min() < 0 or mapping.max() >= len(vectors)):
            raise BrokenModel(f"{file}: mapping leads outside of the {len(vectors)} vectors")
        self._mapping = None if mapping is None else mapping.astype(np.int64)
        self._weights = None if weights is None else weights.astype(np.float32)
        self._known = np.array(
            [self._options.tokenizer.marks.get(one) not in ("[UNK]", "<unk>") for one in range(size)]
        )
        self._vectors = vectors.astype(np.float32)

    def read(self, text: Text) -> list[int]:
        return reading.ids(text, self._options.tokenizer, self._most)

    async def embed(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        if sum(map(len, rows)) <= _INLINE:
            return self._computed(rows)
        return await asyncio.get_running_loop().run_in_executor(None, self._computed, rows)

    def _computed(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        vectors = self._vectors
        if vectors is None:
            raise BrokenModel("the embedder is not started")
        found = np.zeros((len(rows), vectors.shape[1]), np.float32)
        for place, row in enumerate(rows):
            tokens = np.asarray(row, np.int64)
            tokens = tokens[self._known[tokens]]
            if not len(tokens):
                continue
            chosen = vectors[tokens if self._mapping is None else self._mapping[tokens]]
            if self._weights is not None:
                chosen = chosen * self._weights[tokens, None]
            found[place] = chosen.mean(axis=0, dtype=np.float64)
        return reading.normalized(found) if self._normalizes else found


def tensors(path: Path) -> dict[str, NDArray[Any]]:
    """Of a file ``.safetensors``, mapped. Raises SourceNotFound, BrokenModel.

    Source: the format's description in huggingface/safetensors.
    """
    if not path.is_file():
        raise SourceNotFound(f"{path} is not there")
    if path.stat().st_size < 8:
        raise BrokenModel(f"{path} is no safetensors file: it has less than 8 bytes")
    data = np.memmap(path, np.uint8, "r")
    length = int.from_bytes(data[:8].tobytes(), "little")
    if length > min(len(data) - 8, 1 << 24):
        raise BrokenModel(f"{path} is no safetensors file: its header has {length} bytes")
    try:
        header = msgspec.json.decode(data[8 : 8 + length].tobytes())
        body = data[8 + length :]
        found = {}
        for name, one in header.items():
            if name == "__metadata__":
                continue
            start, end = one["data_offsets"]
            form = np.dtype(_FORMS[one["dtype"]])
            shape = tuple(one["shape"])
            if not 0 <= start <= end <= len(body) or end - start != form.itemsize * int(np.prod(shape)):
                raise BrokenModel(f"{path}: {name} is cut off")
            found[name] = body[start:end].view(form).reshape(shape)
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise BrokenModel(f"{path} is no safetensors file that is read here: {error!r}") from None
    return found
