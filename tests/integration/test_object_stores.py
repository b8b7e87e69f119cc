"""The suite of object stores over S3."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from s3_server import running

from fairlead.contracts.errors import Unavailable
from fairlead.kit import plugins
from fairlead.testing import object_store_suite


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch):
    for name, value in {"ACCESS_KEY_ID": "x", "SECRET_ACCESS_KEY": "x", "DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    with running() as (url, handler):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        yield handler


@pytest.mark.parametrize("check", object_store_suite.CHECKS, ids=lambda check: check.__name__)
def test_s3(s3, check: Callable[..., None], tmp_path: Path) -> None:
    check(plugins.load("fairlead.object_stores", "s3")(), "s3://lake/out", tmp_path)


def test_a_bucket_that_does_not_answer(s3, tmp_path: Path) -> None:
    s3.down = True
    store = plugins.load("fairlead.object_stores", "s3")()
    with pytest.raises(Unavailable, match="s3://lake/out"):
        store.taken("s3://lake/out")
