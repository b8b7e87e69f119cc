"""How far a partition of Kafka may be committed."""

from __future__ import annotations

from fairlead.adapters.brokers.kafka.offsets import Offsets


def test_the_mark_stands_at_the_first_that_is_not_done() -> None:
    offsets = Offsets()
    for offset in (4, 5, 7, 8):  # 6 is no message: offsets have gaps
        assert offsets.give(0, offset) == 1
    assert offsets.settle([(0, 5), (0, 7)]) == []
    assert offsets.settle([(0, 4)]) == [(0, 8)]
    assert offsets.settle([(0, 8)]) == [(0, 9)]


def test_partitions_have_marks_of_their_own() -> None:
    offsets = Offsets()
    for partition in (0, 1):
        offsets.give(partition, 0)
    assert offsets.settle([(1, 0)]) == [(1, 1)]
    assert offsets.settle([(0, 0), (1, 0)]) == [(0, 1)]


def test_what_was_taken_away_is_never_committed() -> None:
    offsets = Offsets()
    offsets.give(0, 3)
    offsets.forget([0])
    assert offsets.settle([(0, 3)]) == []


def test_what_is_given_again_counts_as_delivered_again() -> None:
    offsets = Offsets()
    offsets.give(0, 3)
    offsets.forget([0])
    assert offsets.give(0, 3) == 2
    assert offsets.give(0, 4) == 1
    assert offsets.settle([(0, 3)]) == [(0, 4)]
