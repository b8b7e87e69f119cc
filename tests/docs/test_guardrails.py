from __future__ import annotations

import re
from pathlib import Path

from fairlead.kit.spec.guardrails import Guardrail
from fairlead.kit.spec.read import parse
from fairlead.serve.llm.guard.pii.detector import KINDS
from fairlead.wiring.llm import guards, specs

PAGE = (Path(__file__).parents[2] / "docs" / "guardrails.md").read_text()


def test_the_spec_of_the_page_is_one(monkeypatch) -> None:
    monkeypatch.setenv("GUARD_TOKEN", "x")
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    file = parse(text.replace("engine: embedded, model: ./models/chat", "engine: echo"), "page.yaml")
    for name, endpoint in file.spec.endpoints.items():
        specs.check(file, name, endpoint)


def test_every_detector_and_kind_stands_on_the_page() -> None:
    assert all(f"`{name}`" in PAGE for name in (*guards.names(), *KINDS))


def test_the_holdback_of_the_page_is_right() -> None:
    def reach(*kinds: str) -> int:
        return guards.rule(Guardrail(name="pii", kinds=kinds)).detector.reach

    told = "136 with `email`, 96 with\n`card`, 64 with `ssn` only"
    assert told in PAGE
    assert (reach(), reach("card"), reach("ssn")) == (136, 96, 64)
