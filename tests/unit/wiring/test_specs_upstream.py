"""Endpoints of a spec whose model runs on other servers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fairlead.contracts.errors import UsageError
from fairlead.kit.spec.read import parse
from fairlead.kit.spec.spec import Endpoint
from fairlead.package.sources import Kind
from fairlead.package.sources import parse as source
from fairlead.serve.remote.settings import Hedge, Outlying, Upstream
from fairlead.serve.resilience.backoff import Backoff
from fairlead.serve.settings import EndpointSettings
from fairlead.wiring import serving, specs, specs_course, specs_upstream

SPEC = """
endpoints:
  fraud:
    upstream:
      urls: [http://10.0.0.5:8000, grpc://10.0.0.6:8001]
      version: "3"
      connections: 8
      retries: 2
      eject: {failures: 4, seconds: 1m}
    deadline_ms: 200
    batching: {max_rows: 16}
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "f.yaml"
    path.write_text(text)
    return path


def test_what_the_spec_says_reaches_the_target(tmp_path: Path) -> None:
    file = specs.read(write(tmp_path, SPEC))
    one = specs.target("fraud", file.spec.endpoints["fraud"])
    assert one.name == "fraud"
    assert one.uri == "oip+http://10.0.0.5:8000,grpc://10.0.0.6:8001/fraud/3"
    assert one.settings == EndpointSettings(max_rows=16, deadline_ms=200)
    assert one.upstream is not None
    assert (one.upstream.connections, one.upstream.retries) == (8, 2)
    assert (one.upstream.failures, one.upstream.seconds, one.upstream.version) == (4, 60, "3")
    assert specs_course.courses(file.spec) == [], "it has no other versions"


def test_what_the_spec_does_not_say_is_what_the_command_line_means() -> None:
    spec = parse("endpoints: {fraud: {upstream: {urls: [http://a:1]}}}", "f.yaml").spec
    (told,) = serving.targets(["oip+http://a:1/fraud"])
    assert specs_upstream.upstream("fraud", spec.endpoints["fraud"]) == told.upstream
    assert serving.named([told])[0].name == "fraud"
    assert told.upstream is not None
    assert told.upstream.version == "upstream"


def test_a_uri_of_a_model_elsewhere_names_no_bytes() -> None:
    found = source("oip+grpc://a:1,b:2/fraud/3")
    assert (found.kind, found.name, found.model, found.path) == (Kind.UPSTREAM, "fraud", "", None)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("model: ./m.onnx", "endpoints.fraud: give one of model, graph, upstream, .*; found model and upstream"),
        ("executor: thread", "endpoints.fraud.executor is decided by the servers that run the model; leave it out"),
        ("trust_pickle: true", "endpoints.fraud.trust_pickle is decided by the servers"),
        ("rollout: {steps: [100]}", "rollout needs a model that has other versions: .*oip.http://a:1/fraud is none"),
        ("retrain: {pipeline: p.py}", "retrain needs a model that has other versions"),
    ],
    ids=["two sources", "executor", "trust", "rollout", "retrain"],
)
def test_what_cannot_be_honoured_is_refused(tmp_path: Path, more: str, words: str) -> None:
    text = f"endpoints:\n  fraud:\n    upstream: {{urls: ['http://a:1']}}\n    {more}\n"
    with pytest.raises(UsageError, match=words):
        specs.read(write(tmp_path, text))


