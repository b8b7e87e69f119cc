"""The event store in S3: the check-suite, merging, and a service that does not answer."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

import pytest
from s3_server import Handler, running

from fairlead.adapters.events.parquet import store as parquet
from fairlead.adapters.events.parquet.store import ParquetEvents
from fairlead.contracts.errors import Unavailable
from fairlead.testing import event_suite
from fairlead.testing.event_suite import NOON_MS, calls

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def service() -> Iterator[type[Handler]]:
    with running() as (url, handler), pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", url)
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield handler


def fresh() -> ParquetEvents:
    return ParquetEvents(f"s3://bucket/{secrets.token_hex(4)}/events")


@pytest.mark.parametrize("check", event_suite.CHECKS, ids=lambda check: check.__name__)
def test_suite(check: Callable[..., None], service: type[Handler]) -> None:
    check(fresh)


def test_merging_and_pruning(service: type[Handler], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "MERGE_EVERY", 16)
    store = fresh()
    for turn in range(40):
        store.append([calls(3, NOON_MS + turn * 10)])
    before = store.frame("churn")
    assert len(before["row"]) == 120
    store.prune("churn", 0)
    store.prune("churn", 0)
    assert event_suite.same(store.frame("churn"), before)

    def left() -> int:  # beside the empty objects that Arrow puts in the place of folders
        return sum(key.startswith(store._place.root) and key.endswith(".parquet") for key in service.objects)

    assert left() == 1
    assert store.prune("churn", NOON_MS + 10_000) == 1
    assert left() == 0


def test_a_service_that_does_not_answer(service: type[Handler], monkeypatch: pytest.MonkeyPatch) -> None:
    store = fresh()
    store.append([calls(1)])
    monkeypatch.setattr(service, "down", True)
    for act in (lambda: store.append([calls(1)]), lambda: store.frame("churn"), lambda: store.query("SELECT 1")):
        with pytest.raises(Unavailable, match="events: s3://bucket/"):
            act()
    monkeypatch.setattr(service, "down", False)
    assert len(store.frame("churn")["row"]) == 1
