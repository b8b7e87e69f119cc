"""URLs of streams, queues and topics."""

from __future__ import annotations

import pytest

from fairlead.contracts.broker import Place
from fairlead.contracts.errors import UsageError
from fairlead.kit.places import covers, only, place

SCHEMES = ("amqp", "kafka", "nats", "redis")


def test_a_url_has_all_its_parts() -> None:
    found = place("NATS://me:p%40ss@h:4222/orders.eu?stream=ORDERS", "--input", SCHEMES)
    assert found == Place("nats", "h:4222", "orders.eu", "me", "p@ss", {"stream": "ORDERS"})
    assert str(found) == "nats://h:4222/orders.eu"
    assert "p@ss" not in repr(found)


def test_a_cluster_has_several_addresses() -> None:
    assert place("kafka://a:9092,b:9092/t", "--input", SCHEMES).address == "a:9092,b:9092"
    assert place("redis://[::1]:6379/t", "--input", SCHEMES).address == "[::1]:6379"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("orders", "expected scheme://HOST"),
        ("nats://", "expected scheme://HOST"),
        ("mqtt://h:1/t", "no broker for mqtt://"),
        ("nats:///orders", "names no host"),
        ("nats://h:4222", "names no stream"),
        ("nats://h:4222/", "names no stream"),
        ("nats://h:4222/a b", "names no stream"),
        ("nats://h:x/orders", "not HOST:PORT"),
        ("nats://h:99999/orders", "not HOST:PORT"),
        ("kafka://a:1,:2/t", "not HOST:PORT"),
    ],
)
def test_a_bad_url_is_one_sentence_with_its_option(url: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        place(url, "--output", SCHEMES)
    assert said in str(error.value)
    assert "--output" in str(error.value)


def test_an_option_that_a_broker_does_not_know_is_named() -> None:
    found = place("nats://h:1/t?strem=X", "--input", SCHEMES)
    with pytest.raises(UsageError, match="strem"):
        only(found, "stream")


@pytest.mark.parametrize(
    ("reader", "written", "expected"),
    [
        ("nats://h:1/a", "nats://h:1/a", True),
        ("nats://h:1/a", "nats://h:2/a", False),
        ("nats://h:1/a.>", "nats://h:1/a.b.c", True),
        ("nats://h:1/a.>", "nats://h:1/a", False),
        ("nats://h:1/a.*", "nats://h:1/a.b", True),
        ("nats://h:1/a.*", "nats://h:1/a.b.c", False),
        ("nats://h:1/a.b", "nats://h:1/a", False),
        ("redis://h:1/a", "redis://h:1/a", True),
        ("redis://h:1/a", "redis://h:1/a?db=1", False),
        ("redis://h:1/a", "nats://h:1/a", False),
        ("redis://h:1/>", "redis://h:1/a", False),
    ],
)
def test_who_reads_what_is_written(reader: str, written: str, expected: bool) -> None:
    assert covers(place(reader, "--input", SCHEMES), place(written, "--output", SCHEMES)) is expected
