"""The published 260,000-parameter story teller, where the data sets are."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from fairlead.contracts.engine import EngineOptions
from fairlead.kit import plugins


@dataclass(frozen=True)
class Stories:
    """``folder``: safetensors with a tokenizer.  ``greedy``: what it says after ``begin``, the likeliest each time."""

    folder: Path
    greedy: list[int]
    begin: tuple[int, ...] = (1,)
    end: int = 2

    def options(self, engines: Path, **options: object) -> EngineOptions:
        """Of the embedded engine. In f16, which computes in fp32: what it says is what was published."""
        return EngineOptions("stories", str(self.folder), folder=str(engines), options=options, precision="f16")


def stories() -> Stories:
    """Skips where it is not."""
    data = os.environ.get("FAIRLEAD_DATA")
    if not data:
        pytest.skip("FAIRLEAD_DATA is not set")
    folder = Path(data) / "models-stories260k"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    if not plugins.installed("openvino_genai"):
        pytest.skip("openvino-genai is not installed (extra llm)")
    return Stories(folder / "hf", json.loads((folder / "greedy_reference.json").read_text())["token_ids"])
