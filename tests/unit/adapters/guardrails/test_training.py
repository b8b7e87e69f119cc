from __future__ import annotations

import numpy as np
import pytest

from fairlead.adapters.guardrails.injection.detector import Injection
from fairlead.adapters.guardrails.injection.training import area, train
from fairlead.contracts.errors import InputError
from fairlead.contracts.guardrail import Channel, DetectorOptions, Example


def examples(count: int = 200) -> list[Example]:
    rng = np.random.default_rng(3)
    words = ["bread", "river", "song", "table", "winter", "paper", "garden", "letter"]

    def text(extra: str) -> str:
        return " ".join([*rng.choice(words, 6), extra, *rng.choice(words, 3)])

    bad = [Example(text("grumblefoo"), "spam", f"b{at}", "made") for at in range(count)]
    good = [Example(text("plain"), "", f"g{at}", "made") for at in range(count)]
    return [*bad, *good, Example("grumblefoo river", "spam", "x", "beside", held=True)]


def test_the_same_examples_give_the_same_file_and_it_works(tmp_path) -> None:
    file, figures = train(examples(), {"note": "a test"})
    assert train(examples(), {"note": "a test"})[0] == file
    assert figures["held_out"]["auc"] > 0.99
    assert figures["only_tested"]["beside"]["examples"] == 1
    path = tmp_path / "mine.onnx"
    path.write_bytes(file)
    detector = Injection(DetectorOptions("injection", (), None, {"model": str(path), "phrases": False}))
    [found] = detector.find("bread river grumblefoo song", Channel.USER)
    assert found.kind == "spam"
    assert detector.find("bread river plain song", Channel.USER) == []
    assert detector.about["note"] == "a test"


def test_too_few_examples_are_refused() -> None:
    with pytest.raises(InputError, match="too few examples"):
        train(examples(20), {})


def test_area_under_the_curve() -> None:
    assert area(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1
    assert area(np.array([1.0, 1.0]), np.array([1.0])) == 0.5
    assert area(np.array([0.0]), np.array([1.0, 2.0])) == 0
