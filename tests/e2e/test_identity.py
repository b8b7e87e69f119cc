"""Callers who show a token or a certificate, at the server that a user starts; renewed certificates in every worker."""

from __future__ import annotations

import hashlib
import hmac
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from tritonclient.grpc import service_pb2

from authority import Authority
from fairlead.kit.codec import protos
from oidc import Provider, Signer, part, provider, unsigned

BODY = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0]}]}


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.1)


def infer(client: httpx.Client, token: str = "", endpoint: str = "echo", **headers: str) -> int:
    shown = {"authorization": f"Bearer {token}"} if token else {}
    return client.post(f"/v2/models/{endpoint}/infer", json=BODY, headers={**shown, **headers}).status_code


@pytest.mark.slow
def test_tokens_of_a_provider(start: Any, doubler: Path, tmp_path: Path) -> None:
    with provider() as issuer:
        (tmp_path / "f.yaml").write_text(
            f"""
record: false
server: {{port: 0, workers: 2, grpc_port: 0}}
access:
  jwt: {{issuer: "{issuer.issuer}", audience: fairlead, clock_skew: 1s, refresh: 5s}}
endpoints:
  echo: {{model: {doubler}}}
  other: {{model: {doubler}}}
"""
        )
        process = start("up", "f.yaml")
        with httpx.Client(base_url=process.url(90), timeout=10) as client:
            _holds(client, issuer, process)
            _rotates(client, issuer)
        assert process.stop() == 0


def _holds(client: httpx.Client, issuer: Provider, process: Any) -> None:
    now, good = int(time.time()), issuer.token()
    assert infer(client, good) == 200
    assert infer(client, good, **{"x-request-id": "a", "content-encoding": "identity"}) == 200  # the long way
    assert infer(client, good, "other") == infer(client, good, "none") == 404
    assert infer(client, issuer.token(scope="*:describe")) == 403
    assert client.get("/metrics", headers={"authorization": f"Bearer {good}"}).status_code == 403
    bad = {
        "expired": issuer.token(exp=now - 2),
        "not yet": issuer.token(nbf=now + 60),
        "wrong audience": issuer.token(aud="somebody"),
        "wrong issuer": issuer.token(iss="https://evil.example.com"),
        "alg none": unsigned(issuer.claims()),
        "public key as secret": _confused(issuer),
        "unknown kid": Signer("nobody").token(issuer.claims()),
        "another key": Signer("one").token(issuer.claims()),
        "broken": good[:-4] + "AAAA",
    }
    answers = {}
    for what, token in bad.items():
        for headers in ({}, {"content-encoding": "identity"}):
            shown = {"authorization": f"Bearer {token}", "x-request-id": "same", **headers}
            reply = client.post("/v2/models/echo/infer", json=BODY, headers=shown)
            assert reply.status_code == 401, what
            answers[reply.text] = what
    assert len(answers) == 1  # nobody learns what was wrong
    address = next(str(event["address"]) for event in process.events if event["event"] == "grpc")
    with grpc.insecure_channel(address) as channel:
        assert _grpc(channel, good) is grpc.StatusCode.OK
        for what, token in bad.items():
            assert _grpc(channel, token) is grpc.StatusCode.UNAUTHENTICATED, what
    short = issuer.token(exp=int(time.time()) + 1)
    assert infer(client, short) == 200
    until(lambda: infer(client, short) == 401)


def _confused(issuer: Provider) -> str:
    """The public key taken for a shared secret."""
    signed = f"{part({'alg': 'HS256', 'kid': 'one'})}.{part(issuer.claims())}"
    return f"{signed}.{part(hmac.new(issuer.signers[0].pem, signed.encode(), hashlib.sha256).digest())}"


def _rotates(client: httpx.Client, issuer: Provider) -> None:
    old = issuer.token()
    issuer.signers.insert(0, Signer("two", "ES256"))
    fresh = issuer.token()
    until(lambda: all(infer(client, fresh) == 200 for _ in range(8)))  # both workers
    assert infer(client, old) == 200
    issuer.signers.pop()  # the old key is taken back
    until(lambda: all(infer(client, old) == 401 for _ in range(8)))
    assert infer(client, fresh) == 200
    issuer.stop()  # the provider is down

    def told() -> bool:
        found = client.get("/readyz", headers={"authorization": f"Bearer {issuer.token(scope='*:*')}"}).text
        return "those of before are used" in found

    until(told)
    assert infer(client, fresh) == 200
    assert infer(client, issuer.token(sub="new")) == 200
    issuer.start()
    until(lambda: not told())


