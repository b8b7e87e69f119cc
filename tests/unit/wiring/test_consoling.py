"""Where the socket of the console's process is."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from fairlead.contracts.errors import Unavailable
from fairlead.kit.clock import SystemClock
from fairlead.kit.config import Home
from fairlead.wiring.consoling import ConsoleProcess, make_room, socket_path, wanted


def test_a_folder_that_others_made_gets_no_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    path = socket_path(Home(tmp_path / ("h" * 120), "", "", "me"))
    folder = Path(path).parent
    assert folder.parent == tmp_path
    make_room(path)
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    with pytest.raises(Unavailable, match="open to others"):
        make_room(path)
    folder.rmdir()
    (tmp_path / "other").mkdir()
    folder.symlink_to(tmp_path / "other")
    with pytest.raises(Unavailable, match="open to others"):
        make_room(path)


async def test_whoever_listens_there_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jinja2")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    home = Home(tmp_path / ("h" * 120), "", "", "me")
    Path(socket_path(home)).parent.mkdir(mode=0o777)
    Path(socket_path(home)).parent.chmod(0o777)
    consoles = ConsoleProcess(home, SystemClock(), wanted(home, (), False))
    with pytest.raises(Unavailable, match="open to others"):
        await consoles.reached("http", "127.0.0.1", 8080)
