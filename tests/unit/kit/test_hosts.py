import pytest

from fairlead.kit.hosts import loopback


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "::1"])
def test_this_machine(host: str) -> None:
    assert loopback(host)


@pytest.mark.parametrize("host", ["", None, "0.0.0.0", "::", "10.0.0.1", "127.example.com", "localhost.example.com"])
def test_others(host: str | None) -> None:
    assert not loopback(host)
