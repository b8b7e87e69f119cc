"""docs/llm-converting.md: its example is a spec, and its tables name what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("openvino", reason="openvino is not installed: pip install 'fairlead[llm]'")

from fairlead.adapters.engines.openvino.convert.constants import PRECISIONS
from fairlead.adapters.engines.openvino.convert.families import FAMILIES
from fairlead.kit.spec.read import parse

PAGE = (Path(__file__).parents[2] / "docs" / "llm-converting.md").read_text()


def test_the_example_is_a_spec() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    llm = parse(text, "page.yaml").spec.endpoints["chat"].llm
    assert llm is not None
    assert llm.precision == "int8"


def test_the_tables_name_what_there_is() -> None:
    assert set(re.findall(r"^\| `(\w+ForCausalLM)`", PAGE, re.MULTILINE)) == set(FAMILIES)
    assert set(re.findall(r"^\| `(\w*\d)`(?: \(default\))? \|", PAGE, re.MULTILINE)) == {*PRECISIONS}
