from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.contracts.access import Scope
from fairlead.contracts.errors import UsageError
from fairlead.kit.spec.read import SpecFile, parse
from fairlead.serve.access.certified import Certified
from fairlead.wiring import specs_identity

HERE = "server: {tls: {cert: c, client_ca: d}}\nendpoints: {echo: {model: m}}"


def spec(access: str, rest: str = HERE) -> SpecFile:
    return parse(f"access: {access}\n{rest}", "f.yaml")


def jwt(more: str = "") -> str:
    return f"{{jwt: {{issuer: https://a.example.com, audience: x{more}}}}}"


def test_how_callers_may_show_who_they_are_means_that_they_must() -> None:
    for access, expected in (
        ("{}", False),
        ("{required: true}", True),
        (jwt(), True),
        ("{certificates: [{san: a, scopes: ['*:*']}]}", True),
    ):
        file = spec(access)
        specs_identity.check(file)
        assert specs_identity.required(file.spec.access) is expected


def test_what_becomes_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "x" * 64)
    more = ", algorithms: [HS512], secret: 'env:A_SECRET', groups: a.b, grants: {ml: ['echo:predict:3']}, tenant: org"
    file = spec(f"{jwt(more)[:-1]}, certificates: [{{cn: n, scopes: ['*:metrics'], tenant: t}}]}}")
    specs_identity.check(file)
    found = specs_identity.identity(file.spec.access)
    assert found.certificates == (Certified((Scope("*", "metrics"),), cn="n", tenant="t"),)
    issuer = found.issuer
    assert issuer is not None
    assert issuer.secret is not None
    assert (issuer.issuer, issuer.audiences, issuer.algorithms) == ("https://a.example.com", ("x",), ("HS512",))
    assert (issuer.secret.reveal(), issuer.skew, issuer.refresh) == ("x" * 64, 60.0, 300.0)
    assert (issuer.claims.groups, issuer.claims.tenant) == ("a.b", "org")
    assert issuer.claims.grants == {"ml": (Scope("echo", "predict", "3"),)}
    assert len(found.verifiers) == 1
    assert found.verifiers is found.verifiers
    assert found.certified() is not None
    assert specs_identity.identity(spec("{}").spec.access).verifiers == []
    monkeypatch.delenv("A_SECRET")
    with pytest.raises(UsageError, match="'A_SECRET' is not set"):
        specs_identity.identity(file.spec.access)


@pytest.mark.parametrize(
    "url",
    [
        "http://a.example.com", "http://10.0.0.1", "http://localhost.example.com", "http://127.0.0.1.example.com",
        "ftp://a", "https://", "https://u:p@a", "https://u@a", "https://[x", "https://a:x", "file:///etc/passwd",
    ],
)  # fmt: skip
def test_where_keys_are_not_fetched(url: str) -> None:
    with pytest.raises(UsageError, match="jwt.jwks: keys are fetched by https"):
        specs_identity.check(spec(jwt(f", jwks: '{url}'")))


@pytest.mark.parametrize(
    "url", ["https://10.0.0.1/k", "http://127.0.0.9:1/k", "http://[::1]/k", "http://localhost", "k"]
)
def test_where_keys_are_fetched(url: str) -> None:
    specs_identity.check(spec(jwt(f", jwks: '{url}'")))


def test_scopes_of_endpoints_that_are_not_there(tmp_path: Path) -> None:
    for access, at in (
        ("{certificates: [{san: a, scopes: ['*:predict', 'eco:predict']}]}", r"certificates\[0\].scopes"),
        (jwt(", groups: g, grants: {ml: ['eco:predict']}"), "jwt.grants.ml"),
    ):
        with pytest.raises(UsageError, match=rf"f.yaml:1: access.{at}: .*'eco:predict'.*did you mean echo"):
            specs_identity.check(spec(access))
    for text in ("echo", "echo:fly", "*:predict:3"):
        with pytest.raises(UsageError, match="scope"):
            spec(f"{{certificates: [{{san: a, scopes: ['{text}']}}]}}")


@pytest.mark.parametrize("names", ["san: a, cn: b", "tenant: t"])
def test_a_certificate_has_one_name(names: str) -> None:
    with pytest.raises(UsageError, match="give one of san and cn"):
        specs_identity.check(spec(f"{{certificates: [{{{names}, scopes: ['*:*']}}]}}"))
