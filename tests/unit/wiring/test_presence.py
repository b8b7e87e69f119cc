from __future__ import annotations

import os
from pathlib import Path

import pytest

from fairlead.contracts.errors import Busy
from fairlead.kit.config import Home
from fairlead.wiring import presence


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home", "", "", "ada")


def test_one_server_on_a_home(home: Home) -> None:
    assert presence.found(home) is None
    assert not home.root.exists(), "looking makes nothing"
    with presence.claimed(home, "/a/f.yaml", "c.pem") as tell:
        there = presence.found(home)
        assert there is not None
        assert (there.pid, there.spec, there.url, there.cert) == (os.getpid(), "/a/f.yaml", "", "c.pem")
        tell("http://127.0.0.1:1")
        assert (presence.found(home) or there).url == "http://127.0.0.1:1"
        with (
            pytest.raises(Busy, match=r"runs on .*home already \(process \d+, http://127.0.0.1:1, /a/f.yaml\); stop"),
            presence.claimed(home, "/b/f.yaml"),
        ):
            pass
        assert presence.found(home) is not None, "who was refused leaves the other alone"
    assert presence.found(home) is None
    with presence.claimed(home, "/b/f.yaml"):
        assert presence.found(home) is not None


def test_a_server_that_died_without_a_word_is_none(home: Home) -> None:
    home.root.mkdir()
    (home.root / "up.json").write_text('{"pid": 1, "spec": "f.yaml", "url": "http://127.0.0.1:1"}')
    assert presence.found(home) is None
    with presence.claimed(home, "f.yaml"):
        (home.root / "up.json").write_text("{broken")
        assert presence.found(home) is None
