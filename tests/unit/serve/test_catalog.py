"""Which version a call gets."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from fairlead.contracts.errors import NotFound, Unavailable
from fairlead.serve.catalog import Catalog
from fairlead.serve.endpoint import Live


def live(endpoint: str, version: str) -> Live:
    return cast(Live, SimpleNamespace(endpoint=endpoint, version=version))


@pytest.fixture
def catalog() -> Catalog:
    made = Catalog()
    for endpoint, version in (("churn", "3"), ("churn", "4"), ("fraud", "1")):
        made.put(live(endpoint, version))
    return made


def test_the_first_version_answers_until_another_is_switched_to(catalog: Catalog) -> None:
    assert catalog.resolve("churn").version == "3"
    assert catalog.resolve("churn", "4").version == "4"
    catalog.switch("churn", "4")
    assert catalog.resolve("churn").version == "4"
    assert catalog.versions("churn") == ["3", "4"]


def test_absent_names_say_what_is_live(catalog: Catalog) -> None:
    with pytest.raises(NotFound, match=r"no endpoint 'chrun'; did you mean churn\? \(live: churn, fraud\)"):
        catalog.resolve("chrun")
    with pytest.raises(NotFound, match="endpoint 'churn' has no version '9'; live versions: 3, 4"):
        catalog.resolve("churn", "9")
    with pytest.raises(NotFound):
        catalog.switch("churn", "9")


def test_an_endpoint_that_loads_is_unavailable_not_unknown() -> None:
    catalog = Catalog()
    assert not catalog.ready
    catalog.expect("churn")
    with pytest.raises(Unavailable, match="still loading") as caught:
        catalog.resolve("churn")
    assert caught.value.retry_after == 1
    assert catalog.loading == ["churn"]
    catalog.put(live("churn", "1"))
    assert catalog.ready
    assert catalog.loading == []


def test_the_sole_endpoint(catalog: Catalog) -> None:
    with pytest.raises(NotFound, match="names no endpoint and 2 are live"):
        catalog.sole()
    catalog.remove("fraud", "1")
    assert catalog.sole().endpoint == "churn"
    with pytest.raises(Unavailable):
        Catalog().sole()


def test_the_answering_version_is_not_removed_from_under_its_callers(catalog: Catalog) -> None:
    with pytest.raises(Unavailable, match="switch to another version first"):
        catalog.remove("churn", "3")
    catalog.switch("churn", "4")
    assert catalog.remove("churn", "3").version == "3"
    assert catalog.remove("churn", "4").version == "4"
    with pytest.raises(NotFound):
        catalog.resolve("churn")


def test_lists(catalog: Catalog) -> None:
    assert [(v.endpoint, v.version) for v in catalog.endpoints()] == [("churn", "3"), ("fraud", "1")]
    assert len(catalog.all()) == 3


def test_putting_the_same_version_again_replaces_it(catalog: Catalog) -> None:
    again: Any = live("churn", "3")
    catalog.put(again)
    catalog.switch("churn", "3")
    assert catalog.resolve("churn") is again


def test_it_tells_of_every_version_that_comes_or_goes() -> None:
    catalog, told = Catalog(), []
    catalog.told = lambda *words: told.append(words)
    catalog.put(live("churn", "3"))
    catalog.replace(live("churn", "3"))
    catalog.put(live("churn", "4"))
    catalog.switch("churn", "4")
    catalog.remove("churn", "3")
    catalog.unload("churn")
    assert told == [
        ("churn", "3", True),
        ("churn", "3", False),
        ("churn", "3", True),
        ("churn", "4", True),
        ("churn", "3", False),
        ("churn", "4", False),
    ]
