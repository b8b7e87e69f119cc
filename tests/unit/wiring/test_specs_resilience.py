"""What a spec says about breakers, retries and fallbacks, and what of it is refused, with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.contracts.errors import UsageError
from fairlead.kit.config import home
from fairlead.serve.resilience.backoff import Backoff
from fairlead.serve.resilience.breaker import BreakerPolicy
from fairlead.serve.resilience.policy import Another, Cached, Constant, Older, Safety
from fairlead.wiring import specs
from fairlead.wiring.serving import named

WHOLE = """
endpoints:
  churn:
    model: models:/churn@champion
    resilience:
      retries: 2
      retry_on: [unavailable, model_failed]
      backoff: {base: 20ms, cap: 2s, jitter: 0}
      retry_budget: 0.1
      breaker: {fail_max: 3, cooldown: 10s, failure_rate: 50%, slow_call: 2s, slow_call_rate: 0.8, window: 50}
      fallback: [cache, {cache: {ttl: 1h, max_mb: 2}}, {endpoint: small}, {version: "3"}, {value: {p: 0.27, v: [1, 2]}}]
      reserve: 30%
  small: {model: ./small.onnx}
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "f.yaml"
    path.write_text(text)
    return path


def test_everything_that_can_be_said(tmp_path: Path) -> None:
    text = WHOLE.replace("cache, {cache", "{cache")
    file = specs.read(write(tmp_path, text))
    plan = specs.plan(file.spec, home(tmp_path), file)
    churn, small = plan.targets
    assert churn.safety == Safety(
        BreakerPolicy(3, 10.0, 0.5, 2.0, 0.8, 50),
        (Cached(3600.0, 2 * 2**20), Another("small"), Older("3"), Constant({"p": 0.27, "v": [1, 2]})),
        0.3,
        2,
        True,
        Backoff(0.02, 2.0, 0.0),
        0.1,
        tuple(f"{tmp_path}/f.yaml:11: endpoints.churn.resilience.fallback[{place}]" for place in range(4)),
    )
    assert [rung.name for rung in churn.safety.fallback] == ["cache", "endpoint:small", "version:3", "value"]
    assert small.safety.off
    assert [one.name for one in named(plan.targets)] == ["small", "churn"], "loaded behind what it falls back to"


def test_an_endpoint_that_can_fall_back_is_kept_off_the_event_loop(tmp_path: Path) -> None:
    file = specs.read(write(tmp_path, "endpoints:\n  a: {model: ./a.onnx, resilience: {fallback: [cache]}}\n"))
    assert specs.settings(file.spec.endpoints["a"]).guarded
    other = specs.read(write(tmp_path, "endpoints:\n  a: {model: ./a.onnx, resilience: {breaker: {}}}\n"))
    assert not specs.settings(other.spec.endpoints["a"]).guarded


WRONG = {
    "{fallback: [cash]}": 'f.yaml:4: endpoints.a.resilience.fallback[0] is "cash"; expected cache, or one of',
    "{fallback: [{}]}": "fallback[0] is {}; give one of cache, endpoint, version, value; found none of them",
    '{fallback: [{endpoint: b, version: "1"}]}': "found endpoint and version",
    "{fallback: [{endpoint: bb}]}": "fallback[0] names the endpoint 'bb', and there is none",
    "{fallback: [{endpoint: a}]}": "fallback[0] is the endpoint itself; name another one, or a version",
    '{fallback: [{version: "2"}]}': "fallback[0] needs a registered model, models:/NAME",
    "{fallback: [{version: 2}]}": "fallback[0].version is 2; expected text",
    "{fallback: [cache, {cache: {ttl: 1h}}]}": "fallback[1] is cache once more",
    "{fallback: [{value: {y: 1}}, cache]}": "fallback[1] is never asked: ",
    "{reserve: 10%}": "resilience.reserve keeps time for fallbacks, and there is none",
    "{fallback: [cache], reserve: 95%}": "resilience.reserve is 0.95; expected",
    "{fallback: [cache], reserve: some}": "expected a share from 0 to 1, or percent, as 20%",
    "{breaker: {fail_max: 0}}": "f.yaml:4: endpoints.a.resilience.breaker: fail_max is 0",
    "{breaker: {minimum_calls: 200}}": "minimum_calls is 200 and window 100",
    "{breaker: {slow_call: 1s}}": "slow_call is set and slow_call_rate is not",
    "{breaker: {failures: 3}}": "resilience.breaker.failures is not known",
    "{retry_on: [model_failed]}": "resilience.retry_on is about retries, and there are none",
    "{retry_budget: 0.1}": "resilience.retry_budget is about retries, and there are none",
    "{retries: 1, backoff: {base: 2s}}": "cap is 1 seconds, shorter than base, 2",
}


@pytest.mark.parametrize("safety", WRONG)
def test_what_cannot_be_is_refused_with_its_line(tmp_path: Path, safety: str) -> None:
    text = f"endpoints:\n  b: {{model: ./b.onnx}}\n  a: {{model: ./a.onnx,\n    resilience: {safety}}}\n"
    with pytest.raises(UsageError) as caught:
        specs.read(write(tmp_path, text))
    assert WRONG[safety] in str(caught.value).replace(f"{tmp_path}/", "")


def test_a_fallback_to_the_version_that_serves_is_refused(tmp_path: Path) -> None:
    text = 'endpoints:\n  a: {model: models:/a/3, resilience: {fallback: [{version: "3"}]}}\n'
    with pytest.raises(UsageError, match=r"f.yaml:2: .*fallback\[0\] is the version that the endpoint serves"):
        specs.read(write(tmp_path, text))


def test_endpoints_that_fall_back_to_each_other_are_refused(tmp_path: Path) -> None:
    text = """endpoints:
  a: {model: ./a.onnx, resilience: {fallback: [{endpoint: b}]}}
  b: {graph: {steps: {s: {endpoint: a}}}}
"""
    with pytest.raises(UsageError, match="in a circle: a calls b, b calls a"):
        specs.read(write(tmp_path, text))


def test_retries_of_an_upstream_are_the_fleets(tmp_path: Path) -> None:
    text = "endpoints:\n  a: {upstream: {urls: ['http://a:1']}, resilience: {retries: 2, breaker: {}}}\n"
    safety = specs.target("a", specs.read(write(tmp_path, text)).spec.endpoints["a"]).safety
    assert (safety.retries, safety.off) == (0, False)
    text = "endpoints:\n  a: {upstream: {urls: ['http://a:1']}, resilience: {retries: 2, retry_on: [unavailable]}}\n"
    with pytest.raises(UsageError, match="retry_on is decided by what other servers answer"):
        specs.read(write(tmp_path, text))
