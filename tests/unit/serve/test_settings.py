"""Settings are checked once, at the boundary."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead.contracts.errors import InvalidParameter, UsageError
from fairlead.contracts.scaling import Scaling
from fairlead.serve.pipeline import timeout_ms
from fairlead.serve.settings import EndpointSettings, ServerSettings, endpoint_name


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("port", 70000, "port is 70000; expected 0 to 65535"),
        ("max_body", 0, "max body"),
        ("grace", -1, "grace"),
    ],
)
def test_server_limits(field: str, value: float, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        ServerSettings(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("host", "url"), [("127.0.0.1", "http://127.0.0.1:81"), ("::1", "http://[::1]:81"), ("box", "http://box:81")]
)
def test_the_address_that_clients_are_told(host: str, url: str) -> None:
    assert ServerSettings(host=host).url(81) == url


@pytest.mark.parametrize(
    "field",
    [
        "max_rows",
        "max_wait_ms",
        "queue_rows",
        "queue_calls",
        "deadline_ms",
        "threads",
        "workers",
        "processes",
        "hang_seconds",
    ],
)
def test_endpoint_limits(field: str) -> None:
    with pytest.raises(UsageError, match=field.partition("_")[0]):
        EndpointSettings(**{field: -1})


@pytest.mark.parametrize("name", ["churn", "a", "Churn-1.2_x", "9lives"])
def test_names_that_may_stand_in_a_url(name: str) -> None:
    assert endpoint_name(name) == name


@pytest.mark.parametrize("name", ["", "-x", "a/b", "a b", "a:predict", "ä", "x" * 129])
def test_names_that_may_not(name: str) -> None:
    with pytest.raises(UsageError, match="NAME=URI"):
        endpoint_name(name)


@pytest.mark.parametrize("value", ["0", "-1", "soon", "nan", "inf", "1e12", ""])
def test_time_outs_that_are_refused(value: str) -> None:
    with pytest.raises(InvalidParameter, match="x-request-timeout-ms"):
        timeout_ms(value)


def test_time_outs_that_are_taken() -> None:
    assert timeout_ms("250") == 250.0
    assert timeout_ms("0.5") == 0.5


@pytest.mark.parametrize("given", [{"executor": "gpu"}, {"processes": 2}, {"executor": "thread", "hang_seconds": 1.0}])
def test_executors_that_are_not_there_or_not_meant(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="executor"):
        EndpointSettings(**given)


@pytest.mark.parametrize("given", [{"env": "conda"}, {"env": "isolated", "executor": "thread"}])
def test_environments_that_are_not_there_or_not_meant(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="env .*(isolated|current)"):
        EndpointSettings(**given)


def test_a_model_with_libraries_of_its_own_has_processes() -> None:
    assert EndpointSettings(env="isolated", processes=2, hang_seconds=1.0).isolated
    assert not EndpointSettings().isolated


def test_nobody_waits_longer_for_a_process_than_a_call_may() -> None:
    assert EndpointSettings(deadline_ms=200).hang == pytest.approx(1.2)
    assert EndpointSettings(executor="process", hang_seconds=3).hang == 3


@pytest.mark.parametrize(
    ("replicas", "more", "told"),
    [
        (Scaling(3, 2), {}, "replicas are 3 to 2"),
        (Scaling(0, 0), {}, "replicas are 0 to 0"),
        (Scaling(0, 300), {}, "expected 0 to 256"),
        (Scaling(0, 2, target=0), {}, "target concurrency is 0"),
        (Scaling(0, 2, idle=0), {}, "idle ttl, seconds is 0"),
        (Scaling(0, 2, wake=0), {}, "wake deadline, seconds is 0"),
        (Scaling(0, 2), {"executor": "process", "processes": 2}, "leave processes out"),
        (Scaling(0, 2), {"executor": "thread"}, "more than one replica needs processes"),
    ],
)
def test_replicas_that_cannot_be(replicas: Scaling, more: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        EndpointSettings(replicas=replicas, **more)


def test_models_may_be_loaded_by_callers_of_this_machine_alone_unless_it_is_said() -> None:
    assert ServerSettings().controlled
    assert not ServerSettings(host="0.0.0.0").controlled
    assert ServerSettings(host="0.0.0.0", model_control=True).controlled
    assert not ServerSettings(model_control=False).controlled
