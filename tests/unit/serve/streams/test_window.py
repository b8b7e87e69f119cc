"""What is in hand: bounded, in order by key, nothing lost and nothing acknowledged before its answer is stored."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.contracts.broker import Message, Outgoing
from fairlead.serve.streams import window as windows
from fairlead.serve.streams.window import ANSWERS, DEAD, Item, Window


def message(number: int, key: str = "", deliveries: int = 1, token: object = None) -> Message:
    return Message(str(number), b"", {}, key, deliveries, 0.0, token)


def letter(item: Item) -> Outgoing:
    return Outgoing(item.message.id.encode(), {}, item.message.key)


def admitted(window: Window, *messages: Message) -> list[Item]:
    found = [window.admit(one, 0.0) for one in messages]
    assert None not in found
    return [item for item in found if item is not None]


def ids(items: list[Item]) -> list[str]:
    return [item.message.id for item in items]


def test_there_is_room_until_the_answer_is_acknowledged() -> None:
    window = Window(2, (False, False))
    one, two = admitted(window, message(1), message(2))
    assert window.room == 0
    window.ready(one, letter(one), ANSWERS)
    assert window.to_settle() == []  # not stored yet
    window.stored(window.take(ANSWERS, 10))
    assert window.room == 0
    window.settled(window.to_settle())
    assert (window.room, window.count) == (1, 1)
    assert two.stage == windows.Stage.RUNNING


def test_messages_without_a_key_go_as_they_are_ready() -> None:
    window = Window(9, (False, False))
    one, two = admitted(window, message(1), message(2))
    window.ready(two, letter(two), ANSWERS)
    window.ready(one, letter(one), ANSWERS)
    assert ids(window.take(ANSWERS, 10)) == ["2", "1"]


def test_the_next_of_a_key_waits_until_the_one_before_is_stored() -> None:
    window = Window(9, (False, False))
    one, two, other = admitted(window, message(1, "a"), message(2, "a"), message(3, "b"))
    for item in (two, other, one):
        window.ready(item, letter(item), ANSWERS)
    first = window.take(ANSWERS, 10)
    assert ids(first) == ["3", "1"]
    assert window.take(ANSWERS, 10) == []
    window.stored(first)
    assert ids(window.take(ANSWERS, 10)) == ["2"]


def test_a_destination_that_keeps_order_takes_them_together() -> None:
    window = Window(9, (True, True))
    items = admitted(window, *(message(number, "a") for number in range(4)))
    for item in (items[2], items[1], items[0]):
        window.ready(item, letter(item), ANSWERS)
    assert ids(window.take(ANSWERS, 10)) == ["0", "1", "2"]


def test_a_dead_letter_does_not_let_the_next_answer_overtake_it() -> None:
    window = Window(9, (True, True))
    one, two = admitted(window, message(1, "a"), message(2, "a"))
    window.ready(one, letter(one), DEAD)
    window.ready(two, letter(two), ANSWERS)
    assert window.take(ANSWERS, 10) == []
    window.stored(window.take(DEAD, 10))
    assert ids(window.take(ANSWERS, 10)) == ["2"]


def test_a_batch_is_no_larger_than_asked() -> None:
    window = Window(9, (False, False))
    for item in admitted(window, *(message(number) for number in range(5))):
        window.ready(item, letter(item), ANSWERS)
    assert ids(window.take(ANSWERS, 3)) == ["0", "1", "2"]
    assert ids(window.take(ANSWERS, 3)) == ["3", "4"]


def test_what_comes_again_while_it_is_in_hand_runs_once_and_is_acknowledged_as_it_came_last() -> None:
    window = Window(9, (False, False))
    (item,) = admitted(window, message(1, "a", token="old"))
    assert window.admit(message(1, "a", 2, "new"), 0.0) is None
    assert window.count == 1
    window.ready(item, letter(item), ANSWERS)
    window.stored(window.take(ANSWERS, 10))
    assert [one.token for _, one in window.to_settle()] == ["new"]


def test_what_comes_again_while_it_is_being_acknowledged_is_acknowledged_again() -> None:
    window = Window(9, (False, False))
    (item,) = admitted(window, message(1, token="old"))
    window.ready(item, letter(item), ANSWERS)
    window.stored(window.take(ANSWERS, 10))
    batch = window.to_settle()
    assert window.admit(message(1, "", 2, "new"), 0.0) is None
    window.settled(batch)
    assert window.count == 1
    again = window.to_settle()
    assert [one.token for _, one in again] == ["new"]
    window.settled(again)
    assert window.count == 0


def test_what_was_answered_before_is_only_acknowledged() -> None:
    window = Window(9, (False, False))
    (item,) = admitted(window, message(1, "a"))
    window.ready(item, letter(item), ANSWERS)
    window.stored(window.take(ANSWERS, 10))
    window.settled(window.to_settle())
    assert window.admit(message(1, "a", 2), 0.0) is None
    assert [one.deliveries for _, one in window.to_settle()] == [2]
    assert window.take(ANSWERS, 10) == []


def test_an_id_that_comes_for_the_first_time_is_a_new_message() -> None:
    """Where producers choose the ids, two messages may have one."""
    window = Window(9, (False, False))
    first, second = admitted(window, message(1), message(1))
    for item in (first, second):
        window.ready(item, letter(item), ANSWERS)
    window.stored(window.take(ANSWERS, 10))
    window.settled(window.to_settle())
    assert window.count == 0


def test_it_remembers_so_many_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "REMEMBERED", 2)
    window = Window(9, (False, False))
    for number in range(3):
        (item,) = admitted(window, message(number))
        window.ready(item, letter(item), ANSWERS)
        window.stored(window.take(ANSWERS, 1))
        window.settled(window.to_settle())
    assert window.admit(message(0, "", 2), 0.0) is not None
    assert window.admit(message(2, "", 2), 0.0) is None


def test_what_can_never_be_stored_goes_out_as_a_dead_letter() -> None:
    window = Window(9, (True, True))
    one, two = admitted(window, message(1, "a"), message(2, "a"))
    for item in (one, two):
        window.ready(item, letter(item), ANSWERS)
    batch = window.take(ANSWERS, 10)
    window.stored(batch[1:])  # the destination refused the first
    window.divert(one, letter(one))
    assert ids(window.take(DEAD, 10)) == ["1"]
    window.stored([one])
    assert len(window.to_settle()) == 2


@settings(max_examples=200, deadline=None)
@given(st.data(), st.tuples(st.booleans(), st.booleans()), st.integers(1, 12))
def test_whatever_happens_order_is_kept_and_nothing_is_lost(
    data: st.DataObject, ordered: tuple[bool, bool], limit: int
) -> None:
    window = Window(limit, ordered)
    running: list[Item] = []
    published: dict[str, list[int]] = defaultdict(list)
    settled: list[str] = []
    number = 0
    for _ in range(data.draw(st.integers(5, 60))):
        act = data.draw(st.sampled_from(("admit", "answer", "publish", "settle")))
        if act == "admit" and window.room:
            item = window.admit(message(number, data.draw(st.sampled_from(("", "a", "b")))), 0.0)
            assert item is not None
            running.append(item)
            number += 1
        elif act == "answer" and running:
            item = running.pop(data.draw(st.integers(0, len(running) - 1)))
            window.ready(item, letter(item), data.draw(st.sampled_from((ANSWERS, DEAD))))
        elif act == "publish":
            publish(window, data.draw(st.sampled_from((ANSWERS, DEAD))), data.draw(st.integers(1, 4)), published)
        else:
            batch = window.to_settle()
            settled += [one.id for _, one in batch]
            window.settled(batch)
        assert window.count <= limit
    for item in running:
        window.ready(item, letter(item), ANSWERS)
    while window.count:
        publish(window, ANSWERS, 5, published)
        publish(window, DEAD, 5, published)
        batch = window.to_settle()
        settled += [one.id for _, one in batch]
        window.settled(batch)
    assert sorted(settled, key=int) == [str(one) for one in range(number)]
    assert sorted(one for key in published.values() for one in key) == list(range(number))
    for key, order in published.items():
        assert not key or order == sorted(order)


def publish(window: Window, outlet: int, most: int, published: dict[str, list[int]]) -> None:
    batch = window.take(outlet, most)
    for item in batch:
        published[item.message.key].append(int(item.message.id))
    window.stored(batch)
