from __future__ import annotations

import itertools

import pytest

from fairlead.contracts.access import EVERY, Action, Caller, Scope
from fairlead.contracts.errors import Forbidden, NotFound
from fairlead.kit.scopes import scope
from fairlead.serve.access.rules import Rules

ENDPOINTS, VERSIONS = ("churn", "fraud", "team"), ("", "1", "2")
GRANTS = [
    *(Scope(e, a, v) for e in ENDPOINTS[:2] for a in (Action.PREDICT, Action.ADMIN, EVERY) for v in VERSIONS),
    *(Scope(EVERY, a) for a in (Action.METRICS, Action.PREDICT, EVERY)),
    Scope("team", Action.PREDICT),
]


def caller(*scopes: Scope) -> Caller:
    return Caller("web", "key", scopes)


def by_hand(grants: tuple[Scope, ...], action: Action, endpoint: str, version: str) -> bool:
    """The rule, word for word, where no endpoint names scopes of its own."""
    for one in grants:
        if one.endpoint not in (EVERY, endpoint):
            continue
        if one.version and one.version != version:
            continue
        if one.action in (EVERY, action.value) or action is Action.DESCRIBE:
            return True
    return False


def test_every_pair_of_scopes_against_the_rule_word_for_word() -> None:
    rules, count = Rules(), 0
    for grants in itertools.combinations(GRANTS, 2):
        for action, endpoint, version in itertools.product(Action, ENDPOINTS, ("1", "2", "3")):
            may = rules.may(caller(*grants), action, endpoint, version)
            assert may == by_hand(grants, action, endpoint, version), (grants, action, endpoint, version)
            count += 1
    assert count > 10_000


def test_nothing_is_allowed_by_default() -> None:
    for action, endpoint in itertools.product(Action, (*ENDPOINTS, "")):
        assert not Rules().may(caller(), action, endpoint)


def test_the_server_as_a_whole_is_everybodys_endpoint() -> None:
    rules = Rules()
    assert rules.may(caller(scope("*:metrics")), Action.METRICS, "")
    assert rules.may(caller(scope("*:*")), Action.METRICS, "")
    assert not rules.may(caller(scope("churn:*")), Action.METRICS, "")
    assert not rules.may(caller(scope("*:predict")), Action.DESCRIBE, "")


def test_an_endpoint_may_ask_for_other_scopes() -> None:
    rules = Rules({"churn": (scope("team:predict"), scope("*:explain"))})
    team, own, every = caller(scope("team:predict")), caller(scope("churn:predict")), caller(scope("*:explain"))
    assert rules.may(team, Action.PREDICT, "churn", "7")
    assert not rules.may(own, Action.PREDICT, "churn")
    assert rules.may(every, Action.EXPLAIN, "churn")
    assert not rules.may(caller(scope("churn:explain")), Action.EXPLAIN, "churn")
    assert rules.may(caller(scope("churn:admin")), Action.ADMIN, "churn")  # its own, where it asks for no other
    for one in (team, own, every):
        assert rules.may(one, Action.DESCRIBE, "churn")
    assert not rules.may(caller(scope("team:metrics")), Action.DESCRIBE, "churn")
    assert Rules({"churn": (scope("team:*"),)}).may(team, Action.DESCRIBE, "churn")
    assert Rules({"churn": (scope("team:*"),)}).may(team, Action.PREDICT, "churn")


def test_versions() -> None:
    rules = Rules()
    some = caller(scope("churn:predict:1"), scope("churn:predict:2"), scope("churn:explain"))
    assert rules.versions(some, Action.PREDICT, "churn") == {"1", "2"}
    assert rules.versions(some, Action.EXPLAIN, "churn") == {""}
    assert rules.versions(some, Action.PREDICT, "fraud") == frozenset()
    assert rules.may(some, Action.PREDICT, "churn")  # with some version
    assert not rules.may(some, Action.PREDICT, "churn", "3")
    assert not rules.may(some, Action.PREDICT, "churn", "")  # with all of them


@pytest.mark.parametrize(
    ("grants", "hides", "kind", "says"),
    [
        (["fraud:*"], True, NotFound, "there is no endpoint 'churn'"),
        (["fraud:*"], False, Forbidden, "'web' may not call 'churn': it needs the scope churn:predict"),
        (["churn:explain"], True, Forbidden, "'web' may not call 'churn': it needs the scope churn:predict"),
    ],
)
def test_refusals(grants: list[str], hides: bool, kind: type[Exception], says: str) -> None:
    error = Rules(hides=hides).refusal(caller(*map(scope, grants)), Action.PREDICT, "churn")
    assert (type(error), str(error)) == (kind, says)


def test_refusals_name_versions_scopes_and_the_server() -> None:
    one = caller(scope("churn:predict:1"))
    assert "may not call version 2 of 'churn'" in str(Rules().refusal(one, Action.PREDICT, "churn", "2"))
    told = str(Rules().refusal(one, Action.METRICS, ""))
    assert told == "'web' may not read the metrics of this server: it needs the scope *:metrics"
    asked = Rules({"churn": (scope("team:predict"), scope("b:predict"))}, hides=False)
    assert str(asked.refusal(one, Action.PREDICT, "churn")).endswith("it needs the scope team:predict, b:predict")


def test_somewhere() -> None:
    assert Rules().anywhere(caller(scope("a:feedback")), Action.FEEDBACK)
    assert Rules().anywhere(caller(scope("a:*")), Action.FEEDBACK)
    assert not Rules().anywhere(caller(scope("a:predict")), Action.FEEDBACK)


def test_every_action_has_words() -> None:
    one = caller()
    assert len({str(Rules(hides=False).refusal(one, action, "a")) for action in Action}) == len(Action)
