from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest

from fairlead.contracts.audit import Audited
from fairlead.contracts.errors import FairleadError, Forbidden, NotFound, Unauthenticated, Unavailable
from fairlead.kit.clock import SystemClock
from fairlead.kit.scopes import scope
from fairlead.serve.access import keys
from fairlead.serve.access.asking import Visit
from fairlead.serve.access.callers import Callers
from fairlead.serve.access.gate import Gate
from fairlead.serve.access.keys import Key, KeyRing
from fairlead.serve.access.rules import Rules
from fairlead.serve.access.sight import EVERYTHING
from fairlead.serve.catalog import Catalog

INFER, EXPLAIN = "/v2/models/{endpoint}/infer", "/v1/models/{endpoint}:explain"


@dataclass
class Version:
    """As much of a live version as the gate looks at."""

    endpoint: str
    version: str
    closed: bool = False


@dataclass
class Notes:
    noted: list[Audited] = field(default_factory=list)
    let_in: list[tuple[str, str, str]] = field(default_factory=list)

    def note(self, entry: Audited) -> None:
        self.noted.append(entry)

    def allowed(self, actor: str, action: str, endpoint: str) -> None:
        self.let_in.append((actor, action, endpoint))


class House:
    """A gate, a catalog, and keys by the scopes that they have."""

    def __init__(self, *grants: str) -> None:
        self.text: dict[str, str] = {}
        ring = []
        for number, grant in enumerate(grants):
            key, self.text[grant] = keys.made(Key(f"k{number}", tuple(map(scope, grant.split())), (), 0), 0)
            ring.append(key)
        self.notes = Notes()
        self.gate = Gate(Rules(), Callers(SystemClock(), KeyRing(ring)), self.notes)
        self.catalog = Catalog()
        self.put("churn", "1")

    def put(self, endpoint: str, *versions: str) -> None:
        for version in versions:
            self.catalog.put(Version(endpoint, version))  # type: ignore[arg-type]

    def ask(self, grant: str, route: str = INFER, tells: bool = True) -> Visit:
        return Visit({b"x-api-key": self.text.get(grant, "none").encode()}, route, 0.0, "id", tells=tells)

    def enter(self, grant: str, endpoint: str | None = "churn", version: str | None = None, **more: Any) -> str:
        caller, live = self.gate.enter(self.ask(grant, **more), self.catalog, endpoint, version)
        assert caller.scopes == tuple(map(scope, grant.split()))
        return f"{live.endpoint} {live.version}"


def refusal(house: House, *given: Any, **more: Any) -> FairleadError:
    with pytest.raises(FairleadError) as caught:
        house.enter(*given, **more)
    return caught.value


def test_calls_are_let_in_and_told() -> None:
    house = House("churn:predict")
    assert [house.enter("churn:predict") for _ in range(3)] == ["churn 1"] * 3
    assert house.notes.let_in == [("k0", "predict", "churn")] * 3
    assert house.notes.noted == []


def test_refusals_are_told_once_by_whom_they_are_the_answer_of() -> None:
    house = House("fraud:predict", "churn:describe")
    assert type(refusal(house, "stranger")) is Unauthenticated
    assert type(refusal(house, "fraud:predict")) is NotFound
    assert type(refusal(house, "churn:describe")) is Forbidden
    assert type(refusal(house, "churn:describe", route=EXPLAIN)) is Forbidden
    told = [(one.actor, one.action, one.endpoint, one.outcome) for one in house.notes.noted]
    assert told == [
        ("anonymous", "", "", "unauthenticated"),
        ("k0", "predict", "churn", "forbidden"),
        ("k1", "predict", "churn", "forbidden"),
        ("k1", "explain", "churn", "forbidden"),
    ]
    assert {one.request_id for one in house.notes.noted} == {"id"}
    before = len(house.notes.noted)
    refusal(house, "fraud:predict", tells=False)
    assert len(house.notes.noted) == before


def test_what_is_not_there_is_told_to_those_who_may_see_it_all() -> None:
    house = House("churn:predict", "churn:predict:7 churn:predict:1", "*:predict")
    house.put("churn", "2")
    assert str(refusal(house, "churn:predict", "churn", "9")).endswith("live versions: 1, 2")
    assert str(refusal(house, "churn:predict:7 churn:predict:1", "churn", "7")) == "there is no endpoint 'churn'"
    assert str(refusal(house, "*:predict", "ghost")) == "there is no endpoint 'ghost'"
    house.catalog.expect("late")
    assert type(refusal(house, "*:predict", "late")) is Unavailable
    assert type(refusal(house, "churn:predict", "late")) is NotFound


