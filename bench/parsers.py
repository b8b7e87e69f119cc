"""Fuzz every parser that sees a stranger's bytes: what comes out is a value or a typed error, and nothing else.

usage: python -m bench.parsers [--seconds 300] [--only v2,spec] [--seed 1] [--corpus DIR]
Guided by coverage where ``atheris`` is installed (``pip install atheris``), else by mutations of good examples alone.
A crash is printed with its bytes in base64, written to bench/results/crash-TARGET-N, and found again by
``--replay FILE --only TARGET``. Exit code 1 when there was one.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import gzip
import importlib.util
import json
import re
import subprocess
import sys
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np
from uvicorn.config import Config
from uvicorn.server import ServerState

from bench import parsers_llm, rig
from bench.fuzz_bytes import BROKEN, spoiled
from fairlead.adapters.verifiers import keys as issuer_keys
from fairlead.adapters.verifiers.claims import known
from fairlead.adapters.verifiers.jwt import JwtVerifier
from fairlead.contracts.access import Action, Scope
from fairlead.contracts.errors import FairleadError, InputError, Unauthenticated, UsageError
from fairlead.contracts.identity import Issuer
from fairlead.contracts.secrets import Secret
from fairlead.contracts.types import DataType, Missing, ParamSpec, Signature, TensorSpec
from fairlead.kit import limits, scopes
from fairlead.kit.clock import SystemClock
from fairlead.kit.codec.protos import InferRequest
from fairlead.kit.spec import read as spec
from fairlead.monitor import feedback
from fairlead.serve.access import credentials
from fairlead.serve.access.keys import Key, KeyRing, made
from fairlead.serve.batcher import Policy
from fairlead.serve.callers import Callers
from fairlead.serve.catalog import Catalog
from fairlead.serve.chaos.faults import parse as fault
from fairlead.serve.edges.invocations import Invocations
from fairlead.serve.edges.v1 import V1
from fairlead.serve.edges.v2 import V2
from fairlead.serve.endpoint import Live, Placement
from fairlead.serve.front import Front
from fairlead.serve.grpc import frames
from fairlead.serve.grpc.calls import timed
from fairlead.serve.grpc.edge import InferEdge, request_of
from fairlead.serve.grpc.framing import Refused, Unframed
from fairlead.serve.grpc.guarded import Guarded
from fairlead.serve.grpc.service import Service
from fairlead.serve.grpc.stream import Limits
from fairlead.serve.inflating import Inflater
from fairlead.serve.pipeline import Pipeline, lane_of, timeout_ms
from fairlead.serve.protocol import protocol
from fairlead.serve.repository import Locked
from fairlead.serve.routes import match
from fairlead.serve.settings import ServerSettings
from fairlead.testing.models import EchoModel
from fairlead.testing.sinks import MemorySink

Target = Callable[[bytes], None]
"""Raises for what must not happen."""

MATRIX = Signature((TensorSpec("x", DataType.FP32, (-1, 3)),), (TensorSpec("y", DataType.FP32, (-1, 3)),))
TABLE = Signature(
    (
        TensorSpec("age", DataType.INT64, (-1, 1), column=True),
        TensorSpec("income", DataType.FP64, (-1, 1), column=True, missing=Missing.NAN),
        TensorSpec("city", DataType.BYTES, (-1, 1), column=True, missing=Missing.VALUE, missing_value="unknown"),
        TensorSpec("member", DataType.BOOL, (-1, 1), column=True, missing=Missing.VALUE, missing_value=False),
        TensorSpec("note", DataType.BYTES, (-1, 1), column=True, required=False, missing=Missing.NONE),
    ),
    (TensorSpec("label", DataType.INT64, (-1,)),),
    params=(ParamSpec("threshold", DataType.FP64, 0.5), ParamSpec("mode", DataType.BYTES, "fast")),
)
MANY = Signature(
    tuple(TensorSpec(kind.value.lower(), kind, (-1, -1), required=False) for kind in DataType),
    (TensorSpec("y", DataType.FP32, (-1,)),),
)
SIGNATURES = (MATRIX, TABLE, MANY)
JSON = {b"content-type": b"application/json"}


def _typed(work: Callable[[], object], kind: type[Exception] = InputError) -> None:
    with suppress(kind):
        work()


def _edges(edge: Any, headers: dict[bytes, bytes]) -> Target:
    def target(data: bytes) -> None:
        for signature in SIGNATURES:
            _typed(lambda: edge.read(data, headers, signature))  # noqa: B023 - called at once

    return target


def v2_binary(data: bytes) -> None:
    """The first two bytes say how long the JSON in front is."""
    length = str(int.from_bytes(data[:2], "big")).encode() if len(data) % 7 else data[:2]
    headers = {**JSON, b"inference-header-content-length": length}
    for signature in SIGNATURES:
        _typed(lambda: V2().read(data[2:], headers, signature))  # noqa: B023 - as above


def grpc_message(data: bytes) -> None:
    for signature in SIGNATURES:
        _typed(lambda: InferEdge(request_of(data)).read(data, {}, signature))  # noqa: B023 - as above


def grpc_messages(data: bytes) -> None:
    for encoding in (b"identity", b"gzip", b"deflate"):
        _typed(lambda: list(Unframed(65_536, encoding).feed(data)), Refused)  # noqa: B023 - as above


class Transport:
    """Takes everything."""

    def __init__(self) -> None:
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        assert isinstance(data, bytes)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close

    def can_write_eof(self) -> bool:
        return False

    def get_extra_info(self, *_: Any) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def get_write_buffer_size(self) -> int:
        return 0


class Fronts:
    """Both ports of a server without sockets: one endpoint, ``echo``."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(self._wrong)
        self.failed: list[BaseException] = []
        self.loop.run_until_complete(self._begin())

    async def _begin(self) -> None:
        clock, catalog, self.sink = SystemClock(), Catalog(), MemorySink()
        live = Live(
            "echo", "1", EchoModel(), policy=Policy(), placement=Placement(inline=True, fixed=True),
            meter=self.sink.endpoint("echo", "1"), clock=clock, loop=self.loop, deadline=5.0,
        )  # fmt: skip
        catalog.put(live)
        front = Front(Pipeline(catalog, clock), self.sink, 65_536)
        self.http = protocol(front, ServerSettings(max_head=8192), lambda: False)
        self.service = Service(front, lambda: False, Locked())

    def _wrong(self, _: Any, context: dict[str, Any]) -> None:
        self.failed.append(context.get("exception") or RuntimeError(context["message"]))

    def _end(self) -> None:
        failed, self.failed = self.failed, []
        codes = {code for meter in self.sink.meters.values() for code in meter.outcomes}
        codes |= {code for _, code in self.sink.edge_errors}
        self.sink.meters["echo", "1"].outcomes.clear()
        self.sink.edge_errors.clear()
        if failed:
            raise failed[0]
        if codes & {"internal", "model_failed"}:
            raise AssertionError(f"an untyped error: {codes}")

    async def _through(self, link: Any, data: bytes) -> None:
        """The bytes in pieces, as long as the first one says; then silence, and the end."""
        size = 1 + data[0] * 7 if data else 1
        for at in range(1, len(data), size):
            link.data_received(data[at : at + size])
        await asyncio.sleep(0)
        link.look(self.loop.time() + 100)
        link.connection_lost(None)
        for _ in range(3):
            await asyncio.sleep(0)

    def of_http(self, data: bytes) -> None:
        async def work() -> None:
            config = Config(_long_way, loop="none", ws="none", lifespan="off", log_config=None, server_header=False)
            config.load()
            link: Any = self.http(config=config, server_state=ServerState(), app_state={})  # type: ignore[call-arg]
            link.connection_made(Transport())
            await self._through(link, data)

        self.loop.run_until_complete(work())
        self._end()

    def of_grpc(self, data: bytes) -> None:
        async def work() -> None:
            bounds = Limits(65_536, 30.0, 60.0, 300.0)
            link = Guarded(self.service.start, bounds, set(), lambda: False, Callers(10), self.sink)
            link.connection_made(Transport())  # type: ignore[arg-type]
            link.data_received(frames.PREFACE + frames.settings())
            await self._through(link, data)

        self.loop.run_until_complete(work())
        self._end()