def _grpc(channel: grpc.Channel, token: str = "") -> grpc.StatusCode:
    request = service_pb2.ModelInferRequest(model_name="echo")
    tensor = request.inputs.add(name="x", datatype="FP32", shape=[1, 2])
    tensor.contents.fp32_contents.extend([1.0, 2.0])
    call = channel.unary_unary(f"/{protos.SERVICES[protos.OIP]}/ModelInfer")
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    try:
        call(request.SerializeToString(), metadata=metadata, timeout=10)
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()  # type: ignore[attr-defined]
        return code
    return grpc.StatusCode.OK


def test_a_provider_that_is_down_when_the_server_starts(start: Any, doubler: Path, tmp_path: Path) -> None:
    with provider() as issuer:
        issuer.stop()
        (tmp_path / "f.yaml").write_text(
            f"""
record: false
server: {{port: 0}}
access: {{jwt: {{issuer: "{issuer.issuer}", audience: fairlead}}}}
endpoints: {{echo: {{model: {doubler}}}}}
"""
        )
        process = start("up", "f.yaml")
        with httpx.Client(base_url=process.url(90), timeout=10) as client:
            assert infer(client, issuer.token()) == 503  # it may hold: nobody knows
            assert infer(client, "x.y.z") == infer(client) == 401
            issuer.start()
            until(lambda: infer(client, issuer.token()) == 200)


@pytest.mark.slow
def test_certificates(start: Any, doubler: Path, tmp_path: Path) -> None:
    authority, other = Authority(tmp_path), Authority(tmp_path, "other")
    server = authority.issue("server")
    (tmp_path / "f.yaml").write_text(
        f"""
record: false
server:
  port: 0
  grpc_port: 0
  workers: 2
  tls: {{cert: {server}, client_ca: {authority.ca}}}
access:
  certificates:
    - {{san: "spiffe://prod/shop", scopes: ["echo:predict"], tenant: shop}}
    - {{san: Ops.Example.com, scopes: ["*:*"]}}
    - {{cn: batch, scopes: ["echo:describe"]}}
endpoints:
  echo: {{model: {doubler}}}
"""
    )
    process = start("up", "f.yaml")
    url = process.url(90)
    address = next(str(event["address"]) for event in process.events if event["event"] == "grpc")
    for name, san, cn, expected, metrics in (
        ("shop", ("spiffe://prod/shop",), "", 200, 403),
        ("two", ("nobody.example.com", "spiffe://prod/shop"), "", 200, 403),
        ("ops", ("ops.example.com",), "", 200, 200),
        ("batch", (), "batch", 403, 403),
        ("stranger", ("spiffe://prod/shop2",), "ops.example.com", 401, 401),
        ("longer", ("spiffe://prod/shop/x", "x.ops.example.com"), "Batch", 401, 401),
    ):
        pem = authority.issue(name, *san, cn=cn)
        trust = ssl.create_default_context(cafile=str(authority.ca))
        trust.load_cert_chain(pem)
        with httpx.Client(base_url=url, verify=trust, timeout=10) as client:
            for headers in ({}, {"content-encoding": "identity"}):
                for _ in range(2):
                    assert infer(client, **headers) == expected, (name, headers)
            assert client.get("/metrics").status_code == metrics, name
            assert client.get("/healthz").status_code == 200
            assert infer(client, "x.y.z") == 401  # a token that does not hold is not made up for
        data = pem.read_bytes()
        made = grpc.ssl_channel_credentials(authority.ca.read_bytes(), data, data)
        with grpc.secure_channel(address, made) as channel:
            codes = {200: grpc.StatusCode.OK, 403: grpc.StatusCode.PERMISSION_DENIED}
            assert _grpc(channel) is codes.get(expected, grpc.StatusCode.UNAUTHENTICATED), name
    trust = ssl.create_default_context(cafile=str(authority.ca))
    trust.load_cert_chain(other.issue("forged", "spiffe://prod/shop"))
    with httpx.Client(base_url=url, verify=trust, timeout=10) as client, pytest.raises(httpx.TransportError):
        infer(client)
    ends = authority.issue("ends", "spiffe://prod/shop", seconds=4)
    trust = ssl.create_default_context(cafile=str(authority.ca))
    trust.load_cert_chain(ends)
    with httpx.Client(base_url=url, verify=trust, timeout=10) as client:
        assert infer(client) == 200
        until(lambda: infer(client) == 401)  # on the connection that was made in time


