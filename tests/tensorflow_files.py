"""SavedModels of a few operations, saved where they are needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf


class Net(tf.Module):
    """``x`` [rows, 4] to ``logits`` [rows, 3] and ``best`` [rows]."""

    def __init__(self, rows: int | None = None) -> None:
        super().__init__()
        self.weights = tf.Variable(tf.reshape(tf.range(12, dtype=tf.float32), (4, 3)) / 10)
        self.signature = [tf.TensorSpec((rows, 4), tf.float32, name="x")]

    def answers(self, x: Any) -> dict[str, Any]:
        logits = x @ self.weights
        return {"logits": logits, "best": tf.argmax(logits, axis=-1)}


def save(folder: Path, function: Any, *specs: Any, module: Any = None, more: dict[str, Any] | None = None) -> Path:
    """``function`` on tensors of ``specs`` as ``serving_default``; ``more``: other signatures, or in its place."""
    kept = module if module is not None else tf.Module()
    traced = tf.function(function, input_signature=list(specs))
    kept.traced = traced
    tf.saved_model.save(kept, str(folder), signatures=more if more is not None else {"serving_default": traced})
    return folder


def net(folder: Path, rows: int | None = None) -> Path:
    module = Net(rows)
    return save(folder, module.answers, *module.signature, module=module)
