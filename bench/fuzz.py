"""A random HTTP caller against a real ``fairlead serve``: valid, broken and hostile bytes, cut anywhere.

usage: python -m bench.fuzz [--seconds 60] [--seed 1] [--connections 24] [--tls] [--workers 1] [--replay SEED.NUMBER]
Every request that is valid asks for its own value, and its answer is checked against it, so an answer to the wrong
request is found. Exit code 1 when there was a crash, a hung connection, a wrong answer or growing memory. Failures are
written to bench/results/fuzz-SEED.json with the bytes, and replayed by their seed and number.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import random
import re
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.fuzz_bytes import Plan, plan

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
HANG = 20.0
"""Seconds without an answer that is owed, or without the end of a connection that must end, after which it hangs."""

FAKES = """
import time
from fairlead.testing.models import SumPredictor

class Echo(SumPredictor):
    outputs = (("y", "FP64", [-1, 2]),)
    def predict(self, inputs):
        return {"y": inputs["x"].copy()}

class Late(Echo):
    def predict(self, inputs):
        time.sleep(0.003)
        return {"y": inputs["x"].copy()}
"""


@dataclass
class Tally:
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[dict[str, object]] = field(default_factory=list)

    def fail(self, kind: str, name: str, one: Plan, got: bytes) -> None:
        self.counts[kind] += 1
        if len(self.failures) < 50:
            sent = base64.b64encode(b"".join(one.pieces)).decode()
            answer = base64.b64encode(got[-4000:]).decode()
            self.failures.append({"kind": kind, "replay": name, "sent": sent, "got": answer})


class Ended(Exception):
    """The server closed the connection."""


class Answers:
    """Reads answers one by one, and keeps what came."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self.reader = reader
        self.got = b""

    async def next(self, method: str) -> tuple[int, bytes, bool]:
        """Status, body, and whether the connection ends with it. Raises Ended."""
        try:
            while True:
                head = await self.reader.readuntil(b"\r\n\r\n")
                self.got += head
                status = int(re.fullmatch(rb"HTTP/1\.1 (\d{3}) [^\r]*", head.partition(b"\r\n")[0])[1])  # type: ignore[index]
                if status >= 200:
                    break
            length = int(re.search(rb"\r\ncontent-length: (\d+)\r\n", head)[1])  # type: ignore[index]
            body = b"" if method == "HEAD" else await self.reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError) as error:
            self.got += getattr(error, "partial", b"")
            raise Ended from None
        self.got += body
        return status, body, b"\r\nconnection: close\r\n" in head


@dataclass(frozen=True)
class Target:
    port: int
    tls: ssl.SSLContext | None = None


async def call(target: Target, one: Plan, name: str, tally: Tally) -> None:
    """Play one plan on one connection and check everything that is owed. Raises OSError when it cannot connect."""
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port, limit=1 << 24, ssl=target.tls)
    answers = Answers(reader)
    sending = asyncio.create_task(send(writer, one))
    try:
        async with asyncio.timeout(HANG):
            await check(answers, one, name, tally)
            if one.leaves == "no" and one.ends:
                await end(reader, tally)
    except TimeoutError:
        tally.fail("hung", name, one, answers.got)
    except Ended:
        tally.counts["ended early"] += 1
        if not one.may_end:
            tally.fail("lost", name, one, answers.got)
    except (TypeError, ValueError) as error:
        tally.fail(f"no HTTP: {error}"[:60], name, one, answers.got)
    finally:
        sending.cancel()
        with suppress(asyncio.CancelledError, ConnectionError, ssl.SSLError):
            await sending
        writer.transport.abort()


async def end(reader: asyncio.StreamReader, tally: Tally) -> None:
    """All is answered and the server must close. A reset is an end too: it is what the system sends to a client whose
    last bytes (a request after ``connection: close``) reach a closed connection.
    """
    try:
        await reader.read()
    except (ConnectionError, ssl.SSLError):
        tally.counts["ended by a reset"] += 1


async def send(writer: asyncio.StreamWriter, one: Plan) -> None:
    with suppress(ConnectionError, ssl.SSLError):
        for piece, pause in zip(one.pieces, one.pauses, strict=True):
            writer.write(piece)
            await writer.drain()
            if pause:
                await asyncio.sleep(pause)
        if one.leaves == "reset":
            writer.transport.abort()
        elif one.leaves == "half" and writer.can_write_eof():
            writer.write_eof()
        elif one.leaves == "half":
            writer.close()  # TLS knows no half


async def check(answers: Answers, one: Plan, name: str, tally: Tally) -> None:
    for wanted in one.wanted:
        status, body, closes = await answers.next(wanted.method)
        tally.counts["answers"] += 1
        tally.counts[f"status {status}"] += 1
        if status not in wanted.statuses:
            tally.fail(f"status {status} for {wanted.kind}", name, one, answers.got)
            return
        if status == 200 and wanted.value is not None:
            found = json.loads(body)
            if found.get("id") != f"n{wanted.value}" or found["outputs"][0]["data"] != [wanted.value, -wanted.value]:
                tally.fail("wrong answer", name, one, answers.got)
                return
            tally.counts["checked"] += 1
        if closes:
            return


