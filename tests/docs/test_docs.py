"""Documentation is a test: examples run, flags exist, generated parts are current, links lead somewhere."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import fairlead
from fairlead.contracts.types import DataType, Signature, TensorSpec
from fairlead.kit import config
from fairlead.testing.models import Model

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)

sys.path.insert(0, str(ROOT / "tests" / "integration"))
from running import running  # noqa: E402 - it lives beside the integration tests


def blocks(page: Path, language: str) -> list[str]:
    return [body for found, body in FENCE.findall(page.read_text()) if found == language]


def commands() -> list[tuple[str, str]]:
    """Every ``fairlead ...`` line of a plain code block, one command each, comments and continuations cut."""
    found = []
    for page in PAGES:
        for block in blocks(page, ""):
            for line in block.splitlines():
                parts = [part.partition(" > ")[0].strip() for part in line.partition("   #")[0].split(" ; ")]
                found += [(page.name, part) for part in parts if part.startswith("fairlead ")]
    return found


@cache
def help_of(*words: str) -> str:
    run = [sys.executable, "-m", "fairlead", *words, "--help"]
    ran = subprocess.run(run, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.parametrize(("page", "command"), commands())
def test_commands_and_their_flags_exist(page: str, command: str) -> None:
    words = shlex.split(command)[1:]
    text = help_of(words[0])
    if "Commands:" in text:
        text = help_of(*words[:2])
    for word in words:
        if word.startswith("--"):
            assert re.search(rf"{word.partition('=')[0]}\b", text), f"{page}: {command}"


def test_there_are_commands_to_check() -> None:
    assert len(commands()) >= 15


def test_generated_parts_are_current() -> None:
    run = [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"]
    ran = subprocess.run(run, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", ["README.md", "docs/serving.md"])
def test_the_predictor_of_the_docs_predicts(page: str) -> None:
    source = next(body for body in blocks(ROOT / page, "python") if "class Predictor" in body)
    names: dict[str, object] = {}
    exec(compile(source, page, "exec"), names)
    predictor = names["Predictor"]()  # type: ignore[operator]
    predictor.load(None)
    assert predictor.predict({"x": np.array([[1.0, 2.0]])})["sum"].tolist() == [21.0]


def test_the_client_of_the_readme_predicts() -> None:
    source = next(body for body in blocks(ROOT / "README.md", "python") if "fairlead.Client" in body)
    signature = Signature(
        inputs=(
            TensorSpec("tenure", DataType.INT64, (-1, 1), column=True),
            TensorSpec("Contract", DataType.BYTES, (-1, 1), column=True),
        ),
        outputs=(TensorSpec("label", DataType.BYTES, (-1,)),),
    )
    model = Model(lambda inputs: {"label": inputs["Contract"][:, 0]}, signature)
    with running({"churn": model}) as server:
        lines = source.replace("http://127.0.0.1:8080", server.url).strip().splitlines()
        names: dict[str, object] = {}
        exec("\n".join(lines[:-1]), names)
        answer = eval(lines[-1].partition("   #")[0], names)
        assert answer["label"].tolist() == ["One year", "Two year"]
        names["client"].close()  # type: ignore[attr-defined]


def test_every_environment_variable_is_documented() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    for name in config._KNOWN:
        assert f"`{name}`" in text, name


def test_every_plugin_is_documented() -> None:
    text = (ROOT / "docs" / "plugins.md").read_text()
    groups = re.findall(r'\[project\.entry-points\."([\w.]+)"\]\n((?:.+\n)+)', (ROOT / "pyproject.toml").read_text())
    assert len(groups) >= 6
    for group, lines in groups:
        assert f"`{group}`" in text
        for name in re.findall(r"^([\w-]+) =", lines, re.MULTILINE):
            assert f"`{name}`" in text, f"{group}: {name}"


def test_the_changelog_knows_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert "## Unreleased" in text or f"## {fairlead.__version__}" in text
