"""One signature of a SavedModel: what it takes and gives, and how it is run."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before the import: it tells of its kernels otherwise
import tensorflow as tf

from fairlead.contracts.errors import BrokenModel
from fairlead.contracts.types import DataType, Tensors, TensorSpec
from fairlead.kit.sentences import cause

Array = np.ndarray[Any, Any]
Specs = tuple[TensorSpec, ...]

USUAL = "serving_default"
"""The signature that Keras, ``tf.saved_model.save`` and TensorFlow Serving use when nobody names one."""

logging.getLogger("tensorflow").setLevel(logging.ERROR)


class Graph:
    """Thread-safe. ``inputs``, ``outputs``: by the names of the signature, -1 for what it leaves open.

    ``ones``: the first dimension of every input is 1, or open.
    """

    def __init__(self, folder: Path) -> None:
        """Raises BrokenModel for a folder that TensorFlow cannot load, or whose signature no protocol can carry."""
        try:
            self._loaded = tf.saved_model.load(str(folder))
        except Exception as error:  # its errors share no base class
            raise BrokenModel(
                f"{folder.name} cannot be loaded by TensorFlow {tf.__version__}: {cause(error)}"
            ) from error
        key, self._function = _chosen(self._loaded, folder.name)
        takes, gives = self._function.structured_input_signature[1], self._function.structured_outputs
        if not isinstance(gives, Mapping):
            raise BrokenModel(f"{folder.name}: the signature {key!r} gives no named tensors; save it again")
        self._takes = {name: spec.dtype for name, spec in takes.items()}
        self.inputs: Specs = tuple(_spec(name, spec, "takes", folder.name) for name, spec in sorted(takes.items()))
        self.outputs: Specs = tuple(_spec(name, spec, "gives", folder.name) for name, spec in sorted(gives.items()))
        if not self.inputs or not self.outputs:
            raise BrokenModel(f"{folder.name}: the signature {key!r} has no {'outputs' if self.inputs else 'inputs'}")
        self.ones = all(spec.shape[:1] in ((1,), (-1,)) for spec in self.inputs)

    def run(self, feed: Tensors) -> Tensors:
        """Every output, in an array of its own."""
        found = self._function(**{name: _tensor(array, self._takes[name]) for name, array in feed.items()})
        return {spec.name: _array(found[spec.name]) for spec in self.outputs}


def _chosen(loaded: Any, file: str) -> tuple[str, Any]:
    """``serving_default``, else the only signature there is."""
    signatures = dict(loaded.signatures)
    if USUAL in signatures:
        return USUAL, signatures[USUAL]
    if len(signatures) == 1:
        return next(iter(signatures.items()))
    if signatures:
        raise BrokenModel(
            f"{file} has the signatures {', '.join(sorted(signatures))} and none is called {USUAL}; save it with "
            f"signatures={{{USUAL!r}: ...}} for the one to serve"
        )
    functions = sorted(name for name in dir(loaded) if hasattr(getattr(loaded, name, None), "concrete_functions"))
    held = f"it has the functions {', '.join(functions)}" if functions else "it has no functions either"
    raise BrokenModel(
        f"{file} has no signature ({held}); save it with tf.saved_model.save(model, folder, "
        f"signatures={{{USUAL!r}: function}}), or with model.export(folder) in Keras"
    )


def _spec(name: str, spec: Any, verb: str, file: str) -> TensorSpec:
    if not isinstance(spec, tf.TensorSpec):
        kind = type(spec).__name__.removesuffix("Spec")
        raise BrokenModel(
            f"{file} {verb} {name!r} as a {kind}, which no protocol can carry; save it with plain tensors"
        )
    if spec.shape.rank is None and verb == "takes":
        raise BrokenModel(f"{file} takes {name!r} of any number of dimensions; save it with a shape for each input")
    try:
        datatype = DataType.FP32 if spec.dtype == tf.bfloat16 else DataType.of(np.dtype(spec.dtype.as_numpy_dtype))
    except (ValueError, TypeError) as error:
        raise BrokenModel(f"{file} {verb} {name!r} as {spec.dtype.name}, which no protocol can carry") from error
    sizes = (-1,) if spec.shape.rank is None else spec.shape
    return TensorSpec(name, datatype, tuple(-1 if size in (None, -1) else int(size) for size in sizes))


def _tensor(array: Array, dtype: Any) -> Any:
    if dtype == tf.bfloat16:
        return tf.cast(tf.constant(array, tf.float32), dtype)
    return tf.constant(array, dtype)


def _array(tensor: Any) -> Array:
    """An array of its own, strings as str where they are UTF-8."""
    if tensor.dtype == tf.bfloat16:
        tensor = tf.cast(tensor, tf.float32)
    array = np.asarray(tensor.numpy())
    if array.dtype.kind != "O":
        return array.copy()
    decoded = np.empty(array.size, object)
    decoded[:] = [_text(value) for value in array.reshape(-1).tolist()]
    return decoded.reshape(array.shape)


def _text(value: Any) -> Any:
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return value
