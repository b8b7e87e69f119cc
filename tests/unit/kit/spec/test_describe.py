from __future__ import annotations

import re

import jsonschema
import pytest

from fairlead.kit.spec import describe, document
from fairlead.kit.spec.read import parse
from fairlead.kit.spec.spec import SPEAKING

TWO = {
    "project": "shop",
    "server": {"port": 9000},
    "endpoints": {"churn": {"model": "models:/churn@champion"}, "digits": {"model": "./digits.onnx", "threads": 2}},
}


def test_a_sample_is_a_spec_that_says_what_it_was_given() -> None:
    assert parse(describe.sample(TWO), "f.yaml").spec.model_dump(exclude_unset=True) == TWO


def test_every_field_stands_in_a_sample_and_may_be_uncommented() -> None:
    text = describe.sample(TWO).partition("\n\n")[2]
    whole = re.sub(r"(?m)^( *)# (?= *\w+:)", r"\1", re.sub(r"(?m)^ *# upstream:.*\n", "", text))
    churn = parse(whole, "f.yaml").spec.endpoints["churn"]
    assert churn.model_fields_set == set(type(churn).model_fields) - {
        "graph",
        "upstream",
        "llm",
        "embedding",
        *SPEAKING,
    }, "it is one of these or a model"
    assert churn.rollout.model_fields_set == set(type(churn.rollout).model_fields)
    assert "#" not in text.partition("  digits:")[2], "the second endpoint has no comments"


VALID = [
    "endpoints: {churn: {model: m}}",
    "endpoints: {churn: {model: m, rollout: {gates: [error_rate, {name: latency_p50, margin: 2}], min_seconds: 10m}}}",
    "endpoints: {churn: {model: m, retrain: {pipeline: p.py, on: [drift, {data: 7d}], cooldown: 3600}}}",
    "endpoints: {churn: {upstream: {urls: ['http://a:1'], eject: {seconds: 1m}}}}",
    "endpoints: {churn: {model: m, resilience: {fallback: [cache, {cache: {ttl: 1h}}, {value: {p: 1}}]}}}",
    "endpoints: {churn: {model: m, resilience: {breaker: {failure_rate: 50%, cooldown: 1m}}}}",
    "endpoints: {a: {llm: {engine: echo}, route: {fallback: [b]}}, b: {route: {replicas: [c]}}}",
    "endpoints: {a: {cascade: {steps: [b, c]}}, b: {route: {replicas: [c]}, cascade: {steps: [c, b]}}}",
    "{server: {tls: {cert: a.pem}, grace: 2s}, record: true, endpoints: {churn: {model: m}}}",
]
INVALID = [
    "endpoints: {churn: {model: m, route: {replicas: [a]}}}",
    "endpoints: {churn: {upstream: {urls: ['http://a:1']}, scheduling: {queue: 5}}}",
    "endpoints: {churn: {scheduling: {queue: 5}}}",
    "endpoints: {churn: {cascade: {steps: [a]}}}",
    "endpoints: {churn: {model: m, resilience: {fallback: [cash]}}}",
    "endpoints: {churn: {model: m, resilience: {breaker: {failure_rate: 2}}}}",
    "endpoints: {}",
    "endpoints: {churn: {}}",
    "endpoints: {churn: {model: m, upstream: {urls: ['http://a:1']}}}",
    "endpoints: {churn: {upstream: {urls: []}}}",
    "endpoints: {churn: {model: m, replicas: 2}}",
    "endpoints: {churn: {model: m, rollout: {min_seconds: soon}}}",
    "endpoints: {churn: {model: m, threads: -1}}",
    "endpoints: {churn: {model: m, rollout: {gates: [{margin: 1}]}}}",
]


@pytest.mark.parametrize("text", [*VALID, *INVALID])
def test_the_schema_and_the_reader_agree(text: str) -> None:
    schema = describe.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    found = list(jsonschema.Draft202012Validator(schema).iter_errors(document.parse(text, "f.yaml")[0]))
    assert bool(found) == (text in INVALID)
    if text in VALID:
        parse(text, "f.yaml")


def test_every_field_has_a_meaning_and_a_row() -> None:
    rows = describe.table().splitlines()[2:]
    assert len(rows) > 60
    for row in rows:
        path, kind, default, meaning = (cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1])
        assert re.fullmatch(r"`[\w.\[\]]+`", path), row
        assert kind, row
        assert default or kind == "mapping", row
        assert len(meaning) > 10, row
