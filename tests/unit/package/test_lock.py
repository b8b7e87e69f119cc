"""The libraries of an image, with pip as a function."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from fairlead.contracts.errors import BrokenModel, SourceNotFound, StorageFull, UsageError
from fairlead.contracts.runtime import Artefact
from fairlead.contracts.types import Signature
from fairlead.package import lock
from fairlead.package.manifest import Manifest


class Pip:
    """Downloads what its ``wheels`` say. ``fails``: what it says instead."""

    def __init__(self, *wheels: str, fails: str = "") -> None:
        self.wheels = wheels
        self.fails = fails
        self.ran: list[list[str]] = []
        self.limits = ""

    def __call__(self, command: Sequence[str]) -> tuple[int, str]:
        self.ran.append([*command])
        if self.fails:
            return 1, self.fails
        folder = Path(command[command.index("--dest") + 1])
        if "--constraint" in command:
            self.limits = Path(command[command.index("--constraint") + 1]).read_text()
        for name in self.wheels:
            (folder / name).write_bytes(name.encode())
        return 0, ""


NUMPY = "numpy-2.4.6-cp311-cp311-manylinux_2_28_x86_64.whl"
UVLOOP = "uvloop-0.23.0-cp311-cp311-manylinux_2_28_x86_64.whl"


def own(tmp_path: Path) -> str:
    path = tmp_path / "fairlead-0.1.0-py3-none-any.whl"
    path.write_bytes(b"ours")
    return f"{path}[registry]"


def test_the_lock_has_exact_versions_with_their_digests(tmp_path: Path) -> None:
    pip, context = Pip(NUMPY, UVLOOP, "fairlead-0.1.0-py3-none-any.whl"), tmp_path / "context"
    context.mkdir()
    wheels = lock.fetch(context, [own(tmp_path), "numpy==2.4.6"], ["numpy==1.0", "uvloop==0.23.0"], "linux/amd64", pip)
    assert [one.name for one in wheels] == ["fairlead", "numpy", "uvloop"]
    digest = hashlib.sha256(NUMPY.encode()).hexdigest()
    text = (context / lock.FILE).read_text()
    assert f"numpy==2.4.6 --hash=sha256:{digest}\n" in text
    assert "fairlead==" not in text  # it is beside the lock, and made again each time
    assert pip.limits == "uvloop==0.23.0\n"  # what a root says itself is not held back
    assert not (context / "constraints.txt").exists()
    assert "--only-binary=:all:" in pip.ran[0]
    assert "manylinux_2_36_x86_64" in pip.ran[0]


def test_a_context_keeps_its_lock_for_the_same_wishes(tmp_path: Path) -> None:
    pip = Pip(NUMPY)
    lock.fetch(tmp_path, [own(tmp_path)], [], "linux/amd64", pip)
    first = (tmp_path / lock.FILE).read_bytes()
    wheels = lock.fetch(tmp_path, [own(tmp_path)], ["numpy==9"], "linux/amd64", pip)
    assert (tmp_path / lock.FILE).read_bytes() == first
    assert pip.ran[1][-3:] == ["--no-deps", "-r", str(tmp_path / lock.FILE)]
    assert "fairlead" in [one.name for one in wheels]  # ours is copied, as it is now
    lock.fetch(tmp_path, [own(tmp_path), "scipy==1"], [], "linux/amd64", pip)
    assert "--no-deps" not in pip.ran[2]


def test_the_platform_is_one_of_two(tmp_path: Path) -> None:
    pip = Pip(NUMPY)
    lock.fetch(tmp_path, ["numpy==2.4.6"], [], "linux/arm64", pip)
    assert "manylinux2014_aarch64" in pip.ran[0]
    with pytest.raises(UsageError, match="linux/amd64 or linux/arm64"):
        lock.fetch(tmp_path, [], [], "windows", pip)


def test_the_last_words_of_pip_are_told(tmp_path: Path) -> None:
    with pytest.raises(BrokenModel, match="pip ended with 1: .*no matching distribution"):
        lock.fetch(tmp_path, ["x==1"], [], "linux/amd64", Pip(fails="reading\nERROR: no matching distribution"))


def artefact(folder: Path, runtime: str, text: str | None) -> Artefact:
    folder.mkdir(exist_ok=True)
    (folder / "model.bin").write_bytes(b"x")
    if text is not None:
        (folder / "requirements.txt").write_text(text)
    return Artefact(runtime, folder / "model.bin")


def test_an_onnx_graph_needs_none_of_the_libraries_that_made_it(tmp_path: Path) -> None:
    assert lock.asked(artefact(tmp_path, "onnx", "scikit-learn>=1\n"), None) == ()


def test_a_model_brings_the_versions_that_made_it(tmp_path: Path) -> None:
    made = Manifest("m", Signature(()), "sklearn", "model.bin", libraries={"scikit-learn": "1.5.2"})
    found = lock.asked(artefact(tmp_path, "sklearn", "scikit-learn\nother==2.0\n"), made)
    assert "scikit-learn==1.5.2" in found
    assert "other==2.0" in found
    assert "skops" in found  # what reads it: the version that is installed here


@pytest.mark.parametrize("line", ["scikit-learn", "scikit-learn>=1.5", "scikit-learn==1.5,<2", "mystery"])
def test_a_model_whose_libraries_are_not_locked_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(BrokenModel, match="no exact version.*==VERSION"):
        lock.asked(artefact(tmp_path, "sklearn", f"{line}\n"), None)


def test_a_model_without_any_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match=r"requirements\.txt"):
        lock.asked(artefact(tmp_path, "sklearn", None), None)


def test_what_is_installed_is_held_to_but_for_ourselves() -> None:
    found = lock.here()
    assert any(one.startswith("numpy==") for one in found)
    assert not any(one.startswith("fairlead==") for one in found)
    assert not any("+" in one for one in found)


def test_libraries_that_contradict_one_another_are_told() -> None:
    said = """ERROR: Cannot install fairlead and numpy because these have conflicting dependencies.

The conflict is caused by:
    fairlead 1 depends on numpy>=2
    The user requested (constraint) numpy==1.26

To fix this you could try to:
ERROR: ResolutionImpossible: for help visit https://pip.pypa.io/
"""
    told = lock._words(said)
    assert told == (
        "they contradict one another: fairlead 1 depends on numpy>=2, The user requested (constraint) numpy==1.26"
    )


@pytest.mark.parametrize("ends", ["full", "interrupted"])
def test_what_was_fetched_in_vain_is_removed(tmp_path: Path, ends: str) -> None:
    def pip(command: Sequence[str]) -> tuple[int, str]:
        (Path(command[command.index("--dest") + 1]) / "numpy-2.0-py3-none-any.whl").write_bytes(b"half")
        if ends == "interrupted":
            raise SystemExit(143)
        return 2, "OSError: [Errno 28] No space left on device: 'a' -> 'b'"

    with pytest.raises(StorageFull if ends == "full" else SystemExit) as caught:
        lock.fetch(tmp_path, ["numpy"], [], "linux/amd64", pip)
    assert ends != "full" or "free some space, or name --context DIR" in str(caught.value)
    assert list(tmp_path.iterdir()) == []
