"""What ``fairlead console`` refuses before it begins."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fairlead.cli.main import main

pytest.importorskip("jinja2", reason="needs fairlead[console]")


@pytest.mark.parametrize("url", ["http://[", "127.0.0.1:8080", "ftp://x", "http://", "http://x:99999"])
def test_a_server_that_is_no_url(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["fairlead", "console", "--home", str(tmp_path), "--server", url])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert f"--server is {url!r}; expected the URL of a server" in told
    assert "Traceback" not in told