def test_a_key_of_one_version_while_the_traffic_is_shared() -> None:
    house = House("churn:predict:2", "churn:predict")
    house.put("churn", "2")
    assert "version 1" in str(refusal(house, "churn:predict:2"))  # the one that answers is another
    assert house.enter("churn:predict:2", version="2") == "churn 2"
    assert type(refusal(house, "churn:predict:2", version="1")) is Forbidden
    house.catalog.splits["churn"] = None  # type: ignore[assignment]  # that there is one is all that counts
    asking = house.ask("churn:predict:2")
    caller, _ = house.gate.enter(asking, house.catalog, "churn", None)
    house.gate.hold(asking, caller, Version("churn", "2"))  # type: ignore[arg-type]
    with pytest.raises(Forbidden, match="may not call version 1 of 'churn'"):
        house.gate.hold(asking, caller, Version("churn", "1"))  # type: ignore[arg-type]
    assert type(refusal(house, "churn:predict:2", version="1")) is Forbidden
    every, _ = house.gate.enter(house.ask("churn:predict"), house.catalog, "churn", None)
    house.gate.hold(house.ask("churn:predict"), every, Version("churn", "1"))  # type: ignore[arg-type]


def test_a_path_without_a_name_means_the_one_that_they_may_call() -> None:
    house = House("churn:predict", "*:predict", "churn:describe")
    house.put("fraud", "1")
    route = "/invocations"
    assert house.enter("churn:predict", None, route=route) == "churn 1"
    several, none = (refusal(house, grant, None, route=route) for grant in ("*:predict", "churn:describe"))
    assert (type(several), str(several)) == (type(none), str(none))
    assert type(refusal(house, "stranger", None, route=route)) is Unauthenticated


def test_memory_ends_with_the_keys_and_is_not_filled_by_names() -> None:
    house = House("*:predict")
    house.put("a" * 200, "1")
    house.enter("*:predict")
    assert len(house.gate._passes) == 1
    house.enter("*:predict", "a" * 200)
    assert len(house.gate._passes) == 1
    house.gate.forget()
    assert house.gate._passes == {}
    house.enter("*:predict")
    house.gate.know(KeyRing())
    assert type(refusal(house, "*:predict")) is Unauthenticated


def test_a_route_of_nobody() -> None:
    house = House("*:*")
    assert "nobody may call by this route" in str(refusal(house, "*:*", route="/v9/new"))
    assert "nobody may call by this route" in str(refusal(house, "*:*", route="/docs"))
    with pytest.raises(Forbidden, match="nobody may come by this route"):
        house.gate.visit(house.ask("*:*", "/v9/new"))
    assert [one.action for one in house.notes.noted] == ["/v9/new", "/docs", "/v9/new"]


def sees(house: House, grant: str, route: str = "/v1/models") -> Iterable[str]:
    return house.gate.visit(house.ask(grant, route)).names(["churn", "fraud"])


def test_what_a_visitor_sees() -> None:
    house = House("churn:predict", "*:describe", "*:metrics", "fraud:admin")
    house.put("fraud", "1")
    assert sees(house, "churn:predict") == ["churn"]
    assert sees(house, "*:describe") == ["churn", "fraud"]
    assert sees(house, "none", "/healthz") == []
    assert [house.gate.visit(house.ask(one, "/readyz")).troubled for one in ("none", "churn:predict", "*:metrics")] == [
        False, False, True,
    ]  # fmt: skip
    assert EVERYTHING.troubled
    assert EVERYTHING.sees("anything", "1")
    assert EVERYTHING.refusal("predict", "x") is None  # type: ignore[arg-type]
    with pytest.raises(Unauthenticated):
        house.gate.visit(house.ask("none", "/healthz")).resolve(house.catalog, "churn")
    with pytest.raises(NotFound, match="no version '9'"):
        house.gate.visit(house.ask("*:describe")).resolve(house.catalog, "churn", "9")
    with pytest.raises(NotFound, match="there is no endpoint 'ghost'"):
        house.gate.visit(house.ask("*:describe")).resolve(house.catalog, "ghost")
    with pytest.raises(Forbidden, match="give labels to no endpoint"):
        house.gate.visit(house.ask("churn:predict", "/v1/feedback"))


def test_what_administrators_do_is_told() -> None:
    house = House("fraud:admin")
    house.gate.visit(house.ask("fraud:admin", "/v2/repository/models/{endpoint}/load"), "fraud")
    (entry,) = house.notes.noted
    assert (entry.actor, entry.action, entry.endpoint, entry.outcome) == ("k0", "admin", "fraud", "allowed")
    assert entry.detail == {"route": "/v2/repository/models/{endpoint}/load"}


def test_nobody_need_listen() -> None:
    house = House("*:*")
    quiet = Gate(Rules(), Callers(SystemClock(), KeyRing()))
    with pytest.raises(Unauthenticated):
        quiet.enter(house.ask("*:*"), house.catalog, "churn", None)
    with pytest.raises(Unauthenticated):
        quiet.visit(house.ask("*:*", "/docs"))
