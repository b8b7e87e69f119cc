"""Embedder ``onnx``: an encoder as ONNX with its tokenizer, pooled as its sentence-transformers files say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from fairlead.adapters.embedders import reading
from fairlead.contracts.embedder import EmbedderOptions, Text
from fairlead.contracts.errors import BrokenModel, ModelFailed, SourceNotFound

_FILES: Final = ("model.onnx", "onnx/model.onnx", "model_quantized.onnx", "onnx/model_quantized.onnx")
_TOGETHER: Final = 8_192
"""Tokens that are computed at once, with what fills up."""
_LONGEST: Final = 8_192
_POOLED: Final = ("sentence_embedding", "pooler_output", "text_embeds")
_OFFSET: Final = frozenset({"roberta", "xlm-roberta", "camembert", "mpnet"})
"""Families whose positions begin after two others."""

Hidden = NDArray[np.float32]


def _mean(hidden: Hidden, mask: Hidden) -> Hidden:
    total: Hidden = (hidden * mask[:, :, None]).sum(axis=1)
    found: Hidden = np.divide(total, np.maximum(mask.sum(axis=1, keepdims=True), 1e-9), dtype=np.float32)
    return found


def _first(hidden: Hidden, _mask: Hidden) -> Hidden:
    return hidden[:, 0]


def _last(hidden: Hidden, mask: Hidden) -> Hidden:
    found: Hidden = hidden[np.arange(len(hidden)), mask.sum(axis=1).astype(np.int64) - 1]
    return found


def _most(hidden: Hidden, mask: Hidden) -> Hidden:
    found: Hidden = np.where(mask[:, :, None] > 0, hidden, -np.inf).max(axis=1)
    return found


_POOLING: Final[dict[str, Callable[[Hidden, Hidden], Hidden]]] = {
    "cls_token": _first, "mean_tokens": _mean, "max_tokens": _most, "lasttoken": _last,
}  # fmt: skip


class OnnxEmbedder:
    """``Embedder``."""

    def __init__(self, options: EmbedderOptions) -> None:
        self._options = options
        self._session: Any = None
        self._size = 0
        self._most = _LONGEST
        self._pool: Callable[[Hidden, Hidden], Hidden] = _mean
        self._normalizes = False
        self._padding = 0
        self._output = ""
        self._inputs: dict[str, Any] = {}
        self._thread: ThreadPoolExecutor | None = None

    @property
    def size(self) -> int:
        return self._size

    @property
    def most(self) -> int:
        return self._most

    async def start(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fairlead-embedder")
        await asyncio.get_running_loop().run_in_executor(self._thread, self._load)

    async def stop(self) -> None:
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)
            self._thread = None
        self._session = None

    def _load(self) -> None:
        path = reading.folder(self._options.model)
        file = next((path / one for one in _FILES if (path / one).is_file()), None)
        if file is None:
            raise SourceNotFound(f"{path} has no {' nor '.join(_FILES)}")
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = self._options.threads
        try:
            session = onnxruntime.InferenceSession(str(file), settings, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001 - the library raises its own, which have no common root
            raise BrokenModel(f"{file} is no model that ONNX Runtime loads: {str(error)[:300]}") from None
        kinds = {"tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(float)": np.float32}
        self._inputs = {one.name: kinds.get(one.type) for one in session.get_inputs()}
        unknown = [one for one, kind in self._inputs.items() if one not in _FILLS or kind is None]
        if "input_ids" not in self._inputs or unknown:
            raise BrokenModel(f"{file} takes {', '.join(self._inputs)}; an encoder of text takes {', '.join(_FILLS)}")
        outputs = [one.name for one in session.get_outputs()]
        self._output = next((one for one in ("last_hidden_state", "token_embeddings") if one in outputs), "")
        if not self._output:
            self._output = next((one for one in _POOLED if one in outputs), outputs[0])
        self._configure(path)
        self._session = session
        self._size = int(
            self._vectors([[*self._options.tokenizer.begin, self._padding, *self._options.tokenizer.final]]).shape[1]
        )

    def _configure(self, path: Path) -> None:
        steps = reading.steps(path)
        pooling = reading.settings(steps.get("Pooling", path / "1_Pooling") / "config.json")
        modes = [one for one in _POOLING if pooling.get(f"pooling_mode_{one}")]
        modes += [str(one) for one in [pooling.get("pooling_mode")] if one is not None]
        if len(modes) > 1 or (pooling and not modes):
            raise BrokenModel(
                f"{path} pools by {' and '.join(modes) or 'none'}; done here is one of {', '.join(_POOLING)}"
            )
        name = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens"}.get(modes[0], modes[0]) if modes else ""
        if name and name not in _POOLING:
            raise BrokenModel(f"{path} pools by {name}; done here are {', '.join(_POOLING)}")
        self._pool = _POOLING[name] if name else _mean
        asked = self._options.normalize
        self._normalizes = "Normalize" in steps if asked is None else asked
        config = reading.settings(path / "config.json")
        told = [
            reading.settings(path / "sentence_bert_config.json").get("max_seq_length"),
            reading.settings(path / "tokenizer_config.json").get("model_max_length"),
            _positions(config),
        ]
        self._most = min([_LONGEST, *[one for one in told if type(one) is int and one > 0]])
        padding = config.get("pad_token_id")
        self._padding = padding if type(padding) is int else 0

    def read(self, text: Text) -> list[int]:
        return reading.ids(text, self._options.tokenizer, self._most)

    async def embed(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        if self._thread is None:
            raise BrokenModel("the embedder is not started")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._computed, rows)

    def _computed(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        found = np.zeros((len(rows), self._size), np.float32)
        for places in reading.groups(rows, _TOGETHER):
            found[places] = self._vectors([rows[one] for one in places])
        return reading.normalized(found) if self._normalizes else found

    def _vectors(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        length = max(map(len, rows))
        ids = np.full((len(rows), length), self._padding, np.int64)
        mask = np.zeros((len(rows), length), np.int64)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = row
            mask[place, : len(row)] = 1
        feed = {name: _FILLS[name](ids, mask).astype(kind) for name, kind in self._inputs.items()}
        try:
            found = self._session.run([self._output], feed)[0]
        except Exception as error:  # noqa: BLE001 - as above
            raise ModelFailed(f"the embedding model failed: {str(error)[:300]}") from None
        hidden: NDArray[np.float32] = np.asarray(found, np.float32)
        return self._pool(hidden, mask.astype(np.float32)) if hidden.ndim == 3 else hidden


_FILLS: Final[dict[str, Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.int64]]]] = {
    "input_ids": lambda ids, _mask: ids,
    "attention_mask": lambda _ids, mask: mask,
    "token_type_ids": lambda ids, _mask: np.zeros_like(ids),
    "position_ids": lambda ids, _mask: np.broadcast_to(np.arange(ids.shape[1]), ids.shape),
}
"""What each input of an encoder is fed."""


def _positions(config: dict[str, Any]) -> int | None:
    """Tokens that an encoder has positions for."""
    told = config.get("max_position_embeddings")
    if type(told) is not int:
        return None
    return told - 2 if config.get("model_type") in _OFFSET else told
