"""The bench: ours beside the floor, plain FastAPI and peers, in one run; server on one core, load on another.

usage: python -m bench [--only w1,record,w2,ready,install] [--rounds 3] [--seconds 3] [--connections 1,16,64]
       [--peers DIR]
Every answer is checked. Figures go to bench/results/*.json, tables as Markdown to standard output. DIR holds a virtual
environment for each peer, named fastapi-orjson, litserve, bentoml, kserve or mlserver; who is not there is left out.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from bench import beside, footprint, record, rig

PARTS = ("w1", "record", "w2", "ready", "install")


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--connections", default="1,16,64")
    parser.add_argument("--images", type=int, default=192)
    parser.add_argument("--peers", type=Path)
    options = parser.parse_args()
    parts = options.only.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory() as scratch:
        folders = {part: Path(scratch) / part for part in PARTS}
        for folder in folders.values():
            folder.mkdir()
        if "w1" in parts:
            connections = [int(part) for part in options.connections.split(",")]
            runs, memory = beside.run_w1(folders["w1"], connections, options.seconds, options.rounds, options.peers)
            rig.save("w1", {"runs": runs, "memory_mb": memory})
            print(beside.table_w1(runs, memory), end="\n\n", flush=True)
        if "record" in parts:
            connections = [int(part) for part in options.connections.split(",")]
            runs, kept = record.run(folders["record"], connections, options.seconds, options.rounds)
            rig.save("record", {"runs": runs, "kept": kept})
            print(record.table(runs, kept), end="\n\n", flush=True)
        if "w2" in parts:
            images = beside.run_w2(folders["w2"], options.images, options.rounds)
            rig.save("w2", images)
            print(beside.table_w2(images), end="\n\n", flush=True)
        if "ready" in parts or "install" in parts:
            started = footprint.ready(folders["ready"], options.rounds) if "ready" in parts else {}
            installed = footprint.installation() if "install" in parts else {}
            rig.save("footprint", {"ready": started, "install_mb": installed})
            print(footprint.table(started, installed))


if __name__ == "__main__":
    main()
