"""Every installed source of secrets keeps the contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.kit import plugins
from fairlead.testing import secret_suite


@pytest.mark.parametrize("check", secret_suite.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("scheme", plugins.names("fairlead.secrets"))
def test_sources(scheme: str, check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def variable(value: str | None) -> str:
        monkeypatch.delenv("A_SECRET", raising=False)
        if value is not None:
            monkeypatch.setenv("A_SECRET", value)
        return "A_SECRET"

    def file(value: str | None) -> str:
        path = tmp_path / "secret"
        path.unlink(missing_ok=True)
        if value is not None:
            path.write_text(value + "\n")
        return str(path)

    check(plugins.load("fairlead.secrets", scheme)(), {"env": variable, "file": file}[scheme])
