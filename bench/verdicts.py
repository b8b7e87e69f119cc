"""False aborts and misses of a rollout, by simulation: the real state machine, looked at after every window.

usage: python -m bench.verdicts [--runs 2000] [--calls 4000] [--seed 0]
One window is ``--calls`` calls over both arms. A/A: both arms are the same; each run goes through all steps until it is
promoted, paused or aborted. "Never promoted" holds each step for all its windows whatever it says: the worst case for
false aborts. Misses: the candidate is bad from the first call and is given 10,000 calls at one share.
"""

from __future__ import annotations

import argparse
import statistics
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import norm

from fairlead.contracts.plans import Answer
from fairlead.orchestrate.observed import Arm, Observed
from fairlead.orchestrate.plan import Plan, checked
from fairlead.orchestrate.rollout import Phase, Rollout, advance, begin, confirmed
from fairlead.orchestrate.verdict import look, overall

EDGES = np.geomspace(1e-4, 100.0, 321)
"""Latency bins of 4.4 %."""
SCORE_BINS = 20
PLAN = checked(Plan("churn", "churn-classifier", "1", "2", min_seconds=1.0, max_seconds=300.0, settle_seconds=0.0))
SECOND = 1000


@dataclass(frozen=True)
class Behaviour:
    """How one version behaves: error rate, median latency with its spread, and the share of calls slowed ``times``."""

    errors: float = 0.01
    median: float = 0.02
    sigma: float = 0.5
    slowed: float = 0.0
    times: float = 1.0

    def latency(self) -> np.ndarray:
        """Probability of each bin."""
        usual, slow = (norm.cdf(np.log(EDGES / (self.median * scale)) / self.sigma) for scale in (1.0, self.times))
        cumulated = (1.0 - self.slowed) * usual + self.slowed * slow
        cumulated[0], cumulated[-1] = 0.0, 1.0
        return np.diff(cumulated)

    def p99(self) -> float:
        return float(EDGES[1 + int(np.argmax(np.cumsum(self.latency()) >= 0.99))])


@dataclass
class Seen:
    """Calls of one arm, drawn window by window."""

    behaviour: Behaviour
    rng: np.random.Generator
    calls: int = 0
    errors: int = 0
    latency: np.ndarray = field(default_factory=lambda: np.zeros(len(EDGES) - 1, np.int64))
    scores: np.ndarray = field(default_factory=lambda: np.zeros(SCORE_BINS, np.int64))
    chances: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        self.chances = self.behaviour.latency()

    def more(self, calls: int) -> None:
        failed = int(self.rng.binomial(calls, self.behaviour.errors))
        self.calls += calls
        self.errors += failed
        self.latency = self.latency + self.rng.multinomial(calls - failed, self.chances)
        self.scores = self.scores + self.rng.multinomial(calls - failed, np.full(SCORE_BINS, 1.0 / SCORE_BINS))

    def arm(self) -> Arm:
        return Arm(self.calls, self.errors, self.latency, self.scores)


def rollout_run(rng: np.random.Generator, calls: int, behaviour: Behaviour) -> tuple[Rollout, Counter[float]]:
    """A whole A/A rollout; where it ended, and calls to the candidate at each share."""
    state, _ = begin(PLAN, "r", "", 0)
    now, used = 0, Counter[float]()
    old, new = Seen(behaviour, rng), Seen(behaviour, rng)
    while state.phase is Phase.CANARY:
        while state.pending:
            if state.pending[0].set_split is not None:
                kept = old if state.weight >= 100.0 else Seen(behaviour, rng)
                old, new = kept, Seen(behaviour, rng)
            state = confirmed(state, state.pending[0].key, now)
        now += SECOND
        got = int(rng.binomial(calls, state.weight / 100.0))
        new.more(got)
        if state.weight < 100.0:
            old.more(calls - got)
        used[state.weight] += got
        state, _ = advance(state, Observed(old.arm(), new.arm(), EDGES), now)
    return state, used


