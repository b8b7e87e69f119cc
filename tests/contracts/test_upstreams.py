"""The suite of transports over the fake and over every installed one, against a server of our own."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from fairlead.contracts.upstream import Address, Place, Transport, Unreached
from fairlead.kit import plugins
from fairlead.testing import upstream_suite
from fairlead.testing.upstreams import MemoryTransport

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))
from running import running

Check = Callable[[upstream_suite.Make, Address], Awaitable[None]]
OPENSSL = shutil.which("openssl")
SCHEMES = plugins.names("fairlead.upstreams")
checks = pytest.mark.parametrize("check", upstream_suite.CHECKS, ids=lambda check: check.__name__)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if OPENSSL is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    made = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    subprocess.run([str(OPENSSL), *made.split(), "-keyout", "own.key", "-out", "own.pem"], cwd=folder, check=True)
    return folder / "own.pem"


@pytest.fixture(scope="module", params=SCHEMES)
def place(request: pytest.FixtureRequest) -> Iterator[tuple[upstream_suite.Make, Address]]:
    scheme: str = request.param
    ca, tls = "", {}
    if scheme.endswith("s"):
        ca = str(request.getfixturevalue("certificate"))
        tls = {"tls_cert": ca, "tls_key": ca.replace(".pem", ".key")}
    transport = plugins.load("fairlead.upstreams", scheme)

    def make(place: Place) -> Transport:
        made: Transport = transport(replace(place, ca=ca))
        return made

    with running(upstream_suite.MODELS, grpc_port=0, max_body=1 << 24, **tls) as server:
        port = int(server.channel.rpartition(":")[2]) if scheme.startswith("grpc") else server.port
        yield make, Address(scheme, "127.0.0.1", port)


@checks
async def test_installed_transports(check: Check, place: tuple[upstream_suite.Make, Address]) -> None:
    await check(*place)


async def test_a_certificate_that_nobody_vouches_for_is_not_believed(
    place: tuple[upstream_suite.Make, Address],
) -> None:
    _, address = place
    if not address.scheme.endswith("s"):
        pytest.skip("there is no certificate")
    transport = plugins.load("fairlead.upstreams", address.scheme)(Place(address, "everything"))
    with pytest.raises(Unreached):
        await asyncio.wait_for(transport.describe(), 15)
    transport.close()
    await asyncio.sleep(0)


@checks
async def test_the_fake(check: Check) -> None:
    await check(partial(MemoryTransport, models=upstream_suite.MODELS), Address("memory", "", 0))


def test_there_are_transports_to_check() -> None:
    assert SCHEMES == ["grpc", "grpcs", "http", "https"]