@pytest.mark.slow
def test_a_renewed_certificate_is_used_by_every_worker(start: Any, doubler: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server = authority.issue("server", seconds=2 * 86_400)
    words = ("--port", "0", "--grpc-port", "0", "--workers", "2", "--tls-cert", str(server))
    process = start("serve", f"echo={doubler}", *words)
    url = process.url(90)
    address = next(str(event["address"]) for event in process.events if event["event"] == "grpc").rsplit(":", 1)
    trust = ssl.create_default_context(cafile=str(authority.ca))

    def shown() -> set[str]:
        places = [("127.0.0.1", int(url.rsplit(":", 1)[1])), ("127.0.0.1", int(address[1]))]
        return {ssl.get_server_certificate(place, ca_certs=str(authority.ca)) for place in places for _ in range(4)}

    def troubles() -> str:
        with httpx.Client(base_url=url, verify=trust) as client:
            return client.get("/readyz").text

    (before,) = shown()
    until(lambda: "the TLS certificate ends in 2.0 days" in troubles())
    authority.issue("server")
    until(lambda: before not in shown())
    assert len(shown()) == 1
    until(lambda: "certificate" not in troubles())
    (renewed,) = shown()
    server.write_text("half of a cert")
    until(lambda: "the certificate of before is used" in troubles())
    assert shown() == {renewed}
    with httpx.Client(base_url=url, verify=trust) as client:
        assert infer(client) == 200
        lines = client.get("/metrics").text.splitlines()
    (line,) = [one for one in lines if one.startswith("fairlead_tls_certificate_expiry_timestamp_seconds")]
    assert 89 < (float(line.split()[1]) - time.time()) / 86_400 < 91
    assert process.stop() == 0


def test_what_contradicts_itself_is_refused_at_start(run: Any, doubler: Path, tmp_path: Path) -> None:
    certificates = "certificates: [{san: a.b, scopes: ['*:predict']}]"
    cases = {
        f"access: {{required: false, {certificates}}}": ("access.certificates says", "access.required is false"),
        f"access: {{{certificates}}}": ("access.certificates is about", "f.yaml:3: server"),
        "access: {required: false, jwt: {issuer: https://a, audience: x}}": ("access.jwt says", "access.required is"),
        "access: {jwt: {issuer: https://a, audience: x, algorithms: [RS256, HS256]}}": ("algorithms mixes HS256",),
        "access: {jwt: {issuer: https://a, audience: x, algorithms: [none]}}": ("algorithms", "expected"),
        "access: {jwt: {issuer: https://a, audience: x, algorithms: [HS256]}}": ("needs a secret",),
        "access: {jwt: {issuer: https://a, audience: x, secret: 'env:HOME'}}": ("secret is", "algorithms is RS256"),
        "access: {jwt: {issuer: https://a, audience: x, secret: hunter2}}": ("jwt.secret: this must be a reference",),
        "access: {jwt: {issuer: http://a.example.com, audience: x}}": ("jwt.issuer: keys are fetched by https",),
        "access: {jwt: {issuer: x, audience: x, jwks: http://10.0.0.1/k}}": ("jwt.jwks: keys are fetched by https",),
        "access: {jwt: {issuer: https://a}}": ("access.jwt.audience is missing",),
        "access: {jwt: {issuer: https://a, audience: []}}": ("access.jwt.audience",),
        "access: {jwt: {issuer: https://a, audience: x, groups: g}}": ("groups means nothing without",),
        "access: {jwt: {issuer: https://a, audience: x, scopes: ''}}": ("no token could do anything",),
        "access: {jwt: {issuer: https://a, audience: x, groups: g, grants: {t: ['ecko:predict']}}}": (
            "did you mean echo",
        ),
    }
    for line, words in cases.items():
        (tmp_path / "f.yaml").write_text(
            f"{line}\nrecord: false\nserver: {{port: 0}}\nendpoints: {{echo: {{model: {doubler}}}}}"
        )
        told = run("up", "f.yaml", "--check")
        assert told.returncode == 2, line
        assert [word for word in ("f.yaml:1: access", *words) if word not in told.stderr] == [], told.stderr
        assert "hunter2" not in told.stderr + told.stdout
    twice = "[{san: a.b, scopes: ['*:predict']},\n {san: A.B, scopes: ['*:*']}]"
    (tmp_path / "f.yaml").write_text(
        f"access: {{certificates: {twice}}}\nserver: {{tls: {{cert: c, client_ca: d}}}}\n"
        f"endpoints: {{echo: {{model: {doubler}}}}}"
    )
    told = run("up", "f.yaml", "--check").stderr
    assert "f.yaml:2: access.certificates[1] is for the same name as f.yaml:1: access.certificates[0]" in told
