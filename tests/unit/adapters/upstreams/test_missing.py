"""Without its library a transport is one sentence."""

from __future__ import annotations

import sys

import pytest

from fairlead.contracts.errors import MissingExtra
from fairlead.kit import plugins


def test_grpc_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "fairlead.adapters.upstreams.grpc", raising=False)
    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(
        MissingExtra, match=r"upstream 'grpc' needs the library 'grpc', .*pip install 'fairlead\[grpc\]'"
    ):
        plugins.load("fairlead.upstreams", "grpc")
