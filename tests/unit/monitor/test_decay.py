from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import beta
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from fairlead.contracts.errors import UsageError
from fairlead.kit.codec.records import from_body, to_body
from fairlead.monitor.decay import BLOCK, Decay, losses_of, start, step
from fairlead.monitor.metrics import Answers
from fairlead.monitor.performance import Watch, observe, watch


def coins(generator: np.random.Generator, share: float, n: int) -> np.ndarray:
    return (generator.random(n) < share).astype(float)


@pytest.mark.slow
def test_false_alarms_stay_below_the_contract_however_often_one_looks() -> None:
    """2,000 runs at the border of what is allowed (loss exactly reference + margin), looked at after every row.

    With a reference of 2,000 rows and with a perfectly known one; alpha 0.1, 3,000 rows.
    """
    generator = np.random.default_rng(11)
    for known, runs in ((False, 2000), (True, 500)):
        alarms = 0
        for _ in range(runs):
            state = start("loss", coins(generator, 0.2, 2000), margin=0.02, alpha=0.1)
            if known:
                state = Decay("loss", 0.2, 0.22, 0.02, 0.1, 2000)
            state, told = step(state, coins(generator, 0.22, 3000), np.arange(3000))
            alarms += told is not None
        assert alarms <= 0.1 * runs
        of = "known" if known else "of 2,000 rows"
        print(f"false alarms, reference {of}: {alarms} of {runs} (contract {0.1 * runs:.0f})")


def test_the_wealth_is_fair_at_the_limit() -> None:
    """Brute force over all outcomes: the expected wealth at the limit stays what it was at first, 1."""
    rows, share = 10, 0.3
    total = 0.0
    for number in range(2**rows):
        losses = np.array([(number >> place) & 1 for place in range(rows)], dtype=float)
        chance = share ** losses.sum() * (1 - share) ** (rows - losses.sum())
        state, _ = step(Decay("loss", 0.3, share, 0.0, 0.05, 100), losses, np.arange(rows))
        total += chance * (sum(state.wealth) + 1 / (state.entered + 1))
    assert total == pytest.approx(1.0, abs=1e-12)


def test_a_late_decay_is_found_and_its_begin_told() -> None:
    generator = np.random.default_rng(3)
    state = start("accuracy", coins(generator, 0.10, 3000), margin=0.02)
    losses = np.concatenate([coins(generator, 0.10, 6000), coins(generator, 0.25, 2000)])
    after, told = step(state, losses, np.arange(8000) * 1000)
    assert told is not None
    assert 6_000_000 <= told.at_ms < 6_700_000
    assert abs(told.since_ms - 6_000_000) <= 2 * BLOCK * 1000
    assert told.now == pytest.approx(0.25, abs=0.05)
    assert told.p <= told.alpha / 2
    assert "the loss rose from 0.1" in told.why
    assert after.alarmed
    assert told.as_evidence()["rows"] == told.rows


def test_it_tells_once() -> None:
    state = start("accuracy", np.zeros(500), margin=0.02)
    state, told = step(state, np.ones(300), np.arange(300))
    assert told is not None
    _, again = step(state, np.ones(300), np.arange(300))
    assert again is None


def test_pieces_equal_the_whole_and_the_state_survives_json() -> None:
    generator = np.random.default_rng(9)
    losses = coins(generator, 0.18, 1234)
    begin = start("accuracy", coins(generator, 0.2, 1000))
    whole, _ = step(begin, losses, np.arange(1234))
    piece = begin
    for rows in np.split(np.arange(1234), [1, 17, 100, 101, 550, 551, 900]):
        piece = from_body(Decay, to_body(piece))
        piece, _ = step(piece, losses[rows], rows)
    assert piece.wealth == pytest.approx(whole.wealth, rel=1e-9)
    assert piece.most == pytest.approx(whole.most, rel=1e-9)
    assert (piece.rows, piece.entered, piece.past) == (whole.rows, whole.entered, whole.past)


def test_the_bound_of_the_reference() -> None:
    ones = np.repeat([1.0, 0.0], [30, 170])
    assert start("loss", ones, margin=0, alpha=0.05).limit == pytest.approx(beta.ppf(0.975, 31, 170))
    shares = np.full(200, 0.15)
    limit = start("loss", shares, margin=0, alpha=0.05).limit
    room = 0.15 * np.log(0.15 / limit) + 0.85 * np.log(0.85 / (1 - limit))
    assert room == pytest.approx(np.log(1 / 0.025) / 200, rel=1e-6)
    hopeless = start("loss", np.ones(5), alpha=0.05)
    state, told = step(hopeless, np.ones(400), np.arange(400))
    assert told is None
    assert state.p == 1.0


def test_wealth_stays_a_number_on_a_long_decay() -> None:
    state = start("accuracy", np.zeros(1000))
    state, _ = step(state, np.ones(20_000), np.arange(20_000))
    assert np.isfinite(state.wealth).all()
    assert np.isfinite(state.most)
    assert len(state.past) <= 400


