from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from fairlead.contracts.types import Signature
from fairlead.package import versions
from fairlead.package.manifest import Manifest

HERE = {"scikit-learn": "1.9.1", "numpy": "2.4.6", "mlflow": "3.17.2"}.get


def notes(made: dict[str, str], python: str = "") -> tuple[str, ...]:
    return versions.notes(made, python, lambda name: HERE(name) or "", "3.11.7")


def test_another_scikit_learn_is_told() -> None:
    assert notes({"scikit-learn": "1.5.2"}) == (
        "scikit-learn 1.5.2 made this model, 1.9.1 runs here: predictions may differ",
    )


@pytest.mark.parametrize("made", [{"scikit-learn": "1.9.1"}, {"numpy": "2.4.1"}, {"mlflow": "2.0"}, {}])
def test_what_makes_no_difference_is_not_told(made: dict[str, str]) -> None:
    assert notes(made) == ()


def test_a_patch_of_scikit_learn_and_a_minor_of_numpy_are_told() -> None:
    assert len(notes({"scikit-learn": "1.9.0", "numpy": "2.3.6"})) == 2


def test_a_missing_library_is_told_with_its_remedy() -> None:
    assert notes({"xgboost": "2.1"}) == (
        "xgboost 2.1 made this model and is not installed here: pip install xgboost==2.1",
    )


def test_another_python_is_told_but_not_another_patch() -> None:
    assert notes({}, "3.12.1")[0].startswith("Python 3.12.1 made this model, 3.11.7 runs here")
    assert notes({}, "3.11.1") == ()


def test_the_manifest_wins_over_flavors_and_those_over_requirements(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(
        "# made\nscikit-learn==1.0\nnumpy[x]==1.26.4 ; python_version > '3'\nskops\n"
    )
    mlmodel = {"flavors": {"python_function": {"python_version": "3.10.1"}, "sklearn": {"sklearn_version": "1.5.2"}}}
    libraries, python = versions.recorded(tmp_path, mlmodel, None)
    assert (libraries, python) == ({"scikit-learn": "1.5.2", "numpy": "1.26.4"}, "3.10.1")
    packaged = Manifest("m", Signature(()), "sklearn", ".", python="3.12.0", libraries={"scikit-learn": "1.7.0"})
    libraries, python = versions.recorded(tmp_path, mlmodel, packaged)
    assert (libraries["scikit-learn"], libraries["numpy"], python) == ("1.7.0", "1.26.4", "3.12.0")


def test_another_build_of_a_library_is_that_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def only_cpu(name: str) -> str:
        if name != "xgboost-cpu":
            raise PackageNotFoundError(name)
        return "3.2.0"

    monkeypatch.setattr(versions, "version", only_cpu)
    assert versions.installed("xgboost") == "3.2.0"
    assert versions.installed("lightgbm") == ""


def test_installed_versions_are_real() -> None:
    assert versions.installed("numpy")[0].isdigit()
    assert versions.installed("no-such-distribution") == ""
