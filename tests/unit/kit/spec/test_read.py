from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.contracts.errors import UsageError
from fairlead.kit.spec.part import seconds
from fairlead.kit.spec.read import parse, read
from fairlead.kit.spec.spec import NOT_HONOURED, Endpoint, Spec

MINIMAL = "endpoints: {churn: {model: ./churn.onnx}}"


def endpoint(text: str) -> Endpoint:
    return parse(f"endpoints: {{churn: {{model: m, {text}}}}}", "f.yaml").spec.endpoints["churn"]


WRONG = {
    "endpoints:\n  churn:\n    model: m\n    batching: {max_row: 3}": (
        "f.yaml:4: endpoints.churn.batching.max_row is not known; did you mean max_rows?"
    ),
    "endpoints:\n  churn:\n    modle: m": "f.yaml:3: endpoints.churn.modle is not known; did you mean model?",
    "endpoints:\n  churn: {}": (
        "f.yaml:2: endpoints.churn is {}; give one of model, graph, upstream, embedding, llm; found none of them"
    ),
    "projects: x\n" + MINIMAL: "f.yaml:1: projects is not known; did you mean project?",
    "zzz: x\n"
    + MINIMAL: "f.yaml:1: zzz is not known; expected project, tracking, state, events, record, redis, access,"
    " budgets, prices, prices_file, ledger, audit, traces, deploy, server, console, endpoints",
    MINIMAL + "\nfeatures: null": "f.yaml:2: features is not honoured by this release; leave it out",
    "server: {grpc_prt: 8081}\n" + MINIMAL: "f.yaml:1: server.grpc_prt is not known; did you mean grpc_port?",
    "endpoints:\n  churn:\n    model: m\n    features: {view: v}": (
        "f.yaml:4: endpoints.churn.features is not honoured by this release; leave it out"
    ),
    "endpoints:\n  churn:\n    model: m\n    resilience: {retires: 2}": (
        "f.yaml:4: endpoints.churn.resilience.retires is not known; did you mean retries?"
    ),
    "endpoints: {chat: {model: m, monitor: {psi: {warn: 0.1}}}}": (
        "f.yaml:1: endpoints.chat.monitor.psi is not honoured by this release; leave it out"
    ),
    "project: x": "f.yaml:1: endpoints is missing; give endpoints by the name that clients call",
    "endpoints: {}": "f.yaml:1: endpoints is {}; give endpoints by the name that clients call",
    "endpoints: {churn: 3}": "f.yaml:1: endpoints.churn is 3; expected a mapping",
    "endpoints:\n  a b: {model: m}": (
        "f.yaml:2: endpoints.a b: expected letters, digits, '.', '_' and '-', at most 128, beginning with a letter or "
        "digit"
    ),
    "server: {port: '80'}\n" + MINIMAL: 'f.yaml:1: server.port is "80"; expected a whole number',
    "server: {port: 70000}\n" + MINIMAL: "f.yaml:1: server.port is 70000; expected less than or equal to 65535",
    "server: {workers: true}\n" + MINIMAL: "f.yaml:1: server.workers is true; expected a whole number",
    "server: {grace: .inf}\n" + MINIMAL: "f.yaml:1: server.grace is Infinity; expected a finite number",
    "server: {grace: 1 week}\n" + MINIMAL: (
        'f.yaml:1: server.grace is "1 week"; expected a number of seconds, or a number with ms, s, m, h or d, as 10m'
    ),
    "endpoints: {c: {model: m, rollout: {gates: [error_rate, {name: x, margn: 1}]}}}": (
        "f.yaml:1: endpoints.c.rollout.gates[1].margn is not known; did you mean margin?"
    ),
    "endpoints: {c: {model: m, rollout: {steps: [5,\n x]}}}": (
        'f.yaml:2: endpoints.c.rollout.steps[1] is "x"; expected a number'
    ),
    "endpoints: {c: {model: m, rollout: {strategy: slow}}}": (
        "f.yaml:1: endpoints.c.rollout.strategy is \"slow\"; expected 'canary', 'blue-green' or 'shadow'"
    ),
    "endpoints: {c: {model: m, rollout: {sticky: user}}}": (
        'f.yaml:1: endpoints.c.rollout.sticky is "user"; expected header:NAME or field:NAME whose value decides which '
        "version a caller gets; empty: each call anew"
    ),
    'project: "\\ud800"\n' + MINIMAL: (
        "f.yaml:1: there is text in it that is not Unicode; write it without half of a surrogate pair"
    ),
    "- a": "f.yaml: a spec is a mapping with endpoints; `fairlead init` prints one",
    "": "f.yaml: a spec is a mapping with endpoints; `fairlead init` prints one",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_one_sentence_with_file_line_and_path(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text, "f.yaml")
    assert str(caught.value) == WRONG[text]


@pytest.mark.parametrize("part", NOT_HONOURED)
def test_nothing_is_both_a_field_and_not_honoured(part: type) -> None:
    assert not set(NOT_HONOURED[part]) & set(part.model_fields)  # type: ignore[attr-defined]


def test_a_spec_says_little_and_means_much() -> None:
    found = parse(MINIMAL, "f.yaml").spec
    assert (found.server.port, found.server.workers, found.record) == (8080, 1, None)
    churn = found.endpoints["churn"]
    assert churn.rollout.steps == (5.0, 25.0, 50.0, 100.0)
    assert [gate.name for gate in churn.rollout.gates] == ["error_rate", "latency_p99", "prediction_drift"]
    assert churn.retrain is None
    with pytest.raises(ValueError, match="frozen"):
        churn.threads = 2  # type: ignore[misc]


def test_gates_and_triggers_may_be_short() -> None:
    found = endpoint("rollout: {gates: [error_rate, {name: 'mean:revenue', margin: 2, higher_is_better: false}]}")
    assert [(one.name, one.margin) for one in found.rollout.gates] == [("error_rate", None), ("mean:revenue", 2.0)]
    retrain = endpoint("retrain: {pipeline: p.py, on: [drift, cron: 0 3 * * 1, data: 7d, 'data: 10']}").retrain
    assert retrain is not None
    assert retrain.on == ("drift", "cron: 0 3 * * 1", "data: 7d", "data: 10")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("250ms", 0.25), ("2s", 2.0), ("10m", 600.0), ("1.5h", 5400.0), ("30d", 2_592_000.0), (7, 7), (None, None)],
)
def test_lengths_of_time(text: object, expected: object) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "10", "m", "-3s", "3 s", "1w", "1e3s"])
def test_what_is_no_length_of_time(text: str) -> None:
    with pytest.raises(ValueError, match="10m"):
        seconds(text)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "fairlead.yaml"
    with pytest.raises(UsageError, match=r"No such file.*fairlead init > fairlead.yaml"):
        read(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not UTF-8"):
        read(path)
    path.write_bytes(b"#" * (2**20 + 1))
    with pytest.raises(UsageError, match="more than 1 MiB"):
        read(path)
    path.write_text(MINIMAL)
    assert isinstance(read(path).spec, Spec)
    assert read(path).at("endpoints", "churn", "threads") == f"{path}:1: endpoints.churn.threads"
