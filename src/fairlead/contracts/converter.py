"""Plugin contract: a converter turns a model into another format. Entry-point group ``fairlead.converters``.

The entry point's name is ``<from>-<to>`` (``sklearn-onnx``). It is a class without constructor arguments.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from fairlead.contracts.types import Signature, Tensors


class Converter(Protocol):
    def convert(self, model: Any, signature: Signature, into: Path, example: Tensors | None = None) -> Path:
        """Write the converted model under ``into`` and return its file, or its folder where the format is one.

        ``model`` is a fitted object, or the path of a file.  Input and output names are those of ``signature``.
        ``example``: a few rows to keep beside the model, in formats that can.  Raises BrokenModel when the model has a
        part that cannot be converted, naming it. Whether the result *agrees* is for ``package/parity.py`` to say.
        """
