"""What docs/engines.md shows is so: its spec is one, its options are those that engines take, its check runs."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from fairlead.adapters.engines.served import llama_server, vllm
from fairlead.adapters.engines.served.openai import OpenAIEngine
from fairlead.adapters.engines.served.settings import KNOWN, REMOTE
from fairlead.adapters.engines.transformers import engine as transformers
from fairlead.contracts.engine import EngineOptions
from fairlead.testing import engine_suite
from fairlead.wiring import specs
from fairlead.wiring.llm.engines import names

PAGE = (Path(__file__).parents[2] / "docs" / "engines.md").read_text()


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    return str(found)


def test_the_spec_of_the_page_is_one(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text(block("yaml"))
    found = specs.read(path).spec.endpoints
    assert {one.llm.engine for one in found.values() if one.llm} <= {*names()}
    for name in ("chat", "hosted"):
        asked = found[name].llm
        assert asked is not None
        OpenAIEngine(EngineOptions(name, asked.model, asked.base_url, options=asked.options))


def test_every_option_is_on_the_page_with_its_default() -> None:
    rows = dict(re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| (.*?) \|$", PAGE.partition("## Options")[2], re.MULTILINE))
    told = {name.strip("`"): row for names_, row in rows.items() for name in names_.split(", ")}
    known: dict[str, Any] = {**KNOWN, **REMOTE}
    for options in (llama_server._OPTIONS, vllm._OPTIONS, transformers._OPTIONS):
        known = {**options, **known}
    assert set(told) == set(known)
    for name, default in known.items():
        if type(default) in (int, float, bool):
            assert str(default).lower() in told[name], name


def test_every_engine_is_on_the_page() -> None:
    assert all(f"`{name}`" in PAGE for name in names())


async def test_the_check_of_the_page_runs() -> None:
    made: dict[str, Any] = {}
    exec(compile(block("python"), "engines.md", "exec"), made)
    run: Callable[..., Awaitable[None]] = made["test_my_engine"]
    assert inspect.iscoroutinefunction(run)
    for check in engine_suite.CHECKS[:4]:
        await run(check)
