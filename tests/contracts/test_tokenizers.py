"""The tokenizer suite over every form that is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fairlead.contracts.tokens import Tokenizer
from fairlead.kit import plugins
from fairlead.testing import tokenizer_suite
from tokenizer_files import folder, gguf

MODELS: dict[str, Callable[[Path], Path]] = {
    "hf": lambda path: folder(path / "model"),
    "gguf": lambda path: gguf(path / "model.gguf"),
}


@pytest.mark.parametrize("name", plugins.names("fairlead.tokenizers"))
@pytest.mark.parametrize("check", tokenizer_suite.CHECKS, ids=lambda check: check.__name__)
def test_installed(name: str, check: Callable[[Tokenizer], None], tmp_path: Path) -> None:
    if name not in MODELS:
        pytest.skip(f"no model for the tokenizer {name} is written here; run the suite in its own package")
    check(plugins.load("fairlead.tokenizers", name)(str(MODELS[name](tmp_path))))
