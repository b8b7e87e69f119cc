"""Environments whose installer is a function: what is built once, what is built again, what is told."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import fairlead
from fairlead.contracts.errors import BrokenModel, StorageFull
from fairlead.kit.clock import SystemClock
from fairlead.package.environment import Environments, Tools
from fairlead.package.requirements import Requirements

WANTED = Requirements(("a==1", "b"), "3.11", Path("/models/m"))


class Installer:
    """Makes the folder that it is asked for. ``says``: status and words for a command that holds a word."""

    def __init__(self, **says: tuple[int, str]) -> None:
        self.says = says
        self.ran: list[list[str]] = []
        self.during: Callable[[], None] = lambda: None

    def __call__(self, command: Sequence[str]) -> tuple[int, str]:
        self.ran.append([*command])
        self.during()
        for word, said in self.says.items():
            if word in command:
                return said
        if "venv" in command:
            python = Path(command[-1]) / "bin" / "python"
            python.parent.mkdir(parents=True)
            python.symlink_to("/bin/sh")
        return 0, ""


def environments(folder: Path, run: Installer, *, uv: str = "", python: str = "3.11", **found: str) -> Environments:
    return Environments(folder, SystemClock(), Tools(run, uv, found.get, python))


def test_it_is_built_once_and_kept(tmp_path: Path) -> None:
    run = Installer()
    first = environments(tmp_path, run).of(WANTED, ["/models/m"], "m")
    assert [command[-4:-1] if "-r" not in command else command[5:-1] for command in run.ran] == [
        ["-I", "-m", "venv"],
        ["--no-input", "--disable-pip-version-check", "--progress-bar=off", "-r"],
    ]
    assert Path(run.ran[1][-1]).read_text() == "a==1\nb\n"
    python, isolated, _ = first.start
    assert (Path(python).parent.parent.parent, isolated, first.modules) == (tmp_path, "-I", ("/models/m",))
    assert environments(tmp_path, run).of(WANTED, ["/models/m"], "m") == first
    assert len(run.ran) == 2
    assert environments(tmp_path, run).of(Requirements(("a==2",), "3.11", Path("/m")), [], "m") != first


def test_what_starts_the_process_shows_this_fairlead_and_nothing_else(tmp_path: Path) -> None:
    start = Path(environments(tmp_path, Installer()).of(WANTED, [], "m").start[2])
    info = f"fairlead-{fairlead.__version__}.dist-info"
    assert sorted(one.name for one in start.iterdir()) == sorted(["__main__.py", "fairlead", info])
    assert (start / "fairlead").resolve() == Path(fairlead.__file__).parent
    assert "sklearn = fairlead.adapters" in (start / info / "entry_points.txt").read_text()


def test_two_at_once_build_one(tmp_path: Path) -> None:
    run, found = Installer(), []
    threads = [
        threading.Thread(target=lambda: found.append(environments(tmp_path, run).of(WANTED, [], "m"))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(run.ran), len(found), len(set(found))) == (2, 4, 1)


def test_one_that_was_left_half_built_is_built_again(tmp_path: Path) -> None:
    run = Installer()

    def killed() -> None:
        if len(run.ran) == 2:
            raise KeyboardInterrupt

    run.during = killed
    with pytest.raises(KeyboardInterrupt):
        environments(tmp_path, run).of(WANTED, [], "m")
    left = tmp_path / f"{WANTED.key}-left"  # by a kill -9, which clears nothing away
    (left / "bin").mkdir(parents=True)
    (left / "bin" / "python").symlink_to("/bin/sh")
    made = environments(tmp_path, Installer()).of(WANTED, [], "m")
    assert not left.exists()
    assert [one.name for one in tmp_path.glob(f"{WANTED.key}-*")] == [Path(made.start[0]).parent.parent.name]


@pytest.mark.parametrize("spoil", ["the record", "the interpreter"])
def test_one_that_is_spoilt_is_built_again(tmp_path: Path, spoil: str) -> None:
    first = environments(tmp_path, Installer()).of(WANTED, [], "m")
    if spoil == "the record":
        (tmp_path / f"{WANTED.key}.json").write_text("{")
    else:
        Path(first.start[0]).unlink()
    run = Installer()
    assert environments(tmp_path, run).of(WANTED, [], "m") != first
    assert len(run.ran) == 2
    assert json.loads((tmp_path / f"{WANTED.key}.json").read_bytes())["requirements"] == ["a==1", "b"]


def test_what_pip_said_is_told_without_secrets(tmp_path: Path) -> None:
    said = "one\ntwo\n\nLooking in https://ann:pa/ss@index/simple?token=t0p\nERROR: no a==1\n" + "x" * 900
    with pytest.raises(BrokenModel) as raised:
        environments(tmp_path, Installer(install=(1, said))).of(WANTED, [], "models:/m/1")
    text = str(raised.value)
    assert text.startswith(
        "the environment of models:/m/1 cannot be built: pip ended with 1 and said: two | Looking in "
        "https://***@index/simple?token=*** | ERROR: no a==1 | xxx"
    )
    assert text.endswith("...; correct the requirements in /models/m, or serve it without --env isolated")
    assert not list(tmp_path.glob(f"{WANTED.key}-*"))


def test_a_full_disk_is_told_as_one(tmp_path: Path) -> None:
    said = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n"
    with pytest.raises(
        StorageFull, match="No space left on device; free some space, or name another folder with --home"
    ):
        environments(tmp_path, Installer(install=(1, said))).of(WANTED, [], "m")

    def full() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    run = Installer()
    run.during = full
    with pytest.raises(StorageFull):
        environments(tmp_path, run).of(WANTED, [], "m")


def test_another_python_comes_from_the_path_or_from_uv(tmp_path: Path) -> None:
    wanted = Requirements(("a",), "3.13", Path("/m"))
    with pytest.raises(
        BrokenModel, match=r"was made with Python 3\.13, and 3\.11 runs here; install uv, which fetches it"
    ):
        environments(tmp_path, Installer()).of(wanted, [], "m")
    shim = Installer()
    shim.says["import ensurepip, venv"] = (127, "not found")
    with pytest.raises(BrokenModel, match="put python3.13 on the PATH"):
        environments(tmp_path, shim, **{"python3.13": "/shims/python3.13"}).of(wanted, [], "m")
    run = Installer()
    environments(tmp_path / "path", run, **{"python3.13": "/opt/python3.13"}).of(wanted, [], "m")
    assert run.ran[1][:4] == ["/opt/python3.13", "-I", "-m", "venv"]
    run = Installer()
    environments(tmp_path / "uv", run, uv="/bin/uv").of(wanted, [], "m")
    assert [command[:3] for command in run.ran] == [["/bin/uv", "venv", "--quiet"], ["/bin/uv", "pip", "install"]]
    assert run.ran[0][-3:-1] == ["--python", "3.13"]
