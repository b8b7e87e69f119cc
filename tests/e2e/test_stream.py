"""``fairlead stream`` as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

import services

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def server() -> Iterator[services.Service]:
    with services.redis() as service:
        yield service


@pytest.fixture
def client(server: services.Service) -> Iterator[Redis]:
    with Redis(port=server.port) as client:
        client.flushall()
        yield client


def worker(doubler: Path, port: int, environment: dict[str, str], *words: str) -> subprocess.Popen[str]:
    """A worker that is ready."""
    place = f"redis://127.0.0.1:{port}"
    command = [sys.executable, "-m", "fairlead", "stream", str(doubler), "--input", f"{place}/in", "--json", *words]
    process = subprocess.Popen(
        [*command, "--output", f"{place}/out", "--dead-letter", f"{place}/dead"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    assert process.stderr is not None
    for line in process.stderr:
        if '"event":"ready"' in line:
            return process
    raise AssertionError("not ready")


def until(client: Any, name: str, count: int) -> list[dict[bytes, bytes]]:
    ends = time.monotonic() + 30
    while client.xlen(name) < count and time.monotonic() < ends:
        time.sleep(0.02)
    return [fields for _, fields in client.xrange(name)]


def test_what_a_worker_does_is_shown_to_prometheus(
    doubler: Path, server: services.Service, client: Redis, environment: dict[str, str]
) -> None:
    for body in ('{"x": [1, 2]}', '{"x": [3, 4]}', "{"):
        client.xadd("in", {"body": body})
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    process = worker(doubler, server.port, environment, "--metrics-port", str(port))
    until(client, "out", 2)
    until(client, "dead", 1)
    url = f"http://127.0.0.1:{port}"
    assert (httpx.get(f"{url}/healthz").status_code, httpx.get(f"{url}/readyz").json()["ready"]) == (200, True)
    ends = time.monotonic() + 10
    while (shown := samples(httpx.get(f"{url}/metrics").text))["fairlead_stream_in_flight"] and time.monotonic() < ends:
        time.sleep(0.02)
    assert shown['fairlead_stream_messages_total,outcome="answered"'] == 2
    assert shown['fairlead_stream_messages_total,outcome="dead_lettered"'] == 1
    assert shown["fairlead_stream_received_total"] == 3
    assert shown["fairlead_stream_redelivered_total"] == shown["fairlead_stream_broker_away_total"] == 0
    assert shown['fairlead_stream_seconds_bucket,le="+Inf"'] == shown["fairlead_stream_seconds_count"] == 2
    assert 0 < shown["fairlead_stream_seconds_sum"] < 60
    assert shown["fairlead_batch_rows_sum"] == 2
    again = {**os.environ, **environment}
    second = subprocess.run(process.args, capture_output=True, text=True, check=False, env=again)
    assert second.returncode == 1
    assert f"127.0.0.1:{port} is in use by another process; stop it or choose another --metrics-port" in second.stdout
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 0


def samples(text: str) -> dict[str, float]:
    """Value by name, with the labels that are not those of the worker."""
    found = {}
    for line in text.splitlines():
        if line.startswith("fairlead_"):
            head, _, value = line.rpartition(" ")
            name, _, labels = head.rstrip("}").partition("{")
            own = [one for one in labels.split(",") if one and not one.startswith(("endpoint=", "group=", "version="))]
            found[",".join([name, *own])] = float(value)
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_worker_answers_until_a_signal_and_tells_its_counts(
    doubler: Path, server: services.Service, client: Redis, environment: dict[str, str], number: signal.Signals
) -> None:
    tensors = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [3, 4]}]}
    client.xadd("in", {"body": json.dumps({"x": [1, 2]}), "key": "c1", "traceparent": "00-a-b-01"})
    client.xadd("in", {"body": json.dumps(tensors)})
    client.xadd("in", {"body": "{"})
    process = worker(doubler, server.port, environment)
    row, v2 = sorted(until(client, "out", 2), key=lambda one: b"key" not in one)
    assert json.loads(row[b"body"]) == {"y": [2.0, 4.0]}
    assert (row[b"key"], row[b"traceparent"]) == (b"c1", b"00-a-b-01")
    assert json.loads(v2[b"body"])["outputs"][0]["data"] == [6.0, 8.0]
    (dead,) = until(client, "dead", 1)
    assert dead[b"body"] == b"{"
    assert dead[b"fairlead-error-code"] == b"malformed_body"
    process.send_signal(number)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    counts = json.loads(out)
    assert (counts["messages"], counts["answered"], counts["dead_lettered"], counts["unfinished"]) == (3, 2, 1, 0)
    assert counts["p99_ms"] is not None
    assert client.xpending("in", "doubler")["pending"] == 0


def test_a_worker_that_is_killed_leaves_its_messages_to_the_next(
    doubler: Path, server: services.Service, client: Redis, environment: dict[str, str]
) -> None:
    for value in range(500):
        client.xadd("in", {"body": json.dumps({"x": [value, 0]}), "x-request-id": str(value)})
    process = worker(doubler, server.port, environment)
    until(client, "out", 1)
    process.kill()
    process.communicate()
    for one in client.xpending_range("in", "doubler", "-", "+", 1000):  # as if half a minute had gone by
        client.xclaim("in", "doubler", one["consumer"], 0, [one["message_id"]], idle=60_000, justid=True)
    again = worker(doubler, server.port, environment)
    ends = time.monotonic() + 30
    seen: set[bytes] = set()
    while len(seen) < 500 and time.monotonic() < ends:
        seen = {fields[b"x-request-id"] for _, fields in client.xrange("out")}
        time.sleep(0.05)
    assert len(seen) == 500
    again.send_signal(signal.SIGTERM)
    again.communicate(timeout=30)
    assert again.returncode == 0


def test_a_replay_ends_by_itself(
    doubler: Path, server: services.Service, client: Redis, environment: dict[str, str], run: Run
) -> None:
    ids = [client.xadd("in", {"body": json.dumps({"x": [value, 0]})}) for value in range(10)]
    place = f"redis://127.0.0.1:{server.port}"
    words = ["stream", str(doubler), "--input", f"{place}/in", "--output", f"{place}/again"]
    done = run(*words, "--replay", ids[7].decode(), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["answered"] == 3
    assert [json.loads(one[b"body"])["y"][0] for one in until(client, "again", 3)] == [14, 16, 18]
    assert client.xinfo_groups("in") == []
    done = run(*words, "--replay", "1h")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("10 messages in ")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--input", "orders", "--output", "redis://h:1/x"], 2, "--input is 'orders'"),
        (["--input", "mqtt://h:1/x", "--output", "redis://h:1/x"], 2, "no broker for mqtt://"),
        (["--input", "redis://h:1/x", "--output", "redis://h:1/x"], 2, "would be answered again"),
        (["--input", "redis://127.0.0.1:9/x", "--output", "redis://127.0.0.1:9/y"], 1, "is Redis running there?"),
        (["--input", "nats://127.0.0.1:9/x", "--output", "nats://127.0.0.1:9/y"], 1, "is NATS with JetStream running"),
        (["--input", "redis://h:1/x", "--output", "redis://h:1/y", "--version", "2"], 2, "needs a registered model"),
        (["--input", "redis://h:1/x", "--output", "redis://h:1/y", "--group", "a b"], 2, "--group 'a b'"),
        (["--input", "redis://h:1/x", "--output", "redis://h:1/y", "--replay", "soon"], 2, "--replay is 'soon'"),
        (["--input", "redis://h:1/x", "--output", "redis://h:1/y", "--in-flight", "0"], 2, "--in-flight is 0"),
    ],
)
def test_what_cannot_be_is_one_sentence(run: Run, doubler: Path, words: list[str], code: int, said: str) -> None:
    done = run("stream", str(doubler), *words, "--json")
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert said in json.loads(done.stdout)["error"]


def test_a_stream_that_is_not_there_is_named(run: Run, doubler: Path, client: Redis, server: services.Service) -> None:
    place = f"redis://127.0.0.1:{server.port}"
    done = run("stream", str(doubler), "--input", f"{place}/absent", "--output", f"{place}/out")
    assert done.returncode == 1
    assert "there is no stream 'absent'" in done.stderr
    client.set("word", "x")
    done = run("stream", str(doubler), "--input", f"{place}/word", "--output", f"{place}/out")
    assert "is a string, not a stream" in done.stderr
