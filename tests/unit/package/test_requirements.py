"""What a model's files ask for, and what they may not ask for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fairlead.contracts.errors import BrokenModel, SourceNotFound
from fairlead.contracts.runtime import Artefact
from fairlead.package.requirements import home_of, of

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


def model(folder: Path, **files: str) -> Artefact:
    """``files``: text by name, ``_`` for the dot."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_txt", ".txt").replace("_yaml", ".yaml")).write_text(text)
    (folder / "model.pkl").write_bytes(b"")
    return Artefact("python", folder / "model.pkl")


def test_lines_are_normalised_and_completed(tmp_path: Path) -> None:
    text = "# by hand\nScikit_Learn==1.5.2  # x\n\nnumpy<2\npandas \\\n  >=2\nuvloop; sys_platform == 'linux'\n"
    found = of(model(tmp_path, requirements_txt=text))
    assert found.lines == (
        "msgspec>=0.20",
        "numpy<2",
        "pandas >=2",
        "Scikit_Learn==1.5.2",
        "uvloop; sys_platform == 'linux'",
    )
    assert (found.python, found.folder) == (HERE, tmp_path)


def test_what_the_runtime_imports_is_added_once(tmp_path: Path) -> None:
    path = model(tmp_path, requirements_txt="scikit-learn==1.5.2\nmlflow==3.6\nxgboost-cpu\n").path

    def lines(runtime: str) -> list[str]:
        return [one for one in of(Artefact(runtime, path)).lines if "numpy" not in one and "msgspec" not in one]

    assert lines("sklearn") == [
        "joblib",
        "mlflow==3.6",
        "pandas",
        "scikit-learn==1.5.2",
        "scipy",
        "skops",
        "xgboost-cpu",
    ]
    assert lines("mlflow") == ["mlflow==3.6", "pandas", "scikit-learn==1.5.2", "xgboost-cpu"]
    assert lines("xgboost") == ["mlflow==3.6", "scikit-learn==1.5.2", "xgboost-cpu"]
    assert lines("somebody's") == ["mlflow==3.6", "scikit-learn==1.5.2", "xgboost-cpu"]


def test_the_key_is_that_of_the_environment(tmp_path: Path) -> None:
    one = of(model(tmp_path / "a", requirements_txt="b==1\na==2\n"))
    same = of(model(tmp_path / "b", requirements_txt="a==2\n\n# again\nb==1\n"))
    other = of(model(tmp_path / "c", requirements_txt="a==2\nb==1.1\n"))
    newer = of(model(tmp_path / "d", requirements_txt="a==2\nb==1\n", python_env_yaml="python: 3.99.1\n"))
    assert one.key == same.key
    assert len({one.key, other.key, newer.key}) == 3


@pytest.mark.parametrize(
    ("text", "minor"),
    [("python: 3.12.4", "3.12"), ("python: '3.11'", "3.11"), ("build_dependencies: [pip]", HERE), ("", HERE)],
)
def test_the_python_that_made_it(tmp_path: Path, text: str, minor: str) -> None:
    assert of(model(tmp_path, requirements_txt="a\n", python_env_yaml=text)).python == minor


@pytest.mark.parametrize(
    "files",
    [
        {"requirements_txt": "a\n", "python_env_yaml": "python: 3.10.12"},
        {"conda_yaml": "dependencies: [python=3.9, {pip: [a]}]"},
    ],
)
def test_a_python_too_old_for_fairlead_is_refused(tmp_path: Path, files: dict[str, str]) -> None:
    with pytest.raises(BrokenModel, match=r"says Python 3\.(9|10), and an isolated environment has 3\.11 or newer"):
        of(model(tmp_path, **files))


def test_conda_names_what_pip_installs(tmp_path: Path) -> None:
    text = "dependencies:\n- python=3.12.1\n- pip<=23\n- pip:\n  - scikit-learn==1.5.2\n"
    found = of(model(tmp_path, conda_yaml=text))
    assert (found.python, found.lines) == ("3.12", ("msgspec>=0.20", "numpy", "scikit-learn==1.5.2"))
    with pytest.raises(BrokenModel, match="asks for the conda packages openblas=0.3, numpy; write a requirements.txt"):
        of(model(tmp_path, conda_yaml="dependencies: [python=3.12, openblas=0.3, numpy]"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "--index-url https://elsewhere",
            "line 2 is the option '--index-url https://elsewhere', which a model may not",
        ),
        ("-r others.txt", "is the option"),
        ("-e .", "is the option"),
        ("a==1 --hash=sha256:00", "is the option"),
        ("./wheels/a-1.0-py3-none-any.whl", "a package by name was expected"),
        ("wheels/a.whl", "a package by name was expected"),
        ("/tmp/a.whl", "a package by name was expected"),
        ("a @ file:///tmp/a.whl", "a package by name was expected"),
    ],
)
def test_where_packages_come_from_is_not_the_models_to_say(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(BrokenModel, match=said):
        of(model(tmp_path, requirements_txt=f"b\n{line}\n"))


def test_the_file_is_looked_for_where_the_model_is(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("outer\n")
    inner = model(tmp_path / "m" / "data")
    with pytest.raises(
        SourceNotFound, match=r"has no requirements\.txt and no conda\.yaml.* write a requirements\.txt"
    ):
        of(inner)
    (tmp_path / "m" / "MLmodel").write_text("flavors: {}")
    (tmp_path / "m" / "requirements.txt").write_text("inner\n")
    assert "inner" in of(inner).lines
    assert "inner" in of(Artefact("mlflow", tmp_path / "m")).lines


def test_a_class_lies_where_its_package_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "odd_package").mkdir()
    (tmp_path / "odd_package" / "__init__.py").write_text("raise SystemExit('it was imported')")
    (tmp_path / "odd_module.py").write_text("raise SystemExit('it was imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    for target in ("odd_package.inner:Class", "odd_module:Class"):
        assert home_of(Artefact("python", target=target)) == tmp_path
    with pytest.raises(SourceNotFound, match="no module named 'nobody'"):
        home_of(Artefact("python", target="nobody.there:Class"))
