from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.contracts.errors import UsageError
from fairlead.kit.config import home


def test_a_home_that_is_a_file_is_wrong_use(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    with pytest.raises(UsageError, match="home is a file; name a folder with --home"):
        home(tmp_path / "home", environ={})


def test_a_home_need_not_exist(tmp_path: Path) -> None:
    assert home(tmp_path / "new", environ={}).cache == tmp_path / "new" / "cache"