@pytest.mark.parametrize(
    ("upstream", "words"),
    [
        ("{}", "upstream.urls is missing"),
        ("{urls: []}", "upstream.urls is"),
        (
            "{urls: ['10.0.0.5:8000']}",
            "f.yaml:2: endpoints.fraud.upstream: '10.0.0.5:8000' is no address; give http://",
        ),
        ("{urls: ['http://a:1', 'http://a:1/']}", "is given twice"),
        ("{urls: ['http://a:1'], ca: ca.pem}", "no address has TLS"),
        ("{urls: ['http://a:1'], retires: 1}", "retires is not known; did you mean retries"),
        ("{urls: ['http://a:1'], connections: 0}", "connections is 0"),
    ],
)
def test_what_is_wrong_with_it_is_said_with_its_place(tmp_path: Path, upstream: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        specs.read(write(tmp_path, f"endpoints:\n  fraud: {{upstream: {upstream}}}\n"))


def test_an_endpoint_without_a_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give one of model, graph, upstream, .*; found none of them"):
        specs.read(write(tmp_path, "endpoints: {fraud: {deadline_ms: 5}}"))


def test_the_defaults_of_the_spec_are_those_of_the_room() -> None:
    endpoint = Endpoint.model_validate({"upstream": {"urls": ("http://a:1",)}})
    made = specs_upstream.upstream("fraud", endpoint)
    assert made is not None
    assert made == Upstream(made.remote)


RESILIENT = """
endpoints:
  fraud:
    upstream: {urls: [http://10.0.0.5:8000, http://10.0.0.6:8000]}
    resilience:
      retries: 2
      backoff: {base: 20ms, cap: 2s, jitter: 0}
      retry_budget: 0.1
      hedge: {quantile: 0.99}
      eject: {failures: 3, seconds: 10s, errors: 0.4, slower: 0, most: 0.3}
"""


def test_resilience_reaches_the_target(tmp_path: Path) -> None:
    file = specs.read(write(tmp_path, RESILIENT))
    one = specs.target("fraud", file.spec.endpoints["fraud"]).upstream
    assert one is not None
    assert (one.retries, one.backoff, one.budget, one.idempotent) == (2, Backoff(0.02, 2.0, 0.0), 0.1, True)
    assert (one.failures, one.seconds) == (3, 10)
    assert one.hedge == Hedge(0.99, 0.05)
    assert one.outlying == Outlying(errors=0.4, slower=0, most=0.3)


@pytest.mark.parametrize(
    ("safety", "words"),
    [
        (
            "{retries: 2}",
            "f.yaml:6: endpoints.fraud.resilience.retries and f.yaml:4: endpoints.fraud.upstream.retries say the same",
        ),
        (
            "{eject: {failures: 2}}",
            "f.yaml:6: endpoints.fraud.resilience.eject and f.yaml:5: endpoints.fraud.upstream.eject say the same",
        ),
        ("{hedge: {}}", "f.yaml:6: endpoints.fraud.resilience.hedge: hedge asks another address, and there is one"),
        ("{backoff: {base: 2s}}", "f.yaml:6: endpoints.fraud.resilience.backoff: cap is 1 seconds, shorter than base"),
        ("{hedge: {quantile: 0.9, after: 1s}}", "resilience.hedge.after both say when the second request is sent"),
        ("{idempotent: false, hedge: {}}", "hedge sends a call twice, and idempotent is false"),
        ("{retry_budget: 1.5}", "resilience.retry_budget is 1.5; expected"),
    ],
)
def test_resilience_that_contradicts_itself_is_refused(tmp_path: Path, safety: str, words: str) -> None:
    urls = "['http://a:1', 'http://b:1']" if "after" in safety else "['http://a:1']"
    text = f"""endpoints:
  fraud:
    upstream: {{urls: {urls},
      retries: 1,
      eject: {{failures: 3}}}}
    resilience: {safety}
"""
    with pytest.raises(UsageError) as caught:
        specs.read(write(tmp_path, text))
    assert words in str(caught.value).replace(f"{tmp_path}/", "")


@pytest.mark.parametrize("part", ["idempotent: false", "hedge: {}", "eject: {}"])
def test_what_needs_other_servers_is_refused_without_them(tmp_path: Path, part: str) -> None:
    (name,) = re.findall(r"^\w+", part)
    with pytest.raises(UsageError, match=f"f.yaml:2: endpoints.m.resilience.{name} .* answered here; leave it out"):
        specs.read(write(tmp_path, f"endpoints:\n  m: {{model: ./m.onnx, resilience: {{{part}}}}}\n"))
