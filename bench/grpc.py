"""W1 over gRPC beside the bare floor of grpc.aio, each on one core, the load on another.

    python -m bench.grpc [--seconds 4] [--rounds 3]

The load is h2load (Debian: nghttp2-client), which reads no trailers: one real call is checked before each run. 16 and
64 in flight are 4 connections of 4 streams and 8 of 8.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

from bench import rig, w1
from bench.rig import Entry

PATH = "/inference.GRPCInferenceService/ModelInfer"
SHAPES = {"1": (1, 1), "16": (4, 4), "64": (8, 8)}
FLOOR, OURS = "floor (grpc.aio, constant bytes)", "fairlead"


def request(folder: Path) -> service_pb2.ModelInferRequest:
    """One row of W1, raw."""
    first = (folder / "v2.requests").read_bytes().split(b"\r\n\r\n", 1)[1]
    data = json.JSONDecoder().raw_decode(first.decode(errors="replace"))[0]["inputs"][0]["data"]
    made = service_pb2.ModelInferRequest(model_name="w1", raw_input_contents=[np.array(data, np.float32).tobytes()])
    made.inputs.add(name="X", datatype="FP32", shape=[1, len(data)])
    return made


def answered(port: int, asked: service_pb2.ModelInferRequest) -> bytes:
    """The answer to one real call."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        reply = stub.ModelInfer(asked, timeout=5)
    assert [one.name for one in reply.outputs] == ["label", "probabilities"]
    return bytes(reply.SerializeToString())


def ready(port: int, asked: service_pb2.ModelInferRequest) -> bool:
    try:
        return bool(answered(port, asked))
    except grpc.RpcError:
        return False


def load(port: int, body: Path, shape: tuple[int, int], seconds: float, pid: int) -> dict[str, float]:
    """Rate, percentiles in ms, and CPU microseconds of the server for each call."""
    with tempfile.NamedTemporaryFile() as log:
        words = ["h2load", "-D", f"{seconds:g}", "--warm-up-time", "1", "-c", str(shape[0]), "-m", str(shape[1])]
        words += ["-d", str(body), "-H", "content-type:application/grpc", "-H", "te:trailers"]
        before = rig.cpu_seconds(pid)
        subprocess.run(
            rig.pinned([*words, "--log-file", log.name, f"http://127.0.0.1:{port}{PATH}"], rig.LOAD_CORE),
            check=True,
            capture_output=True,
        )
        spent = rig.cpu_seconds(pid) - before
        lines = [line.split(b"\t") for line in Path(log.name).read_bytes().splitlines()]
    times = np.array([int(line[2]) for line in lines if line[1] == b"200"]) / 1000
    return {
        "per_second": len(times) / seconds,
        "p50": float(np.percentile(times, 50)),
        "p99": float(np.percentile(times, 99)),
        "cpu_us": 1e6 * spent / (len(times) * (seconds + 1) / seconds),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=4.0)
    options.add_argument("--rounds", type=int, default=3)
    asked = options.parse_args()
    if shutil.which("h2load") is None:
        sys.exit("bench.grpc needs h2load: apt-get install nghttp2-client")
    with tempfile.TemporaryDirectory() as place:
        print(table(rounds(Path(place), asked.seconds, asked.rounds)))


def rounds(folder: Path, seconds: float, count: int) -> dict[str, list[dict[str, dict[str, float]]]]:
    model = w1.make(folder)
    message, body = request(folder), folder / "body"
    data = message.SerializeToString()
    body.write_bytes(b"\0" + len(data).to_bytes(4, "big") + data)
    words = [sys.executable, "-m", "fairlead", "serve", f"w1={model}", "--threads", "1", "--log-level", "warning"]
    ours = Entry([*words, "--port", "0", "--grpc-port"])
    with rig.running(ours, lambda port: ready(port, message)) as (port, _, _):
        (folder / "answer").write_bytes(answered(port, message))
    floor = Entry([sys.executable, "-m", "bench.servers.floor_grpc", str(folder / "answer")])
    found: dict[str, list[dict[str, dict[str, float]]]] = {FLOOR: [], OURS: []}
    for number in range(count):
        for name, entry in ((FLOOR, floor), (OURS, ours)):
            with rig.running(entry, lambda port: ready(port, message)) as (port, pid, _):
                figures = {key: load(port, body, shape, seconds, pid) for key, shape in SHAPES.items()}
            found[name].append(figures)
            print(f"grpc round {number + 1} {name}: {json.dumps(figures)}", file=sys.stderr)
    return found


def table(found: dict[str, list[dict[str, dict[str, float]]]]) -> str:
    lines = [
        "| in flight | server | calls/s | p50 ms | p99 ms | CPU us a call | over the floor |",
        "|---|---|---|---|---|---|---|",
    ]
    for key in SHAPES:
        for name, runs in found.items():
            median = {
                figure: statistics.median(run[key][figure] for run in runs)
                for figure in ("per_second", "p50", "p99", "cpu_us")
            }
            ratios = [
                ours[key]["per_second"] / floor[key]["per_second"]
                for ours, floor in zip(runs, found[FLOOR], strict=True)
            ]
            over = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            lines.append(
                f"| {key} | {name} | {median['per_second']:,.0f} | {median['p50']:.2f} | {median['p99']:.2f} "
                f"| {median['cpu_us']:.0f} | {over if name != FLOOR else ''} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
