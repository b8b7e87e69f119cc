"""Addresses and URIs of models on other servers."""

from __future__ import annotations

import pytest

from fairlead.contracts.errors import UsageError
from fairlead.contracts.upstream import Address
from fairlead.kit import upstreams
from fairlead.kit.upstreams import Remote


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("http://10.0.0.5:8000", Address("http", "10.0.0.5", 8000)),
        ("https://models.example/", Address("https", "models.example", 443)),
        ("http://gate:80/seldon/fraud/", Address("http", "gate", 80, "/seldon/fraud")),
        ("grpc://10.0.0.5", Address("grpc", "10.0.0.5", 8001)),
        ("grpcs://[::1]:9000", Address("grpcs", "::1", 9000)),
    ],
)
def test_an_address(url: str, found: Address) -> None:
    assert upstreams.address(url) == found
    assert upstreams.address(str(found)) == found


@pytest.mark.parametrize(
    "url",
    ["", "10.0.0.5:8000", "ftp://a:1", "http://", "http://a:port", "http://a:70000", "http://a b:1", "http://a:1/\n",
     "http://u:secret@a:1", "http://a:1?x=1", "grpc://a:1/path", "http://[::1:1"],
)  # fmt: skip
def test_no_address(url: str) -> None:
    with pytest.raises(UsageError) as raised:
        upstreams.address(url)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("uri", "addresses", "model", "version"),
    [
        ("oip+http://a:1/fraud", ["http://a:1"], "fraud", ""),
        ("oip+http://a:1,b:2/fraud/3", ["http://a:1", "http://b:2"], "fraud", "3"),
        ("oip+http://a:1,grpc://b:2/fraud", ["http://a:1", "grpc://b:2"], "fraud", ""),
        ("oip+grpcs://a:1,[::1]:2/x%20y", ["grpcs://a:1", "grpcs://[::1]:2"], "x y", ""),
    ],
)
def test_a_uri_and_back(uri: str, addresses: list[str], model: str, version: str) -> None:
    found = upstreams.parse(uri)
    assert ([str(one) for one in found.addresses], found.model, found.version) == (addresses, model, version)
    assert upstreams.uri_of(found) == uri


@pytest.mark.parametrize(
    "uri",
    ["oip+http://a:1", "oip+http://a:1/", "oip+http:///fraud", "oip+ftp://a:1/fraud", "oip+http://a:1/fraud/3/4",
     "oip+http://a:1,/fraud", "oip+http://a:1,a:1/fraud", "oip+http://u:secret@a:1/fraud", "http://a:1/fraud"],
)  # fmt: skip
def test_no_uri(uri: str) -> None:
    with pytest.raises(UsageError) as raised:
        upstreams.parse(uri)
    assert "secret" not in str(raised.value)


def test_the_path_before_v2_is_not_in_the_uri() -> None:
    remote = Remote((upstreams.address("http://gate:80/seldon"),), "fraud")
    assert upstreams.uri_of(remote) == "oip+http://gate:80/fraud"
