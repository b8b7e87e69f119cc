"""Tokens that hold, and every way that we know of to forge, bend or outlive one."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.adapters.verifiers.jwt import LONGEST, REMEMBERED, UNKNOWN, JwtVerifier
from fairlead.contracts.access import Scope
from fairlead.contracts.errors import Unauthenticated, Unavailable, UsageError
from fairlead.contracts.identity import Claims, Issuer
from fairlead.contracts.secrets import Secret
from fairlead.testing.clock import ManualClock
from oidc import Provider, Signer, part, unsigned

NOW = 1_800_000_000.0
ISSUER = "https://login.example.com"
SIGNER = Signer()
OTHER = Signer()
CLAIMS = {
    "iss": ISSUER,
    "sub": "shop",
    "aud": "fairlead",
    "exp": NOW + 300,
    "iat": NOW,
    "scope": "openid churn:predict",
}


def verifier(tmp_path: Path, *signers: Signer, clock: ManualClock | None = None, **more: Any) -> JwtVerifier:
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [one.jwk for one in signers or (SIGNER,)]}))
    made = JwtVerifier(Issuer(ISSUER, ("fairlead", "other"), jwks=str(path), **more), clock or ManualClock())
    made.refresh()
    return made


@pytest.fixture
def one(tmp_path: Path) -> JwtVerifier:
    return verifier(tmp_path)


def said(**more: Any) -> dict[str, Any]:
    return {name: value for name, value in {**CLAIMS, **more}.items() if value is not None}


def refused(one: JwtVerifier, token: str, now: float = NOW) -> None:
    for _ in range(2):  # what is remembered too
        with pytest.raises(Unauthenticated) as caught:
            one.verify(token, now)
        assert str(caught.value) == "no credential that holds"


def test_a_token_that_holds_is_a_caller(one: JwtVerifier) -> None:
    caller = one.verify(SIGNER.token(said()), NOW)
    assert (caller.name, caller.kind, caller.tenant) == (f"{ISSUER}#shop", "jwt", "")
    assert caller.scopes == (Scope("churn", "predict"),)


@pytest.mark.parametrize("algorithm", ["RS256", "RS512", "PS256", "ES256", "ES384", "ES512", "EdDSA"])
@pytest.mark.parametrize("kid", ["k", None])
def test_every_kind_of_key(tmp_path: Path, algorithm: str, kid: str | None) -> None:
    signer = Signer(kid, algorithm)
    one = verifier(tmp_path, signer, algorithms=(algorithm,))
    assert one.verify(signer.token(said()), NOW).kind == "jwt"
    refused(one, Signer(kid, algorithm).token(said()))
    pinned = "ES256" if algorithm != "ES256" else "RS256"
    refused(verifier(tmp_path, signer, algorithms=(pinned,)), signer.token(said()))


@pytest.mark.parametrize(
    "more",
    [
        {"iss": "https://evil.example.com"}, {"iss": None}, {"iss": ISSUER + "/"}, {"iss": [ISSUER]},
        {"aud": "somebody"}, {"aud": None}, {"aud": []}, {"aud": [1]}, {"aud": "fairlead other"},
        {"aud": {"fairlead": 1}},
        {"exp": NOW - 60}, {"exp": None}, {"exp": str(NOW + 300)}, {"exp": True}, {"exp": 1e300}, {"exp": [1]},
        {"nbf": NOW + 61}, {"nbf": "soon"}, {"iat": NOW + 61}, {"iat": False},
        {"sub": None}, {"sub": ""}, {"sub": 7}, {"sub": "a\nb"}, {"sub": "x" * 257},
    ],
    ids=str,
)  # fmt: skip
def test_claims_that_do_not_hold(one: JwtVerifier, more: dict[str, Any]) -> None:
    signature = jwt.PyJWS().encode(json.dumps(said(**more)).encode(), SIGNER.key, "RS256", {"kid": "one"})
    refused(one, signature)


@pytest.mark.parametrize(
    "more", [{"aud": ["a", "other"]}, {"exp": NOW - 59}, {"nbf": NOW + 59}, {"iat": NOW + 59}, {"iat": None}], ids=str
)
def test_claims_at_the_edge(one: JwtVerifier, more: dict[str, Any]) -> None:
    assert one.verify(SIGNER.token(said(**more)), NOW).kind == "jwt"


def forged() -> Iterator[tuple[str, str]]:
    good = SIGNER.token(said())
    head, body, signature = good.split(".")
    for algorithm in ("none", "None", "NONE", "nOnE", ""):
        yield f"alg {algorithm!r}", unsigned(said(), algorithm)
        yield f"alg {algorithm!r} with a signature", unsigned(said(), algorithm) + signature
    for pem in (SIGNER.pem, SIGNER.pem.strip(), json.dumps(SIGNER.jwk).encode(), b""):
        signed = f"{part({'alg': 'HS256', 'kid': 'one'})}.{body}"
        yield "a public key as secret", f"{signed}.{part(hmac.new(pem, signed.encode(), hashlib.sha256).digest())}"
    yield "the key in the header", OTHER.token(said(), jwk=OTHER.jwk)
    yield "a place for keys in the header", OTHER.token(said(), jku="https://evil.example.com/jwks")
    yield "x5u", OTHER.token(said(), x5u="https://evil.example.com/cert")
    yield "another key", OTHER.token(said())
    yield "an unknown kid", SIGNER.token(said(), kid="two")
    yield "a path as kid", SIGNER.token(said(), kid="../../dev/null")
    yield "a number as kid", f"{part({'alg': 'RS256', 'kid': 1})}.{body}.{signature}"
    yield "critical", SIGNER.token(said(), crit=["exp"], exp=1)
    detached = {"kid": "one", "b64": False, "crit": ["b64"]}
    payload = json.dumps(said()).encode()
    yield "unencoded", jwt.PyJWS().encode(payload, SIGNER.key, "RS256", detached, is_payload_detached=True)
    yield "another body", f"{head}.{part(said(sub='admin'))}.{signature}"
    yield "no signature", f"{head}.{body}."
    yield "two parts", f"{head}.{body}"
    yield "four parts", f"{good}.{signature}"
    yield "five parts", f"{good}.{signature}.{signature}"
    yield "a JWE", f"{part({'alg': 'RSA-OAEP', 'enc': 'A128GCM'})}.{body}.{signature}"
    yield "an algorithm as list", f"{part({'alg': ['RS256'], 'kid': 'one'})}.{body}.{signature}"
    yield "no object as header", f"{part([])}.{body}.{signature}"
    yield "no JSON", jwt.PyJWS().encode(b"\xff", SIGNER.key, "RS256", {"kid": "one"})
    yield "a deep body", jwt.PyJWS().encode(b"[" * 5000, SIGNER.key, "RS256", {"kid": "one"})
    yield "a list as body", jwt.PyJWS().encode(json.dumps([said()]).encode(), SIGNER.key, "RS256", {"kid": "one"})
    yield "a number that is none", jwt.PyJWS().encode(b'{"exp": NaN}', SIGNER.key, "RS256", {"kid": "one"})
    yield "too long", SIGNER.token(said(more="x" * LONGEST))
    yield "empty", ""
    yield "dots", ".."


@pytest.mark.parametrize(("what", "token"), list(forged()), ids=lambda value: value[:40])
def test_forged_tokens(one: JwtVerifier, what: str, token: str) -> None:
    refused(one, token)


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda data: f"{part(data)}.{part(data)}.{part(data)}"))
def test_anything_is_refused(token: str) -> None:
    one = JwtVerifier(Issuer(ISSUER, ("fairlead",), jwks="/nowhere"), ManualClock())
    with pytest.raises(Unauthenticated):
        one.verify(token, NOW)


def test_a_token_that_was_checked_ends_when_it_ends(one: JwtVerifier) -> None:
    token = SIGNER.token(said(exp=NOW + 10))
    first = one.verify(token, NOW)
    assert one.verify(token, NOW + 69) is first
    refused(one, token, NOW + 70)
    for number in range(REMEMBERED + 10):
        one._now.checked[number.to_bytes(4, "big")] = one._now.checked.get(b"", None) or _known(first)
    one.verify(SIGNER.token(said(jti="new")), NOW)
    assert len(one._now.checked) <= REMEMBERED + 11


def _known(caller: Any) -> Any:
    from fairlead.adapters.verifiers.claims import Known

    return Known(caller, NOW + 1)


def test_scopes_from_claims(tmp_path: Path) -> None:
    grants = {"ml": (Scope("*", "predict"),), "ops": (Scope("*", "metrics"), Scope("*", "admin"))}
    claims = Claims("auth.scopes", "fl:", "realm_access.roles", grants, "org")
    one = verifier(tmp_path, claims=claims)
    token = said(
        auth={"scopes": ["fl:a:predict", "b:predict", "fl:c:fly", 7]}, realm_access={"roles": ["ops", "x"]}, org="t1"
    )
    caller = one.verify(SIGNER.token(token), NOW)
    assert {str(scope) for scope in caller.scopes} == {"a:predict", "*:metrics", "*:admin"}
    assert caller.tenant == "t1"
    for more in ({}, {"auth": "x", "realm_access": [], "scope": "a:predict"}, {"realm_access": {"roles": {"ml": 1}}}):
        assert one.verify(SIGNER.token(said(**more)), NOW).scopes == ()
    refused(one, SIGNER.token(said(org="a\x00b")))
    refused(one, SIGNER.token(said(org=["t1"])))
    dotted = verifier(tmp_path, claims=Claims("https://x.y/scopes"))
    assert dotted.verify(SIGNER.token(said(**{"https://x.y/scopes": "a:predict"})), NOW).scopes == (
        Scope("a", "predict"),
    )


SECRETS = {0: "x" * 64}


def shared(algorithms: tuple[str, ...] = ("HS256",)) -> JwtVerifier:
    secret = Secret("env:S", lambda: SECRETS[0])
    return JwtVerifier(Issuer(ISSUER, ("fairlead",), algorithms, secret=secret), ManualClock())


def test_a_shared_secret_alone_and_long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    one = shared()
    token = jwt.encode(said(), SECRETS[0], "HS256")
    assert one.verify(token, NOW).kind == "jwt"
    assert not one.due()
    refused(one, jwt.encode(said(), SECRETS[0], "HS512"))
    refused(one, jwt.encode(said(), "y" * 64, "HS256"))
    refused(one, SIGNER.token(said()))
    refused(one, unsigned(said()))
    monkeypatch.setitem(SECRETS, 0, "z" * 64)
    refused(one, token)
    assert one.verify(jwt.encode(said(), "z" * 64, "HS256"), NOW).kind == "jwt"
    monkeypatch.setitem(SECRETS, 0, "short")
    assert one.verify(jwt.encode(said(), "z" * 64, "HS256"), NOW).kind == "jwt"
    assert "too short now" in one.troubles()[0]
    with pytest.raises(UsageError, match="too short"):
        shared()
    monkeypatch.setitem(SECRETS, 0, "z" * 63)
    with pytest.raises(UsageError, match="need 64 bytes"):
        shared(("HS256", "HS512"))
    for algorithms in (("RS256",), ("HS256", "RS256"), ("none",), ()):
        with pytest.raises(UsageError, match="algorithms"):
            shared(algorithms)
    for bad in (("HS256",), ("RS256", "HS256"), ("none",), ("ES256K",)):
        with pytest.raises(UsageError, match="with published keys"):
            JwtVerifier(Issuer(ISSUER, ("fairlead",), bad), ManualClock())


@pytest.mark.parametrize(
    "change",
    [
        {"use": "enc"},
        {"key_ops": ["sign"]},
        {"alg": "RS512"},
        {"kty": "oct", "k": part(b"x" * 64)},
        {"n": "!"},
        {"kty": []},
        {"n": None},
    ],
    ids=str,
)
def test_keys_that_check_nothing(tmp_path: Path, change: dict[str, Any]) -> None:
    signer = Signer()
    signer.jwk = {**signer.jwk, **change}
    one = verifier(tmp_path, signer, OTHER2)
    refused(one, signer.token(said()))


OTHER2 = Signer("spare")


def test_a_weak_or_private_key(tmp_path: Path) -> None:
    weak = Signer("weak", bits=1024)
    one = verifier(tmp_path, weak, SIGNER)
    with pytest.warns(jwt.warnings.InsecureKeyLengthWarning):
        token = weak.token(said())
    refused(one, token)
    from jwt.algorithms import RSAAlgorithm

    whole = Signer("whole")
    whole.jwk = {**json.loads(RSAAlgorithm.to_jwk(whole.key)), "kid": "whole"}
    whole.jwk.pop("key_ops", None)
    assert verifier(tmp_path, whole).verify(whole.token(said()), NOW).kind == "jwt"


def test_keys_by_discovery_rotated_and_gone() -> None:
    clock, now = ManualClock(), time.time()
    provider = Provider()
    one = JwtVerifier(Issuer(provider.issuer, ("fairlead",), refresh=300), clock)
    try:
        token = provider.token()
        with pytest.raises(Unavailable):
            one.verify(token, now)  # nothing is known yet
        assert one.due()
        one.refresh()
        assert one.verify(token, now).kind == "jwt"
        assert not one.due()
        assert provider.asked == ["/realms/a/.well-known/openid-configuration", "/realms/a/certs"]
        new = Signer("two", "ES256")
        fresh = new.token(provider.claims())
        provider.signers.insert(0, new)
        clock.advance(UNKNOWN)
        refused(one, fresh, now)  # it is not waited for
        assert one.due()
        one.refresh()
        assert one.verify(fresh, now).kind == "jwt"
        assert one.verify(token, now).kind == "jwt"  # the old key is still published
        asked = len(provider.asked)
        for number in range(20):
            refused(one, new.token(provider.claims(), kid=f"unknown{number}"), now)
            if one.due():
                one.refresh()
        assert len(provider.asked) == asked  # not more than one in so many seconds
        clock.advance(UNKNOWN)
        assert one.due()
        provider.signers.pop()  # the old key is taken back
        one.refresh()
        refused(one, token, now)
        assert one.verify(fresh, now).kind == "jwt"
        provider.stop()
        clock.advance(300)
        one.refresh()
        assert one.verify(fresh, now).kind == "jwt"
        (trouble,) = one.troubles()
        assert "those of before are used" in trouble
        assert not one.due()
        clock.advance(5)
        assert one.due()
        provider.start()
        one.refresh()
        assert one.troubles() == []
    finally:
        provider.stop()


def bad() -> Iterator[tuple[str, dict[str, tuple[int, dict[str, str], bytes]], str]]:
    where, certs = "/realms/a/.well-known/openid-configuration", "/realms/a/certs"
    yield "status", {certs: (500, {}, b"")}, "status 500"
    yield "redirect", {certs: (302, {"location": "http://169.254.169.254/"}, b"")}, "status 302"
    yield "huge", {certs: (200, {}, b"[" * (512 * 1024 + 1))}, "more than"
    yield "html", {certs: (200, {}, b"<html>")}, "no JSON"
    yield "deep", {certs: (200, {}, b"[" * 100_000)}, "no JSON"
    yield "no keys", {certs: (200, {}, b'{"keys": []}')}, "no key that can check"
    yield "no list", {certs: (200, {}, b'{"keys": 3}')}, "no list"
    yield "no configuration", {where: (200, {}, b"{}")}, "no OpenID configuration"
    yield "another issuer", {where: (200, {}, b'{"issuer": "https://x", "jwks_uri": "https://x/k"}')}, "of the issuer"


@pytest.mark.parametrize(
    ("what", "answers", "words"), list(bad()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_providers_that_misbehave(what: str, answers: Any, words: str) -> None:
    provider = Provider()
    provider.answers = answers
    one = JwtVerifier(Issuer(provider.issuer, ("fairlead",)), ManualClock())
    one.refresh()
    provider.stop()
    assert words in one.troubles()[0]
    assert "no token can be checked" in one.troubles()[0]


@pytest.mark.parametrize(
    "uri", ["http://10.0.0.1/k", "file:///etc/passwd", "gopher://x", "https://u:p@x/k", "http://[x", ""]
)
def test_a_provider_sends_us_nowhere(uri: str) -> None:
    provider = Provider()
    told = json.dumps({"issuer": provider.issuer, "jwks_uri": uri}).encode()
    provider.answers["/realms/a/.well-known/openid-configuration"] = (200, {}, told)
    one = JwtVerifier(Issuer(provider.issuer, ("fairlead",)), ManualClock())
    one.refresh()
    provider.stop()
    assert one.troubles()


def test_a_provider_elsewhere_does_not_send_us_to_ourselves(monkeypatch: pytest.MonkeyPatch) -> None:
    from fairlead.adapters.verifiers import fetch

    asked: list[str] = []

    def get(url: str, ca: str = "") -> bytes:
        asked.append(url)
        return json.dumps({"issuer": ISSUER, "jwks_uri": "https://127.0.0.1:8080/admin"}).encode()

    monkeypatch.setattr(fetch, "get", get)
    one = JwtVerifier(Issuer(ISSUER, ("fairlead",)), ManualClock())
    one.refresh()
    assert "is not asked" in one.troubles()[0]
    assert asked == [f"{ISSUER}/.well-known/openid-configuration"]


def test_a_slow_provider_is_left_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    from fairlead.adapters.verifiers import fetch

    monkeypatch.setattr(fetch, "SECONDS", 0.2)
    provider = Provider()
    provider.hang = 1.0
    one = JwtVerifier(replace(Issuer(provider.issuer, ("fairlead",))), ManualClock())
    began = time.monotonic()
    one.refresh()
    assert time.monotonic() - began < 0.9
    assert "cannot be fetched" in one.troubles()[0]
    provider.stop()
