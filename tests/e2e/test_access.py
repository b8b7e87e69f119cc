"""Keys as a user has them: made on the command line, shown to a server of several workers, taken back."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from fairlead.client import Client
from fairlead.contracts.errors import Forbidden, NotFound, Unauthenticated

Run = Callable[..., Any]
Start = Callable[..., Any]

BODY = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}


def key_of(run: Run, *words: str) -> str:
    done = run("keys", *words, "--json")
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["key"])


def until(status: int, url: str, shown: dict[str, str], count: int = 30) -> float:
    """Seconds until ``count`` requests in a row, each on its own connection and so on any worker, had this status."""
    began, row, turned = time.monotonic(), 0, 0.0
    while row < count:
        assert time.monotonic() - began < 15
        found = httpx.post(f"{url}/v2/models/doubler/infer", json=BODY, headers=shown).status_code
        assert found in (200, 401)
        if found != status:
            row = 0
        else:
            turned, row = (time.monotonic() if not row else turned), row + 1
    return turned - began


def test_every_worker_knows_of_made_rotated_and_revoked_keys(start: Start, run: Run, doubler: Path) -> None:
    server = start("serve", str(doubler), "--port", "0", "--workers", "2", "--access")
    url = server.url(90)
    assert httpx.get(f"{url}/readyz").json() == {"live": True, "ready": True}
    assert httpx.post(f"{url}/v2/models/doubler/infer", json=BODY).status_code == 401
    first = key_of(run, "create", "--name", "web", "--scope", "doubler:predict")
    admin = {"x-api-key": key_of(run, "create", "--name", "ops", "--scope", "doubler:admin")}
    shown = {"authorization": f"Bearer {first}"}
    assert until(200, url, shown) < 1.5
    load = f"{url}/v2/repository/models/doubler/load"
    assert [httpx.post(load, headers=one, timeout=30).status_code for one in (shown, admin)] == [403, 200]
    second = key_of(run, "rotate", "web", "--overlap", "1h")
    assert second != first
    assert until(200, url, {"api-key": second}) < 1.5
    assert until(200, url, shown) < 0.5  # it holds beside the new one
    with httpx.Client(base_url=url) as kept:  # a connection that is kept, a head that is remembered
        assert kept.post("/v2/models/doubler/infer", json=BODY, headers=shown).status_code == 200
        began = time.monotonic()
        done = run("keys", "revoke", "web")
        assert done.returncode == 0, done.stderr
        revoked = time.monotonic()
        assert until(401, url, shown) < 1.0
        assert until(401, url, {"api-key": second}) < 1.0
        assert time.monotonic() - began < 20
        assert revoked > began
        assert kept.post("/v2/models/doubler/infer", json=BODY, headers=shown).status_code == 401
    assert server.stop() == 0
    assert not [line for line in server.lines if first in line or second in line]


def test_a_key_with_its_client(start: Start, run: Run, doubler: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = key_of(run, "create", "--name", "web", "--scope", "doubler:predict")
    url = start("serve", str(doubler), "--port", "0", "--access").url(90)
    with Client(url, key=key) as client:
        assert client.predict("doubler", [[1.0, 2.0]]).only.tolist() == [[2.0, 4.0]]
        assert client.endpoints() == ["doubler"]
        with pytest.raises(NotFound, match="there is no endpoint 'other'"):
            client.predict("other", [[1.0, 2.0]])
    monkeypatch.setenv("FAIRLEAD_API_KEY", key)
    with Client(url) as client:
        assert client.ready()
        assert client.predict("doubler", [[1.0, 2.0]]).version == "1"
    with Client(url, key="") as client, pytest.raises(Unauthenticated, match="known callers only"):
        client.predict("doubler", [[1.0, 2.0]])
    done = run("doctor", url, FAIRLEAD_API_KEY=key)
    assert done.returncode == 0, done.stdout + done.stderr
    other = key_of(run, "create", "--name", "looks", "--scope", "doubler:describe")
    time.sleep(1)
    with Client(url, key=other) as client, pytest.raises(Forbidden, match="it needs the scope doubler:predict"):
        client.predict("doubler", [[1.0, 2.0]])
    done = run("doctor", url)
    assert (done.returncode, "known callers only" in done.stderr) == (1, True)


def test_status_sees_what_runs_here(start: Start, run: Run, doubler: Path, tmp_path: Path) -> None:
    spec = tmp_path / "fairlead.yaml"
    spec.write_text(
        f"record: false\naccess: {{required: true}}\nserver: {{port: 0}}\nendpoints: {{d: {{model: {doubler}}}}}"
    )
    url = start("up").url(90)
    assert httpx.get(f"{url}/v2/models/d").status_code == 401
    done = run("status", "--json")
    assert done.returncode == 0, done.stdout
    told: dict[str, Any] = json.loads(done.stdout)
    assert [one["name"] for one in told["endpoints"]] == ["d"]
    local = tmp_path / "home" / "local.key"
    assert local.stat().st_mode & 0o777 == 0o600
    shown = {"x-api-key": local.read_text().strip()}
    assert httpx.post(f"{url}/v2/models/d/infer", json=BODY, headers=shown).status_code == 403  # it looks, no more
    assert httpx.get(f"{url}/metrics", headers=shown).status_code == 200


def test_a_store_that_goes_away_changes_nothing(start: Start, run: Run, doubler: Path, tmp_path: Path) -> None:
    key = key_of(run, "create", "--name", "web", "--scope", "doubler:predict", "--scope", "*:metrics")
    url = start("serve", str(doubler), "--port", "0", "--access").url(90)
    shown = {"x-api-key": key}
    state = tmp_path / "home" / "state.db"
    holding = sqlite3.connect(state)
    holding.execute("drop table state_documents")
    holding.commit()
    holding.close()
    ends = time.monotonic() + 10
    while "troubles" not in (told := httpx.get(f"{url}/readyz", headers=shown).json()):
        assert time.monotonic() < ends
        time.sleep(0.1)
    assert "those that were known hold" in told["troubles"][0]
    assert "troubles" not in httpx.get(f"{url}/readyz").json()
    assert httpx.post(f"{url}/v2/models/doubler/infer", json=BODY, headers=shown).status_code == 200


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--host", "0.0.0.0"), "--insecure where something in front of the server asks"),
        (("--access", "--insecure"), "leave one of them out"),
    ],
)
def test_a_server_that_is_open_to_everybody_is_refused(
    run: Run, doubler: Path, words: tuple[str, ...], says: str
) -> None:
    done = run("serve", str(doubler), "--port", "0", *words)
    assert done.returncode == 2
    assert says in done.stderr


def test_insecure_is_an_answer(start: Start, doubler: Path) -> None:
    server = start("serve", str(doubler), "--port", "0", "--host", "0.0.0.0", "--insecure")
    port = server.url(90).rpartition(":")[2]
    assert httpx.post(f"http://127.0.0.1:{port}/v2/models/doubler/infer", json=BODY).status_code == 200


def test_faults_with_a_key_are_injected_and_written_down(start: Start, run: Run, doubler: Path) -> None:
    key = key_of(run, "create", "--name", "ops", "--scope", "doubler:admin")
    url = start("serve", str(doubler), "--port", "0", "--access", "--chaos").url(90)
    words = ("chaos", "doubler", "--url", url, "--inject", "error:100%", "--for", "1500ms")
    refused = run(*words)
    assert (refused.returncode, "known callers only" in refused.stderr) == (1, True), refused.stderr
    done = run(*words, FAIRLEAD_API_KEY=key)
    assert done.returncode == 0, done.stderr
    deadline = time.monotonic() + 10
    while len(told := acts(run)) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert [(one["actor"], one["action"], one["endpoint"]) for one in told] == [
        ("ops", "chaos.begin", "doubler"),
        ("ops", "chaos.stop", "doubler"),
    ]
    assert told[0]["detail"]["inject"] == "error:100%"


def acts(run: Run) -> list[dict[str, Any]]:
    lines = run("audit", "tail", "-n", "50", "--json").stdout.splitlines()
    return [one for one in map(json.loads, lines) if one["action"].startswith(("chaos", "admin"))]