def held_run(rng: np.random.Generator, calls: int, behaviour: Behaviour, windows: int) -> bool:
    """Whether any look at any step would have aborted, when each step is held for all its windows."""
    old = Seen(behaviour, rng)
    for weight in PLAN.ladder:
        old, new = old if weight >= 100.0 else Seen(behaviour, rng), Seen(behaviour, rng)
        for _ in range(windows):
            got = int(rng.binomial(calls, weight / 100.0))
            new.more(got)
            if weight < 100.0:
                old.more(calls - got)
            if _answer(old, new, weight) is Answer.FAIL:
                return True
    return False


def calls_to_abort(
    rng: np.random.Generator, bad: Behaviour, weight: float, window: int, limit: int = 10_000
) -> int | None:
    """Calls to a bad candidate until a look aborts; None when ``limit`` were not enough."""
    old, new = Seen(Behaviour(), rng), Seen(bad, rng)
    while new.calls + window <= limit:
        new.more(window)
        old.more(round(window * (100.0 - weight) / weight))
        if _answer(old, new, None) is Answer.FAIL:
            return new.calls
    return None


def _answer(old: Seen, new: Seen, weight: float | None) -> Answer:
    shares = (100.0 - weight, weight) if weight is not None and weight < 100.0 else None
    observed = Observed(old.arm(), new.arm(), EDGES)
    return overall(look(observed, PLAN.gates, alpha=PLAN.alpha, comparisons=PLAN.comparisons, shares=shares))


def false_aborts(runs: int, calls: int, seed: int) -> dict[str, int | float]:
    """A/A through the state machine: how many ended how, and the candidate's calls until promotion."""
    ends: Counter[str] = Counter()
    needed = []
    for run in range(runs):
        state, used = rollout_run(np.random.default_rng([seed, run]), calls, Behaviour())
        ends[str(state.phase)] += 1
        if state.phase is Phase.PROMOTING:
            needed.append(sum(used.values()))
    return {**ends, "median_calls_to_promote": statistics.median(needed) if needed else 0.0}


def misses(runs: int, bad: Behaviour, weight: float, seed: int) -> tuple[float, float | None]:
    """Share of runs without an abort, and the median number of calls until one (None: most had none)."""
    found = [calls_to_abort(np.random.default_rng([seed, run]), bad, weight, 250) for run in range(runs)]
    missed = sum(one is None for one in found) / runs
    return missed, statistics.median(one or np.inf for one in found) if missed < 0.5 else None


BAD: dict[str, Callable[[], Behaviour]] = {
    "errors 1 % -> 3 %": lambda: Behaviour(errors=0.03),
    "all calls twice as slow": lambda: Behaviour(median=0.04),
    "3 % of calls 5.2 times as slow (p99 doubled)": lambda: Behaviour(slowed=0.03, times=5.2),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--calls", type=int, default=4000)
    parser.add_argument("--windows", type=int, default=40, help="windows a step is held for, in the worst case")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    gates = ", ".join(f"{one.name} {one.margin:g}" for one in PLAN.gates)
    print(
        f"gates and margins: {gates}, sample_ratio; steps {list(PLAN.steps)}; alpha {PLAN.alpha:g}, each test ", end=""
    )
    print(f"{PLAN.alpha / PLAN.comparisons:.2g} ({PLAN.comparisons} tests); errors 1 %, p99 {Behaviour().p99():.3g} s")
    print(f"A/A, whole rollouts, {args.runs} runs, {args.calls} calls a window, looked at after each, bar 5 %:")
    found = false_aborts(args.runs, args.calls, args.seed)
    print(f"  false aborts {(found.get('aborting', 0)) / args.runs:.2%}; ends and calls {found}", flush=True)
    held = sum(
        held_run(np.random.default_rng([args.seed + 1, run]), args.calls, Behaviour(), args.windows)
        for run in range(args.runs)
    )
    print(f"  false aborts or alarms, each step held for {args.windows} windows: {held / args.runs:.2%}", flush=True)
    print("misses after 10,000 calls to the canary, bar 10 %:")
    for name, bad in BAD.items():
        for weight in (5.0, 50.0):
            missed, needed = misses(args.runs // 4, bad(), weight, args.seed)
            print(f"  {name}, split {weight:g} %: {missed:.1%} missed, median calls to abort {needed}", flush=True)


if __name__ == "__main__":
    main()