async def run(
    target: Target, pid: int, seconds: float, seed: int, connections: int
) -> tuple[Tally, list[tuple[float, int]]]:
    tally, memory = Tally(), []
    began = time.monotonic()
    number = iter(range(1 << 60))

    async def caller() -> None:
        while time.monotonic() - began < seconds:
            name = f"{seed}.{next(number)}"
            tally.counts["connections"] += 1
            try:
                await call(target, plan(random.Random(name)), name, tally)
            except OSError as error:
                tally.fail(f"no connection: {error!r}", name, Plan(), b"")
                await asyncio.sleep(0.1)

    async def watch() -> None:
        while True:
            memory.append((round(time.monotonic() - began, 1), resident(pid)))
            await asyncio.sleep(min(5.0, seconds / 10))

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(caller() for _ in range(connections)))
    watching.cancel()
    return tally, memory


async def replay(target: Target, name: str) -> Tally:
    tally = Tally()
    await call(target, plan(random.Random(name)), name, tally)
    return tally


def resident(pid: int) -> int:
    """KiB of the process and its children, or 0 when it is gone."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        own = int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0])
    except (OSError, IndexError):
        return 0
    return own + sum(resident(int(child)) for child in children)


def grew(memory: list[tuple[float, int]]) -> bool:
    """Whether the last quarter stands more than 15% and 20 MiB above the second."""
    quarter = len(memory) // 4
    if not quarter:
        return False
    second, last = (max(kib for _, kib in part) for part in (memory[quarter : 2 * quarter], memory[-quarter:]))
    return last > 1.15 * second and last > second + 20 * 1024


def certificate(folder: Path) -> list[str]:
    """Make one that is good for this run; the words that serve it."""
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    made += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(made, check=True, capture_output=True)
    return ["--tls-cert", str(folder / "cert.pem"), "--tls-key", str(folder / "key.pem")]


def start(folder: Path, words: list[str]) -> tuple[subprocess.Popen[bytes], int, Path]:
    """A server with an endpoint that answers at once and one that takes its time, and its log."""
    (folder / "fakes.py").write_text(FAKES)
    log = folder / "log"
    command = [sys.executable, "-m", "fairlead", "serve", "echo=fakes:Echo", "late=fakes:Late", "--port", "0"]
    command += ["--max-body-mb", "0.25", "--home", str(folder / "home"), *words]
    path = f"{folder}{os.pathsep}{ROOT}"
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=folder, stderr=out, env={**os.environ, "PYTHONPATH": path})
    for _ in range(600):
        found = re.search(rb'"ready".*?https?://[\d.]+:(\d+)', log.read_bytes())
        if found:
            return process, int(found[1]), log
        if process.poll() is not None:
            break
        time.sleep(0.05)
    process.kill()
    raise SystemExit(f"the server did not start: {log.read_text()[-2000:]}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.fuzz")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--connections", type=int, default=24)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--replay", default="")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        words = ["--workers", str(options.workers), *(certificate(folder) if options.tls else [])]
        process, port, log = start(folder, words)
        target = Target(port, ssl._create_unverified_context() if options.tls else None)  # noqa: SLF001 - our own server
        try:
            if options.replay:
                tally, memory = asyncio.run(replay(target, options.replay)), [(0.0, resident(process.pid))]
            else:
                work = run(target, process.pid, options.seconds, options.seed, options.connections)
                tally, memory = asyncio.run(work)
            crashed = process.poll() is not None or b'"worker crashed"' in log.read_bytes()
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(40)
        shouts = [line for line in log.read_text().splitlines() if "Traceback" in line or '"level":"error"' in line]
    return tell(options, tally, memory, shouts, {"crashed": crashed, "exit_code": code})


def tell(
    options: argparse.Namespace,
    tally: Tally,
    memory: list[tuple[float, int]],
    shouts: list[str],
    end: dict[str, int],
) -> int:
    """Write and print what was found; the exit code."""
    found = {
        "seed": options.seed,
        "seconds": options.seconds,
        "tls": options.tls,
        "workers": options.workers,
        "counts": dict(sorted(tally.counts.items())),
        **end,
        "errors_in_the_log": len(shouts),
        "grew": grew(memory),
        "memory_kib": memory,
        "failures": [*tally.failures, *({"kind": "log", "line": line[:2000]} for line in shouts[:20])],
    }
    RESULTS.mkdir(exist_ok=True)
    out = RESULTS / f"fuzz-{options.seed}.json"
    out.write_text(json.dumps(found, indent=1) + "\n")
    told = {key: value for key, value in found.items() if key not in ("memory_kib", "failures")}
    told["memory_kib"] = memory[:: max(1, len(memory) // 12)]
    print(json.dumps(told, indent=1))
    print(f"{len(tally.failures)} failures; all in {out.name}", file=sys.stderr)
    return int(bool(any(end.values()) or shouts or tally.failures or found["grew"]))


if __name__ == "__main__":
    sys.exit(main())
