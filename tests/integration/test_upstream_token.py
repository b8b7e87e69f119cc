"""The credential that other servers ask for, on the wire of REST and gRPC, and never in what is told of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
from upstream_servers import Asked, Double, http

from fairlead.contracts.errors import FairleadError
from fairlead.contracts.types import DataType
from fairlead.contracts.upstream import Address, Place, Transport, Unreached
from fairlead.kit import plugins, secrets
from fairlead.testing.clock import ManualClock

X = {"x": np.array([[1.0]], np.float32)}


def transport(scheme: str, port: int, **more: Any) -> Transport:
    place = Place(Address(scheme, "127.0.0.1", port), "m", **more)
    made: Transport = plugins.load("fairlead.upstreams", scheme)(place)
    return made


async def infer(one: Transport) -> Any:
    return await one.infer(X, {"x": DataType.FP32}, {}, 5.0)


@pytest.mark.parametrize(("header", "before"), [("authorization", "Bearer "), ("x-api-key", "")])
async def test_rest_sends_it_and_sends_the_new_one(tmp_path: Path, header: str, before: str) -> None:
    path, clock, heads = tmp_path / "token", ManualClock(), []
    path.write_text("first\n")
    double = Double()
    await double.start()
    right = double.infer

    async def noting(asked: Asked, writer: Any) -> None:
        heads.append(asked.headers.get(header))
        await right(asked, writer)

    double.infer = noting
    one = transport("http", double.port, token=secrets.secret(f"file:{path}", clock), header=header)
    await one.describe()
    await infer(one)
    path.write_text("second\n")
    clock.advance(1.0)
    await infer(one)
    path.write_text("bad\r\nx-admin: yes\n")
    clock.advance(1.0)
    with pytest.raises(Unreached, match="not one line of ASCII"):
        await infer(one)
    one.close()
    double.kill()
    assert heads == [f"{before}first", f"{before}second"]


async def test_rest_never_tells_what_the_server_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_TOKEN", "hunter2-hunter2")
    double = Double()
    await double.start()

    async def echo(asked: Asked, writer: Any) -> None:
        writer.write(http(b"who is " + asked.headers["authorization"].encode(), "401 Unauthorized"))

    double.infer = echo
    one = transport("http", double.port, token=secrets.secret("env:A_TOKEN"))
    with pytest.raises(Unreached, match=r"who is Bearer \*\*\*"):
        await infer(one)
    one.close()
    double.kill()


@pytest.mark.parametrize(("header", "before"), [("authorization", "Bearer "), ("x-api-key", "")])
async def test_grpc_sends_it_and_never_tells_it(monkeypatch: pytest.MonkeyPatch, header: str, before: str) -> None:
    monkeypatch.setenv("A_TOKEN", "hunter2-hunter2")
    seen: list[Any] = []

    async def refuse(_request: bytes, context: Any) -> bytes:
        seen.append(dict(context.invocation_metadata()).get(header))
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, f"who is {seen[-1]}")
        return b""

    class Any_(grpc.GenericRpcHandler):  # noqa: N801 - of the library's naming
        def service(self, _details: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(refuse)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Any_(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    one = transport("grpc", port, token=secrets.secret("env:A_TOKEN"), header=header)
    for ask in (one.describe, lambda: infer(one)):
        with pytest.raises((Unreached, FairleadError)) as caught:
            await ask()
        assert "hunter2" not in str(caught.value)
        assert "who is" in str(caught.value)
    one.close()
    await server.stop(0)
    assert seen == [f"{before}hunter2-hunter2"] * 2
