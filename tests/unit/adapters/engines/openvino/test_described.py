from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fairlead.adapters.engines.openvino.described import Described, described
from fairlead.contracts.errors import BrokenModel


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"vocab_size": 100, "max_position_embeddings": 64}, Described(64, 100)),
        ({"text_config": {"vocab_size": 100}}, Described(0, 100)),
        ({"vocab_size": "many", "max_position_embeddings": -1}, Described(0, 0)),
    ],
)
def test_a_folder_says_it_in_its_config(tmp_path: Path, config: dict[str, Any], found: Described) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    told = described(tmp_path)
    assert told.vocabulary == found.vocabulary
    assert not found.context or told.context == found.context


def test_a_folder_without_one_says_nothing(tmp_path: Path) -> None:
    assert described(tmp_path) == Described(0, 0)


@pytest.mark.parametrize("text", ["{", "[1]", '"x"'])
def test_a_config_that_is_none_is_a_broken_model(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(BrokenModel):
        described(tmp_path)
