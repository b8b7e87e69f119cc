"""However much comes, what is written stays small, and of a call that is let in stays next to nothing."""

import sys

from fairlead.audit.folding import ACTS, REFUSALS, SUMS, Folding
from fairlead.contracts.audit import Audited

NOW = 1_790_000_000_000


def refusal(endpoint: str = "churn", request: str = "") -> Audited:
    return Audited("anonymous", "predict", endpoint, outcome="unauthenticated", request_id=request)


def test_identical_refusals_of_a_second_are_one_entry_with_a_count() -> None:
    folding = Folding()
    for number in range(10_000):
        folding.note(refusal(request=f"r{number}"), NOW + number // 20)
    assert folding.notes(NOW + 900) == []
    (one,) = folding.notes(NOW + 1000)
    assert (one.count, one.at_ms, one.entry.request_id) == (10_000, NOW, "r0")
    assert folding.notes(NOW + 5000) == []


def test_a_flood_of_different_refusals_is_bounded_and_none_is_forgotten() -> None:
    folding = Folding()
    for number in range(100_000):
        folding.note(refusal(f"e{number}"), NOW)
    told = folding.notes(NOW + 1000)
    assert len(told) == REFUSALS + 1
    assert sum(one.count for one in told) == 100_000
    assert folding.lost == 0
    for number in range(100_000):
        folding.note(Audited("x", f"a{number}", outcome=f"o{number}"), NOW)
    told = folding.notes(NOW + 1000)
    assert len(told) == 2 * REFUSALS
    assert sum(one.count for one in told) + folding.lost == 100_000


def test_acts_are_told_one_by_one_at_once_and_are_bounded() -> None:
    folding = Folding()
    for number in range(ACTS + 5):
        folding.note(Audited("ann", "load", "churn"), NOW + number)
    told = folding.notes(NOW)
    assert len(told) == ACTS
    assert folding.lost == 5
    assert all(one.count == 1 for one in told)


def test_calls_that_were_let_in_are_summed_up() -> None:
    folding = Folding()
    for _ in range(1000):
        folding.allowed("web", "predict", "churn")
    folding.allowed("web", "explain", "churn")
    told = {(one.entry.actor, one.entry.action): one.count for one in folding.sums(NOW)}
    assert told == {("web", "predict"): 1000, ("web", "explain"): 1}
    assert folding.sums(NOW) == []
    for number in range(SUMS + 7):
        folding.allowed(f"c{number}", "predict", "churn")
    told = {(one.entry.actor, one.entry.endpoint): one.count for one in folding.sums(NOW)}
    assert len(told) == SUMS + 1
    assert told["*", "*"] == 7


def test_a_clock_that_jumps_back_holds_nothing_up() -> None:
    folding = Folding()
    folding.note(refusal(), NOW)
    assert len(folding.notes(NOW - 5000)) == 1


def test_a_call_that_is_let_in_leaves_a_count_and_no_more() -> None:
    """What it costs in time is the benchmark's to say (``bench.access``)."""
    allowed = Folding().allowed
    allowed("web", "predict", "churn")
    before = sys.getallocatedblocks()
    for _ in range(20_000):
        allowed("web", "predict", "churn")
    assert sys.getallocatedblocks() - before < 200
