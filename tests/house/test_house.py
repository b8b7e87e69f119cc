"""House rules that no tool checks for us (STYLE.md). Static: nothing here runs the product, but for import costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "fairlead"
FILES = sorted(SOURCE.rglob("*.py"))

FILE, CLASS, FUNCTION = 400, 200, 60
"""Budgets in lines."""

LONGER: dict[str, str] = {}
"""Exceptions to the budgets: ``path::name`` to the reason. This list may only shrink."""

LAZY = {
    "__init__.py": "the client is imported when it is first used, so that `import fairlead` stays light",
    "kit/config.py": "difflib is needed only on the way to an error",
}
"""Files that may import inside a function, and why."""

BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "base2", "impl", "misc"}

LIGHT = {"fairlead", "typer", "click", "shellingham", "typing_extensions", "annotated_doc", "colorama"}
"""What `import fairlead` and `fairlead --help` may load beside the standard library."""

WIRING = LIGHT | {"numpy", "msgspec", "starlette", "uvicorn", "uvloop", "anyio", "sniffio", "idna"}
WIRING |= {"httptools", "h11", "yaml", "_yaml"}
"""What the composition root may load: every heavier library waits behind a plugin name."""


def name_of(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_sizes(path: Path) -> None:
    over = []
    lines = len(path.read_text().splitlines())
    if lines > FILE:
        over.append((f"{name_of(path)}", lines))
    for node in ast.walk(tree(path)):
        limit = CLASS if isinstance(node, ast.ClassDef) else FUNCTION
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            if length > limit:
                over.append((f"{name_of(path)}::{node.name}", length))
    assert not [entry for entry in over if entry[0] not in LONGER]


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_names_and_init_files(path: Path) -> None:
    assert not BANNED_NAMES & set(path.relative_to(SOURCE).with_suffix("").parts)
    if path.name == "__init__.py" and path.parent != SOURCE:
        body = tree(path).body
        assert len(body) == 1, "an __init__ below the root holds a docstring only"
        assert isinstance(body[0], ast.Expr)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_stand_at_the_top(path: Path) -> None:
    if name_of(path) in LAZY:
        return
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inside = [n for n in ast.walk(node) if isinstance(n, ast.Import | ast.ImportFrom)]
            assert not inside, f"import inside {node.name}, line {inside[0].lineno}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_only_plugins_imports_by_string_and_only_config_reads_the_environment(path: Path) -> None:
    text = path.read_text()
    if name_of(path) != "kit/plugins.py":
        assert "import_module" not in text
        assert "__import__(" not in text
    for node in ast.walk(tree(path)):
        reads = (
            isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv") and ast.unparse(node.value) == "os"
        )
        if reads and name_of(path) != "kit/config.py":
            statement = text.splitlines()[node.lineno - 1]
            assert "setdefault" in statement or "# environment:" in statement, (
                f"line {node.lineno}: {statement.strip()}"
            )


_OWN = ("_cython_", "__editable__", "_distutils_hack", "_virtualenv", "_sysconfigdata_")


def third_party(statement: str) -> set[str]:
    """Top-level modules outside the standard library that a fresh interpreter has after ``statement``."""
    code = f"import sys\n{statement}\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    loaded = set(out.splitlines()[-1].split())
    own = {name for name in loaded if name.startswith(_OWN)}
    return (
        loaded
        - set(sys.stdlib_module_names)
        - own
        - {"__main__", "__mp_main__", "cython_runtime", "sitecustomize", "usercustomize"}
    )


def test_import_fairlead_loads_nothing_heavy() -> None:
    assert third_party("import fairlead") <= {"fairlead"}


def test_help_loads_nothing_heavy() -> None:
    run = "import fairlead.cli.main as m, contextlib, io, sys; sys.argv = ['fairlead', '--help']\n"
    run += "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()): m.main()"
    assert third_party(run) <= LIGHT


def test_wiring_loads_no_plugin() -> None:
    assert third_party("import fairlead.wiring.serving") <= WIRING


def test_no_machine_paths_or_registry_hosts() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout")
    banned = ("/wor" + "k/", "/far" + "m/", ".libra" + "ry", "pypi.org/sim" + "ple", "registry.npm" + "js")
    for name in tracked:
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".txt", ".yaml", ".yml", ".html", ".cfg", ""} and path.is_file():
            text = path.read_text(errors="replace")
            assert not [word for word in banned if word in text], name
