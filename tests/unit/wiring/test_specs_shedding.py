"""What a spec says about more calls than can be answered."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.contracts.errors import UsageError
from fairlead.contracts.shedding import Shed
from fairlead.kit.spec.read import parse
from fairlead.wiring import specs

SPEC = "endpoints:\n  churn:\n    model: ./churn.onnx\n    resilience: {{{said}}}\n"


@pytest.mark.parametrize(
    ("said", "shed"),
    [
        ("", Shed()),
        ("shed: true", Shed()),
        ("shed: false", None),
        ("shed: {target_ms: 50}", Shed(0.05, 0.1)),
        ("shed: {target_ms: 50, interval_ms: 250}", Shed(0.05, 0.25)),
    ],
)
def test_when_calls_are_shed(said: str, shed: Shed | None) -> None:
    spec = parse(SPEC.format(said=said), "f.yaml").spec
    assert specs.settings(spec.endpoints["churn"]).shed == shed


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("shed: 3", "f.yaml:4: endpoints.churn.resilience.shed is 3; expected a mapping"),
        ("shed: {target: 3}", "f.yaml:4: endpoints.churn.resilience.shed.target is not known; did you mean target_ms?"),
        (
            "shed: {interval_ms: 0}",
            "f.yaml:4: endpoints.churn.resilience.shed.interval_ms is 0; expected greater than or equal to 1",
        ),
    ],
)
def test_what_is_wrong_is_one_sentence(said: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(SPEC.format(said=said), "f.yaml")
    assert str(caught.value) == sentence


def test_a_model_that_runs_here_has_no_requests_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text(SPEC.format(said="concurrency: fixed"))
    with pytest.raises(UsageError, match=r"f.yaml:4: endpoints.churn.resilience.concurrency is for a model on other"):
        specs.read(path)
    path.write_text(
        "endpoints:\n  churn:\n    upstream: {urls: ['http://h:1']}\n    resilience: {concurrency: fixed}\n"
    )
    assert not specs.settings(specs.read(path).spec.endpoints["churn"]).adaptive
