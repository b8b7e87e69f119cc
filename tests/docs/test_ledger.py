"""What docs/ledger.md shows is so: its spec, its names, its files, and the tests that it names."""

from __future__ import annotations

import re
from pathlib import Path

from fairlead.adapters.ledgers.mapped.memory import BALANCES, SLOTS, WORD, WORDS
from fairlead.contracts.errors import OverBudget
from fairlead.contracts.ledger import BROUGHT, LINES
from fairlead.serve.llm import worst
from fairlead.serve.llm.ledger import shares, stage
from fairlead.wiring import specs, specs_ledger

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "ledger.md").read_text()


def test_the_spec_of_the_page(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    path = tmp_path / "f.yaml"
    path.write_text(block)
    found = specs_ledger.ledgering(specs.read(path).spec)
    assert [one.name for one in found.budgets] == ["acme", "each-key-tokens", "all", "warn"]
    assert [one.hard for one in found.budgets] == [True, True, True, False]
    assert len(found.prices) == 1


def test_the_numbers_of_the_page() -> None:
    assert f"code `{OverBudget.code}`" in PAGE
    assert (LINES, BROUGHT) == (12, 4)
    assert "twelve at most, four of them from the key" in PAGE
    assert f"({worst.FRAME} a message, {worst.PREAMBLE} of its own, {worst.PREAMBLE} with tools)" in PAGE
    assert stage.PACE == 8
    assert shares.PART == 8
    assert f"({round(WORDS * WORD / 1e6)} MB; {BALANCES:,} balances, {SLOTS:,} answers at once)" in PAGE
    assert f"`{stage.HEADER}: " in PAGE


def test_what_it_names_is_there() -> None:
    for name in re.findall(r"`((?:tests|testing|contracts)/[\w/.]+)`", PAGE):
        assert any((ROOT / folder / name).exists() for folder in ("", "src/fairlead")), name
