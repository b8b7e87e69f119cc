"""What every target must do, whoever wrote it.

::

    @pytest.mark.parametrize("check", target_suite.CHECKS, ids=lambda check: check.__name__)
    def test_my_target(check):
        check(target_suite.Place(my_target, body, route))

Checks use fresh names, so one target may serve all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fairlead.contracts.errors import ObjectConflict, ObjectRejected
from fairlead.contracts.target import ARMS, Body, Change, Route, Target
from fairlead.testing.document_suite import expect, fresh, raises


@dataclass(frozen=True, slots=True)
class Place:
    """``body(name, value)``: an object that is ready at once, with a value that may change.  ``route(name, endpoint)``:
    one that gives the champion 100 and the candidate 0.  ``unknown``: an object of a kind that the target has not."""

    target: Target
    body: Callable[[str, str], dict[str, Any]]
    route: Callable[[str, str], dict[str, Any]]
    unknown: Body


def what_is_applied_is_there(place: Place) -> None:
    target, body = place.target, place.body(fresh(), "1")
    ref = target.find(body)
    expect(target.observe(ref) is None, "nothing is there before")
    expect(target.diff(body, "ours").change is Change.CREATE, "what is not there is to be made")
    expect(target.observe(ref) is None, "a question changes nothing")
    seen = target.apply(body, "ours")
    expect((seen.ref, seen.owner) == (ref, "ours"), "it is the owner's")
    expect(target.observe(ref) == seen, "what was applied is seen")
    expect(target.diff(body, "ours").change is Change.SAME, "the same again changes nothing")
    expect(target.apply(body, "ours").revision == seen.revision, "nor is it another revision")


def a_change_is_shown_before_it_is_made(place: Place) -> None:
    target, name = place.target, fresh()
    first = target.apply(place.body(name, "1"), "ours")
    found = target.diff(place.body(name, "2"), "ours")
    expect(found.change is Change.UPDATE and found.before == first, "an update, of what is there")
    expect([(one.before, one.after) for one in found.fields] == [("1", "2")], "the one field that differs")
    seen = target.apply(place.body(name, "2"), "ours")
    expect(seen.revision != first.revision and seen.id == first.id, "another revision of the same object")


def what_was_there_can_be_put_back(place: Place) -> None:
    target, name = place.target, fresh()
    before = target.apply(place.body(name, "1"), "ours")
    target.apply(place.body(name, "2"), "ours")
    back = target.restore(before)
    expect(back.body == before.body and back.id == before.id, "as it was")
    expect(target.restore(before).revision == back.revision, "once is enough")
    target.remove(back)
    again = target.restore(before)
    expect(again.body == before.body and again.id != before.id, "also where it is gone: a new object")
    expect(target.diff(place.body(name, "1"), "ours").change is Change.SAME, "and it can be applied on")


def only_the_very_object_is_removed(place: Place) -> None:
    target, body = place.target, place.body(fresh(), "1")
    first = target.apply(body, "ours")
    target.remove(first)
    expect(target.observe(first.ref) is None, "it is gone")
    target.remove(first)
    other = target.apply(body, "theirs")
    raises(ObjectConflict, lambda: target.remove(first))
    expect(target.observe(first.ref) == other, "another of its name stays")


def a_kind_that_is_not_known_is_refused(place: Place) -> None:
    raises(ObjectRejected, lambda: place.target.find(place.unknown))


def notes_are_compared_and_set(place: Place) -> None:
    target, name = place.target, fresh()
    nothing = target.note(name)
    expect((nothing.text, nothing.revision) == ("", ""), "there is none yet")
    first = target.write(nothing, "one \u00e9")
    expect(target.note(name) == first and first.text == "one \u00e9", "what was written is read")
    raises(ObjectConflict, lambda: target.write(nothing, "made twice"))
    second = target.write(first, "two")
    raises(ObjectConflict, lambda: target.write(first, "late"))
    expect(target.note(name) == second, "the first of two wins")


def shares_are_compared_and_set(place: Place) -> None:
    target, endpoint = place.target, fresh()
    expect(target.route(endpoint) is None, "an endpoint without a route")
    target.apply(place.route(fresh(), endpoint), "ours")
    first = _route(target, endpoint)
    expect(dict(first.weights) == dict(zip(ARMS, (100, 0), strict=True)) and first.fence == 0, "as the file says")
    second = target.shift(first, {"champion": 95, "candidate": 5}, 7)
    expect(dict(second.weights) == {"champion": 95, "candidate": 5} and second.fence == 7, "as it was told")
    expect(_route(target, endpoint).revision == second.revision, "and that is there")
    raises(ObjectConflict, lambda: target.shift(first, {"champion": 0, "candidate": 100}, 8))
    expect(dict(_route(target, endpoint).weights) == {"champion": 95, "candidate": 5}, "a late one moves nothing")


def a_deployment_leaves_the_shares_of_a_rollout(place: Place) -> None:
    target, endpoint, name = place.target, fresh(), fresh()
    body = place.route(name, endpoint)
    before = target.apply(body, "ours")
    moved = target.shift(_route(target, endpoint), {"champion": 75, "candidate": 25}, 1)
    expect(target.diff(body, "ours").change is Change.SAME, "the file's own shares are no difference")
    target.apply(body, "ours")
    target.restore(before)
    expect(_route(target, endpoint).weights == moved.weights, "neither applying nor putting back moves them")


def _route(target: Target, endpoint: str) -> Route:
    found = target.route(endpoint)
    if found is None:
        raise AssertionError(f"{endpoint} has no route")
    return found


CHECKS = (
    what_is_applied_is_there,
    a_change_is_shown_before_it_is_made,
    what_was_there_can_be_put_back,
    only_the_very_object_is_removed,
    a_kind_that_is_not_known_is_refused,
    notes_are_compared_and_set,
    shares_are_compared_and_set,
    a_deployment_leaves_the_shares_of_a_rollout,
)
