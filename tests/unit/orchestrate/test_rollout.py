"""The state machine alone: what each phase does with what it sees and with what a person asks."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sights import EDGES, arm, failing, good, split

from fairlead.contracts.errors import Busy, UsageError
from fairlead.contracts.plans import Answer
from fairlead.kit.codec.records import from_body, to_body
from fairlead.orchestrate.observed import Observed
from fairlead.orchestrate.plan import Plan, Strategy, checked
from fairlead.orchestrate.rollout import Action, Phase, Rollout, Wish, advance, ask, begin, confirmed, lost
from fairlead.orchestrate.verdict import gate

PLAN = checked(
    Plan("churn", "churn-classifier", "1", "2", steps=(5.0, 50.0, 100.0), min_seconds=10.0, max_seconds=100.0)
)
SECOND = 1000


class Walk:
    """A rollout and the hands that carry out what it asks, at once."""

    def __init__(self, plan: Plan = PLAN) -> None:
        self.now = 0
        self.rollout, _ = begin(checked(plan), "r1", "ann", 0)
        self.done: list[Action] = []
        self.carry()

    def carry(self) -> None:
        while self.rollout.pending:
            first = self.rollout.pending[0]
            self.done.append(first)
            self.rollout = confirmed(self.rollout, first.key, self.now)

    def see(self, observed: Observed | None = None, seconds: float = 20.0) -> Phase:
        self.now += round(seconds * SECOND)
        shown = observed or split(self.rollout.weight)
        self.rollout, actions = advance(self.rollout, shown, self.now)
        assert list(self.rollout.pending) == actions, "the state carries what is to be done"
        assert from_body(Rollout, to_body(self.rollout)) == self.rollout, "and survives the store"
        self.carry()
        return self.rollout.phase

    def wish(self, what: str) -> Phase:
        self.rollout = ask(self.rollout, Wish(what, "bob", "because"))
        return self.see(seconds=1)

    @property
    def weights(self) -> dict[str, float]:
        splits = [action.set_split for action in self.done if action.set_split]
        return {share.version: share.weight for share in splits[-1].shares}

    @property
    def aliases(self) -> list[str]:
        return [action.move_alias.after for action in self.done if action.move_alias]

    @property
    def verdicts(self) -> list[tuple[Answer, bool]]:
        return [
            (action.write_verdict.answer, action.write_verdict.forced) for action in self.done if action.write_verdict
        ]


def test_a_good_candidate_is_promoted_step_by_step() -> None:
    walk = Walk()
    seen = [walk.weights["2"]]
    while walk.see() is Phase.CANARY:
        seen.append(walk.weights["2"])
    assert seen == [5.0, 50.0, 100.0]
    assert walk.rollout.phase is Phase.PROMOTING
    assert walk.aliases == ["2"]
    assert walk.verdicts == [(Answer.PASS, False)] * 3
    assert walk.see() is Phase.DONE
    assert walk.rollout.ended
    assert walk.weights == {"2": 100.0}
    order = [next(name for name in Action.__slots__ if name != "key" and getattr(one, name)) for one in walk.done]
    assert order.index("move_alias") == order.index("update_reference") - 2, (
        "the alias moves before traffic is moved for good"
    )
    last_verdict = [action.write_verdict.id for action in walk.done if action.write_verdict][-1]
    assert next(one.move_alias.verdict for one in walk.done if one.move_alias) == last_verdict


def test_the_last_step_is_compared_with_what_the_champion_did_before() -> None:
    walk = Walk()
    walk.see()
    began = walk.rollout.since_ms
    assert walk.rollout.control_until_ms == 0
    walk.see()
    assert (walk.rollout.weight, walk.rollout.control_since_ms, walk.rollout.control_until_ms) == (
        100.0,
        began,
        walk.now,
    )


def test_time_and_calls_must_both_be_enough() -> None:
    walk = Walk()
    assert walk.see(split(5), seconds=11.9) is Phase.CANARY
    assert (walk.rollout.weight, walk.rollout.answer) == (5.0, Answer.INCONCLUSIVE), "2 s settle, 10 s at least"
    few = Walk(replace(PLAN, min_calls=50_000))
    few.see()
    assert (few.rollout.weight, few.rollout.answer) == (5.0, Answer.INCONCLUSIVE)
    walk.see(split(5), seconds=0.1)
    assert walk.rollout.weight == 50.0


def test_a_step_begins_when_its_split_was_set() -> None:
    rollout, actions = begin(PLAN, "r1", "ann", 0)
    late = 3_600_000
    for action in actions:
        rollout = confirmed(rollout, action.key, late)
    assert rollout.entered_ms == late
    assert rollout.since_ms == late + 2000
    moved, _ = advance(rollout, split(5), late + 5000)
    assert moved.weight == 5.0


def test_pending_actions_come_before_anything_new() -> None:
    rollout, actions = begin(PLAN, "r1", "ann", 0)
    assert advance(ask(rollout, Wish("abort", "bob")), failing(), 50 * SECOND)[1] == actions


def test_a_failing_candidate_is_rolled_back_at_once() -> None:
    walk = Walk()
    assert walk.see(failing(), seconds=3) is Phase.ABORTING
    assert walk.weights == {"1": 100.0}
    assert walk.verdicts == [(Answer.FAIL, False)]
    assert "error_rate" in walk.rollout.reason
    assert walk.see() is Phase.ABORTED
    assert walk.aliases == []
    assert walk.see() is Phase.ABORTED


def test_failing_at_100_percent_is_rolled_back() -> None:
    walk = Walk()
    walk.see()
    walk.see()
    assert walk.see(failing()) is Phase.ABORTING
    assert walk.weights == {"1": 100.0}


@pytest.mark.parametrize(("policy", "phase"), [("pause", Phase.PAUSED), ("abort", Phase.ABORTING)])
def test_without_evidence_time_runs_out(policy: str, phase: Phase) -> None:
    walk = Walk(replace(PLAN, on_timeout=policy))
    little = good(190, 10)
    assert walk.see(little, seconds=100) is Phase.CANARY
    assert walk.see(little, seconds=2) is phase
    assert "inconclusive after 100 s" in walk.rollout.reason
    assert walk.verdicts == ([] if policy == "pause" else [(Answer.INCONCLUSIVE, False)])


@pytest.mark.parametrize("observed", [Observed(), Observed(arm(0), arm(0), EDGES)])
def test_no_data_never_moves(observed: Observed) -> None:
    walk = Walk()
    for _ in range(4):
        assert walk.see(observed) is Phase.CANARY
        assert walk.rollout.weight == 5.0
    assert walk.see(observed, seconds=100) is Phase.PAUSED


def test_a_dead_canary_pauses_by_its_sample_ratio() -> None:
    walk = Walk()
    assert walk.see(Observed(arm(5000), arm(0), EDGES)) is Phase.PAUSED
    assert "sample-ratio mismatch" in walk.rollout.reason
    assert walk.weights == {"1": 95.0, "2": 5.0}, "the split is held"


def test_sticky_units_are_not_judged_by_the_sample_ratio() -> None:
    walk = Walk(replace(PLAN, sticky="header:user"))
    assert walk.see(good(20_000, 20_000)) is Phase.CANARY
    assert walk.rollout.weight == 50.0


def test_pause_and_resume_begin_the_step_anew() -> None:
    walk = Walk()
    walk.see()
    assert walk.wish("pause") is Phase.PAUSED
    assert walk.see(failing()) is Phase.PAUSED, "nothing is decided while paused"
    assert walk.wish("resume") is Phase.CANARY
    assert (walk.rollout.weight, walk.rollout.entered_ms) == (50.0, walk.now)
    assert walk.weights == {"1": 50.0, "2": 50.0}


def test_promote_without_a_pass_is_forced() -> None:
    walk = Walk()
    assert walk.wish("promote") is Phase.PROMOTING
    assert walk.verdicts == [(Answer.INCONCLUSIVE, True)]
    assert walk.aliases == ["2"]
    assert "by force" in [action.tell.text for action in walk.done if action.tell][-1]


def test_abort_when_asked() -> None:
    walk = Walk()
    assert walk.wish("abort") is Phase.ABORTING
    assert walk.rollout.reason == "bob asked to abort: because"
    assert walk.weights == {"1": 100.0}


def test_a_wish_that_comes_too_late_is_told_and_dropped() -> None:
    walk = Walk()
    asked = ask(walk.rollout, Wish("pause", "bob"))
    walk.rollout = replace(asked, phase=Phase.ABORTING)
    assert walk.see() is Phase.ABORTING
    assert walk.rollout.wish is None
    assert "too late" in walk.done[-1].tell.text
    assert walk.see() is Phase.ABORTED


def test_a_second_wish_is_refused_and_says_what_waits_since_when() -> None:
    at = 1_767_225_600_000  # 2026-01-01
    waits = ask(Walk().rollout, Wish("promote", "ann", at_ms=at))
    with pytest.raises(
        Busy, match=r"ann asked to promote at 2026-01-01 00:00:00 UTC.*put pause in its place \(--replace\)"
    ):
        ask(waits, Wish("pause", "bob", at_ms=at + 1))
    with pytest.raises(Busy, match="ann asked to promote"):
        ask(waits, Wish("promote", "bob"))
    assert ask(waits, Wish("pause", "bob"), instead=True).wish == Wish("pause", "bob")


def test_abort_is_always_possible_and_the_first_one_stays() -> None:
    for waiting in ("pause", "promote"):
        waits = ask(Walk().rollout, Wish(waiting, "ann"))
        aborts = ask(waits, Wish("abort", "bob", "now", 5))
        assert aborts.wish == Wish("abort", "bob", "now", 5)
        assert ask(aborts, Wish("abort", "eve")) == aborts
        with pytest.raises(Busy, match="bob asked to abort"):
            ask(aborts, Wish("promote", "ann"))


def test_wishes_that_make_no_sense_are_refused() -> None:
    walk = Walk()
    with pytest.raises(UsageError, match="cannot resume"):
        ask(walk.rollout, Wish("resume", "bob"))
    with pytest.raises(UsageError, match="ask for one of"):
        ask(walk.rollout, Wish("hurry", "bob"))
    with pytest.raises(UsageError, match="not the pending action"):
        confirmed(begin(PLAN, "r", "", 0)[0], "0-0", 1)


def test_losing_the_alias_race_restores_the_champion() -> None:
    walk = Walk()
    walk.see()
    walk.see()
    walk.now += 20 * SECOND
    rollout, actions = advance(walk.rollout, split(100), walk.now)
    rollout = confirmed(rollout, actions[0].key, walk.now)
    assert rollout.pending[0].move_alias
    walk.rollout, _ = lost(rollout, "alias 'champion' points at 3", walk.now)
    walk.carry()
    assert walk.rollout.phase is Phase.ABORTING
    assert walk.weights == {"1": 100.0}
    assert walk.aliases == []
    assert "not promoted: alias 'champion' points at 3" in walk.rollout.reason
    assert walk.see() is Phase.ABORTED


def test_shadow_first_then_canary() -> None:
    walk = Walk(replace(PLAN, shadow=20.0, gates=(*PLAN.gates, gate("flip_rate"))))
    shares = walk.done[0].set_split.shares
    assert [(one.arm, one.weight, one.shadow) for one in shares] == [("champion", 100.0, 0.0), ("candidate", 0.0, 20.0)]
    assert walk.rollout.phase is Phase.SHADOW
    assert walk.see(good(60_000, 60_000)) is Phase.CANARY
    assert walk.weights == {"1": 95.0, "2": 5.0}
    assert walk.verdicts == [(Answer.PASS, False)]


def test_shadow_alone_ends_with_a_verdict_and_moves_nothing() -> None:
    walk = Walk(replace(PLAN, strategy=Strategy.SHADOW, shadow=100.0))
    assert walk.see(good(60_000, 60_000)) is Phase.DONE
    assert walk.weights == {"1": 100.0}
    assert (walk.aliases, walk.verdicts) == ([], [(Answer.PASS, False)])


def test_blue_green_cuts_over_at_once_and_keeps_the_old_one() -> None:
    walk = Walk(replace(PLAN, strategy=Strategy.BLUE_GREEN, shadow=50.0, keep_seconds=60.0))
    assert walk.see(good(60_000, 60_000)) is Phase.CANARY
    assert walk.weights == {"1": 0.0, "2": 100.0}
    assert walk.see() is Phase.PROMOTING
    assert walk.weights == {"1": 0.0, "2": 100.0}, "the old one stays loaded"
    assert walk.see() is Phase.KEEPING
    assert walk.see(seconds=59) is Phase.KEEPING
    assert walk.see(seconds=2) is Phase.DONE
    assert walk.weights == {"2": 100.0}


def test_a_kept_champion_comes_back_at_once() -> None:
    walk = Walk(replace(PLAN, strategy=Strategy.BLUE_GREEN, shadow=50.0, keep_seconds=60.0))
    walk.see(good(60_000, 60_000))
    walk.see()
    walk.see()
    assert walk.wish("abort") is Phase.ABORTING
    assert walk.aliases == ["2", "1"]
    assert walk.weights == {"1": 100.0}
    assert next(one.move_alias.back for one in reversed(walk.done) if one.move_alias)


def test_undoing_a_promotion_leaves_an_alias_that_somebody_else_moved() -> None:
    walk = Walk(replace(PLAN, strategy=Strategy.BLUE_GREEN, shadow=50.0, keep_seconds=60.0))
    walk.see(good(60_000, 60_000))
    walk.see()
    walk.see()
    rollout, _ = advance(ask(walk.rollout, Wish("abort", "bob")), Observed(), walk.now)
    while not rollout.pending[0].move_alias:
        rollout = confirmed(rollout, rollout.pending[0].key, walk.now)
    walk.rollout, _ = lost(rollout, "it points at 3", walk.now)
    walk.carry()
    assert walk.weights != {}
    assert walk.see() is Phase.ABORTED
    assert "it points at 3" in walk.rollout.reason


def test_blue_green_without_shadow_first_sees_the_champion() -> None:
    walk = Walk(replace(PLAN, strategy=Strategy.BLUE_GREEN))
    assert walk.rollout.phase is Phase.SHADOW
    assert walk.see(Observed(arm(100), arm(0), EDGES)) is Phase.SHADOW
    assert walk.see(Observed(arm(30_000, 150), arm(0), EDGES)) is Phase.CANARY
    assert walk.weights == {"1": 0.0, "2": 100.0}
    assert walk.verdicts == [], "nothing was proved yet"
    assert walk.see(Observed(arm(30_000, 150), arm(30_000, 150), EDGES)) is Phase.PROMOTING


def test_blue_green_without_any_call_pauses() -> None:
    walk = Walk(replace(PLAN, strategy=Strategy.BLUE_GREEN))
    assert walk.see(Observed(), seconds=103) is Phase.PAUSED
    assert "too few calls" in walk.rollout.reason


SIGHTS = {"good": split, "failing": lambda _: failing(), "nothing": lambda _: Observed(), "few": lambda _: good(95, 5)}
PLANS = [
    PLAN,
    replace(PLAN, shadow=10.0),
    replace(PLAN, strategy=Strategy.BLUE_GREEN, keep_seconds=30.0),
    replace(PLAN, strategy=Strategy.SHADOW, shadow=10.0),
    replace(PLAN, steps=(0.1, 33.3, 66.7), on_timeout="abort"),
]


@settings(max_examples=60, deadline=None)
@given(
    plan=st.sampled_from(PLANS),
    story=st.lists(
        st.tuples(
            st.sampled_from(sorted(SIGHTS)),
            st.sampled_from(["", "pause", "resume", "promote", "abort"]),
            st.integers(1, 60),
        ),
        max_size=12,
    ),
)
def test_whatever_happens(plan: Plan, story: list[tuple[str, str, int]]) -> None:
    """Splits always add up to 100; the alias goes forward only by a pass or by force; what ended stays as it is."""
    walk = Walk(plan)
    for sight, wish, seconds in story:
        if wish:
            with contextlib.suppress(UsageError, Busy):
                walk.rollout = ask(walk.rollout, Wish(wish, "bob"))
        before = walk.rollout
        walk.see(SIGHTS[sight](walk.rollout.weight), seconds)
        if before.ended:
            assert walk.rollout == before
    verdicts = {one.write_verdict.id: one.write_verdict for one in walk.done if one.write_verdict}
    assert len(verdicts) == len(walk.verdicts), "no verdict is written twice"
    assert len({one.key for one in walk.done}) == len(walk.done), "no key is used twice"
    for place, action in enumerate(walk.done):
        if action.set_split:
            assert sum(share.weight for share in action.set_split.shares) == pytest.approx(100.0)
        if action.move_alias and not action.move_alias.back:
            verdict = verdicts[action.move_alias.verdict]
            assert verdict.answer is Answer.PASS or verdict.forced
            assert any(one.write_verdict == verdict for one in walk.done[:place]), "the verdict is stored first"
    if walk.rollout.phase in (Phase.ABORTED, Phase.ABORTING):
        assert walk.weights == {"1": 100.0}
        assert walk.aliases in ([], ["2", "1"])