def test_losses_tell_of_their_metric() -> None:
    generator = np.random.default_rng(2)
    score = generator.random(4000)
    label = coins(generator, 1.0, 4000) * (generator.random(4000) < score)
    answers = Answers(label, (score > 0.5).astype(float), score, np.ones(4000))
    losses, rows = losses_of("roc_auc", answers)
    assert len(losses) == min(label.sum(), (1 - label).sum())
    assert 1 - losses.mean() == pytest.approx(roc_auc_score(label, score), abs=0.03)
    assert (np.diff(rows) >= 0).all()
    assert losses_of("brier", answers)[0].mean() == pytest.approx(np.mean((score - label) ** 2))
    recall, places = losses_of("recall", answers)
    assert (label[places] == 1).all()
    assert 1 - recall.mean() == pytest.approx(((score > 0.5) & (label == 1)).sum() / label.sum())
    precision, places = losses_of("precision", answers)
    assert (score[places] > 0.5).all()
    assert 1 - precision.mean() == pytest.approx(((score > 0.5) & (label == 1)).sum() / (score > 0.5).sum())
    assert losses_of("log_loss", answers)[0].max() <= 1
    flat = Answers(np.array([0.0, 10.0]), np.array([1.0, 90.0]), None, np.ones(2), 0)
    assert losses_of("mae", flat, scale=10)[0].tolist() == [0.1, 1.0]
    assert losses_of("rmse", flat, scale=10)[0] == pytest.approx([0.01, 1.0])
    three = Answers(np.array([0.0, 2.0]), np.array([0.0, 1.0]), np.eye(3)[[0, 1]], np.ones(2), 3)
    assert losses_of("accuracy", three)[0].tolist() == [0.0, 1.0]
    assert losses_of("brier", three)[0].tolist() == [0.0, 1.0]


def test_what_is_no_mean_of_losses_is_refused() -> None:
    answers = Answers(np.ones(3), np.ones(3), np.ones(3), np.ones(3))
    for metric in ("f1", "r2", "mae"):
        with pytest.raises(UsageError, match="no mean of losses"):
            losses_of(metric, answers)
    with pytest.raises(UsageError, match="losses from 0 to 1"):
        start("loss", np.array([0.0, 3.0]))
    with pytest.raises(UsageError, match="losses from 0 to 1"):
        start("loss", np.array([]))
    with pytest.raises(UsageError, match="alpha"):
        start("loss", np.zeros(5), alpha=0.0)
    with pytest.raises(UsageError, match=r"not in \[0, 1\]"):
        step(start("loss", np.zeros(5)), np.array([2.0]), np.zeros(1))


def test_errors_that_move_between_classes_are_seen() -> None:
    """Accuracy stays 0.9 while the errors go from the one class to the other."""
    generator = np.random.default_rng(4)

    def answers(n: int, wrong: tuple[float, float]) -> Answers:
        label = coins(generator, 0.5, n)
        flip = generator.random(n) < np.where(label == 1, wrong[1], wrong[0])
        return Answers(label, np.where(flip, 1 - label, label), None, np.ones(n))

    state = watch(answers(4000, (0.02, 0.18)), "accuracy", classes=(0.0, "yes"))
    assert [test.name for test in state.tests] == ["accuracy", "recall of class 0", "recall of class yes"]
    assert sum(test.alpha for test in state.tests) == pytest.approx(0.05)
    state, quiet = observe(state, answers(4000, (0.02, 0.18)), np.arange(4000))
    assert quiet == []
    assert not state.alarmed
    state = from_body(Watch, to_body(state))
    state, found = observe(state, answers(2000, (0.18, 0.02)), np.arange(2000))
    assert [one.name for one in found] == ["recall of class 0"]
    assert state.alarmed


DATA = os.environ.get("FAIRLEAD_DATA")


@pytest.mark.slow
@pytest.mark.skipif(not DATA, reason="FAIRLEAD_DATA names no folder with data sets")
def test_each_change_of_concept_in_the_sea_stream_is_found() -> None:
    """A model fitted on the first 5,000 rows, windows of 250 rows; after each alarm the next 6,000 are the reference.

    At the second change the accuracy of this model does not fall (its errors move to the other class): the recall of
    the classes tells.
    """
    with gzip.open(Path(str(DATA)) / "drift-sea" / "sea.csv.gz") as file:
        table = np.loadtxt(file, delimiter=",", skiprows=1)
    features, label = table[:, :3], table[:, 3]
    model = GradientBoostingClassifier(random_state=0).fit(features[:5000], label[:5000])
    decision = model.predict(features)
    every = Answers(label, decision, None, np.ones(len(label)))
    place, alarms = 5000, []
    while place + 6000 < len(label):
        state = watch(every.take(np.arange(place, place + 6000)), "accuracy", classes=(0.0, 1.0))
        place += 6000
        while place < len(label) and not state.alarmed:
            rows = np.arange(place, min(place + 250, len(label)))
            state, found = observe(state, every.take(rows), rows)
            alarms += [(int(rows[-1]) + 1, one.name) for one in found][:1]
            place += 250
    for change, (row, name) in zip((12_500, 25_000, 37_500), alarms, strict=True):
        print(f"change at row {change}: alarm after row {row} ({name}), {row - change} rows later")
        assert 0 < row - change <= 2_000
