"""Reading a config.json."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.adapters.engines.openvino.convert.fields import Fields, read
from fairlead.contracts.errors import BrokenModel, SourceNotFound, UnknownFormat


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "[" * 100_000, '{"a": ' + "1" * 5000 + "}"])
def test_a_config_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(BrokenModel, match=r"config\.json is no JSON"):
        read(tmp_path)


def test_a_config_that_is_not_there_or_too_large(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match="cannot be read: No such file"):
        read(tmp_path)
    with (tmp_path / "config.json").open("wb") as handle:
        handle.truncate(20_000_000)
    with pytest.raises(BrokenModel, match="has 20000000 bytes"):
        read(tmp_path)


def test_what_nobody_took(tmp_path: Path) -> None:
    fields = Fields({"a": 1, "attn_new": 2, "note": 3, "part": {"x": 1}}, "c")
    fields.any("a")
    part = fields.part("part")
    assert part is not None
    assert part.place == "c: part"
    with pytest.raises(UnknownFormat, match="c: attn_new is 2, which is not known here for X"):
        fields.only_taken("X")
    fields.any("attn_new")
    fields.only_taken("X")
    with pytest.raises(UnknownFormat, match="note is 3"):
        fields.only_taken("X", strict=True)


def test_long_values_are_shortened() -> None:
    with pytest.raises(BrokenModel, match=r'a is "b{70,80}\.\.\.; expected'):
        Fields({"a": "b" * 10_000}, "c").count("a")


@pytest.mark.parametrize("value", [True, 1.5, -1, "1", [1], float("nan")])
def test_numbers_are_numbers(value: object) -> None:
    with pytest.raises(BrokenModel):
        Fields({"a": value}, "c").count("a")
    if value != 1.5:
        with pytest.raises(BrokenModel):
            Fields({"a": value}, "c").number("a")
