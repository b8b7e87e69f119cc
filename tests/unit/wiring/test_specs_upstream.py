"""Endpoints of a spec whose model runs on other servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.contracts.errors import UsageError
from fairlead.kit.spec.read import parse
from fairlead.kit.spec.spec import Endpoint
from fairlead.package.sources import Kind
from fairlead.package.sources import parse as source
from fairlead.serve.remote.settings import Upstream
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
        ("model: ./m.onnx", "endpoints.fraud: give one of model, graph, upstream; found model and upstream"),
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
    with pytest.raises(UsageError, match="give one of model, graph, upstream; found none of them"):
        specs.read(write(tmp_path, "endpoints: {fraud: {deadline_ms: 5}}"))


def test_the_defaults_of_the_spec_are_those_of_the_room() -> None:
    endpoint = Endpoint.model_validate({"upstream": {"urls": ("http://a:1",)}})
    made = specs_upstream.upstream("fraud", endpoint)
    assert made is not None
    assert made == Upstream(made.remote)
