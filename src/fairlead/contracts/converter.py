"""Plugin contract: a converter turns a fitted model into another format. Entry-point group ``fairlead.converters``.

The entry point's name is ``<from>-<to>`` (``sklearn-onnx``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from fairlead.contracts.types import Signature


class Converter(Protocol):
    def convert(self, model: Any, signature: Signature, into: Path) -> Path:
        """Write the converted model under ``into`` and return its file.

        Input and output names are those of ``signature``. Raises BrokenModel when the model has a part that cannot be
        converted, naming it. Whether the result *agrees* is for ``package/parity.py`` to say.
        """