async def _long_way(scope: Any, receive: Any, send: Any) -> None:
    """The application of requests that are not answered from the parser."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})


_FRONTS: list[Fronts] = []


def _fronts() -> Fronts:
    if not _FRONTS:
        _FRONTS.append(Fronts())
    return _FRONTS[0]


def words(data: bytes) -> None:
    """What people write in flags and headers."""
    text = data.decode("utf-8", "surrogateescape")
    for read in (limits.rate, limits.quota, fault, lane_of, timeout_ms):
        _typed(lambda: read(text), FairleadError)  # type: ignore[operator]  # noqa: B023 - as above
    match(data)
    _typed(lambda: timed({b"grpc-timeout": data}), FairleadError)


def inflated(data: bytes) -> None:
    for name in ("gzip", "deflate"):
        found = Inflater(name, 65_536)
        _typed(lambda: (found.feed(data[:9]), found.feed(data[9:]), found.end()), FairleadError)  # noqa: B023 - as above


def spec_yaml(data: bytes) -> None:
    _typed(lambda: spec.parse(data.decode("utf-8", "replace"), "f.yaml"), UsageError)


_KEY, _KEY_TEXT = made(Key("shop", (Scope("echo", Action.PREDICT),), (), 0), 0)
_RING: Final = KeyRing([_KEY])
_ISSUER: Final = Issuer("https://id", ("fairlead",), ("HS256",), secret=Secret("none", lambda: "s" * 32))
_TOKENS: Final = JwtVerifier(_ISSUER, SystemClock())


def keys(data: bytes) -> None:
    """What a caller shows, a line a header: nobody but the one key is let in. Tokens, claims, and sets of keys."""
    names = (*credentials.NAMES, credentials.AUTHORIZATION)
    pairs = [(names[at % 4], line) for at, line in enumerate(data.split(b"\n")[:8])]
    with suppress(Unauthenticated):
        shown = credentials.shown(credentials.mapping(pairs))
        found = _RING.find(shown, 1) if shown is not None else None
        assert found is None or shown == _KEY_TEXT.encode()
    _typed(lambda: _TOKENS.verify(data.decode("latin-1"), 1.0), Unauthenticated)
    _typed(lambda: scopes.scope(data.decode("utf-8", "replace")), UsageError)
    _typed(lambda: issuer_keys.read(data), ValueError)
    with suppress(ValueError, RecursionError):
        _typed(lambda: known(json.loads(data), _ISSUER, 1.0), Unauthenticated)


TARGETS: Final[dict[str, Target]] = {
    "v2": _edges(V2(), JSON),
    "v2-binary": v2_binary,
    "v1": _edges(V1(), JSON),
    "invocations": _edges(Invocations(), JSON),
    "csv": _edges(Invocations(), {b"content-type": b"text/csv"}),
    "grpc-message": grpc_message,
    "grpc-messages": grpc_messages,
    "grpc-frames": lambda data: _fronts().of_grpc(data),
    "http": lambda data: _fronts().of_http(data),
    "feedback": lambda data: _typed(lambda: feedback.parse_json(data, now_ms=1_700_000_000_000)),
    "inflate": inflated,
    "keys": keys,
    "spec": spec_yaml,
    "words": words,
    **parsers_llm.TARGETS,
}


def _infer(**more: Any) -> bytes:
    tensor = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1.5, -2, 3e8]}
    return json.dumps({"id": "a", "inputs": [tensor], **more}).encode()


def _table(**more: Any) -> bytes:
    row = {"age": 5, "income": None, "city": "Zoë", "member": True, "note": None}
    return json.dumps({**more, "instances": [row]}).encode()


def _proto() -> bytes:
    message = InferRequest(model_name="echo", id="a")
    tensor = message.inputs.add(name="x", datatype="FP64", shape=[1, 2])
    tensor.contents.fp64_contents.extend([1.0, 2.0])
    return bytes(message.SerializeToString())


def _grpc_stream() -> bytes:
    fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/inference.GRPCInferenceService/ModelInfer")]
    fields += [(b"content-type", b"application/grpc"), (b"grpc-timeout", b"1S")]
    block = b"".join(b"\x00%c%b%c%b" % (len(name), name, len(value), value) for name, value in fields)
    message = _proto()
    body = b"\x00" + len(message).to_bytes(4, "big") + message
    opened = frames.frame(frames.HEADERS, frames.END_HEADERS, 1, block)
    return b"\xff" + opened + frames.frame(frames.DATA, frames.END_STREAM, 1, body)


def _http(body: bytes, *lines: bytes) -> bytes:
    head = (b"POST /v2/models/echo/infer HTTP/1.1", b"host: x", *lines, b"content-length: %d" % len(body))
    return b"\xff" + b"\r\n".join((*head, b"", body))


_RAW = json.dumps(
    {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "parameters": {"binary_data_size": 12}}]}
).encode()

EXAMPLES: Final[dict[str, list[bytes]]] = {
    "v2": [
        _infer(),
        _infer(outputs=[{"name": "y", "parameters": {"binary_data": True}}]),
        b"[" * 5000,
        b'{"a":' * 3000,
    ],
    "v2-binary": [len(_RAW).to_bytes(2, "big") + _RAW + np.ones(3, np.float32).tobytes()],
    "v1": [_table(), _table(signature_name="s"), json.dumps({"instances": [[1, 2, 3]]}).encode()],
    "invocations": [
        json.dumps({"dataframe_split": {"columns": ["age"], "index": [0], "data": [[1]]}}).encode(),
        json.dumps({"dataframe_records": [{"age": 1, "city": "x"}], "params": {"threshold": 0.1}}).encode(),
        json.dumps({"inputs": {"x": [[1, 2, 3]]}}).encode(),
        json.dumps({"dataframe_split": {"columns": False, "data": []}, "params": {}}).encode(),
        _table(),
    ],
    "csv": [b"age,income,city,member,note\n1,2.5,x,true,\n", b'city\n"a ""b"" c,\nd"\n', b"x\n1e400\n"],
    "grpc-message": [_proto()],
    "grpc-messages": [
        b"\x00\x00\x00\x00\x02ok",
        b"\x01" + len(gzip.compress(b"ok")).to_bytes(4, "big") + gzip.compress(b"ok"),
        b"\x01" + len(zlib.compress(b"ok")).to_bytes(4, "big") + zlib.compress(b"ok"),
    ],
    "grpc-frames": [
        _grpc_stream(),
        b"\x05" + frames.frame(frames.PING, 0, 0, b"12345678"),
        b"\xff" + frames.goaway(0, 0),
    ],
    "http": [
        _http(_infer()),
        _http(gzip.compress(_infer()), b"content-encoding: gzip"),
        b"\xffGET /healthz HTTP/1.1\r\nhost: x\r\n\r\n" * 3,
        *(b"\xff" + one for one in BROKEN),
    ],
    "feedback": [json.dumps({"endpoint": "churn", "labels": [{"prediction_id": "a-1", "label": 1, "at": 5}]}).encode()],
    "inflate": [gzip.compress(b"x" * 100), zlib.compress(b"y" * 100), gzip.compress(b"") * 3],
    "keys": [
        b"Bearer " + _KEY_TEXT.encode(),
        b"\n" + _KEY_TEXT.encode(),
        b"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.AAAA",
        b"eyJhbGciOiJub25lIn0.e30.",
        b'{"iss": "https://id", "aud": ["fairlead"], "exp": 9, "sub": "a", "scope": "echo:predict"}',
        b'{"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "a"}, {"kty": "EC", "crv": "P-256", "x": "AA"}]}',
        b"churn:predict:3",
    ],
    "spec": [
        b"project: a\nserver: {port: 8080, tls: {cert: a.pem}}\nendpoints:\n  churn: {model: models:/churn@champion}\n",
        b"endpoints:\n  risk:\n    graph: {inputs: {x: FP64}, steps: [{name: a, endpoint: b}]}\n    deadline_ms: 10\n",
        b"a: &a [*a]\n",
    ],
    "words": [b"200/s", b"10k rows/min", b"5M/day", b"slow:2s:10%", b"100m", b"/v2/models/a/versions/1/infer"],
    **parsers_llm.EXAMPLES,
}


def inputs(name: str, dice: Random) -> Iterator[bytes]:
    """Examples of a target, as they are and spoiled, without end."""
    examples = EXAMPLES[name]
    yield from examples
    while True:
        one = dice.choice(examples)
        for _ in range(dice.choice((1, 1, 2, 5))):
            one = spoiled(dice, one or b"\0")
        if dice.random() < 0.1:
            one += dice.choice(examples)
        yield one[:20_000]


def _plain(name: str, seconds: float, seed: int) -> tuple[int, list[tuple[bytes, str]]]:
    """By mutations alone: how many were tried, and what crashed."""
    crashes: list[tuple[bytes, str]] = []
    ends = time.monotonic() + seconds
    for count, data in enumerate(inputs(name, Random(f"{seed}/{name}")), 1):
        try:
            TARGETS[name](data)
        except Exception:  # noqa: BLE001 - that is what is looked for
            crashes.append((data, traceback.format_exc()))
        if time.monotonic() > ends or len(crashes) >= 5:
            return count, crashes
    raise AssertionError("inputs has no end")


def _guided_apart(name: str, options: argparse.Namespace) -> tuple[int, list[tuple[bytes, str]]]:
    """By coverage, in a process that ends with it: ``bench.guided``."""
    folder = Path(options.corpus) / name
    folder.mkdir(parents=True, exist_ok=True)
    for number, example in enumerate(EXAMPLES[name]):
        (folder / f"example-{number}").write_bytes(example)
    words = [sys.executable, "-m", "bench.guided", name, f"-max_total_time={int(options.seconds)}"]
    words += [f"-seed={options.seed}", "-max_len=20000", f"-artifact_prefix={rig.RESULTS / f'crash-{name}-'}"]
    words += ["-print_final_stats=1", "-rss_limit_mb=4096", str(folder)]
    ended = subprocess.run(words, capture_output=True, text=True, check=False, cwd=rig.ROOT)
    found = re.search(r"stat::number_of_executed_units:\s*(\d+)", ended.stderr)
    count = int(found[1]) if found else 0
    if ended.returncode == 0 and count:
        return count, []
    made = re.search(r"Test unit written to (\S+)", ended.stderr)
    data = Path(made[1]).read_bytes() if made and Path(made[1]).exists() else b""
    return count, [(data, ended.stdout[-3000:] + ended.stderr[-3000:])]


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.parsers")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--only", default=",".join(TARGETS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", default=str(rig.RESULTS / "corpus"))
    parser.add_argument("--replay", type=Path)
    options = parser.parse_args()
    names = options.only.split(",")
    rig.RESULTS.mkdir(exist_ok=True)
    if options.replay:
        TARGETS[names[0]](options.replay.read_bytes())
        return 0
    guided = importlib.util.find_spec("atheris") is not None
    found: dict[str, Any] = {}
    crashed: Counter[str] = Counter()
    for name in names:
        count, crashes = _guided_apart(name, options) if guided else _plain(name, options.seconds, options.seed)
        found[name] = {"tried": count, "crashes": len(crashes)}
        print(f"{name}: {count:,} tried, {len(crashes)} crashes", flush=True)
        for data, trace in crashes[:3]:
            crashed[name] += 1
            (rig.RESULTS / f"crash-{name}-{crashed[name]}").write_bytes(data)
            print(base64.b64encode(data[:2000]).decode(), trace, sep="\n", flush=True)
    rig.save("parsers", {"guided": guided, "seconds": options.seconds, "seed": options.seed, "targets": found})
    return int(bool(crashed))


if __name__ == "__main__":
    sys.exit(main())
