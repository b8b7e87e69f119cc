"""How long a conversion takes, and how much memory, for each precision.

usage: python -m bench.convert FOLDER [--precisions int8,int4,bf16,f16] [--runs 1]
FOLDER: a Hugging Face folder with safetensors. Each run is a process of its own with an empty cache. Memory is the
largest resident set of the process, less what it has after its imports; it is told beside the size of the source's
weights and of those that were written. Resident memory counts mapped pages of the source too.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CHILD = """
import json, resource, sys, time
from pathlib import Path
from fairlead.adapters.engines.openvino.convert.prepared import prepare, report

def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) << 10

before, began = peak(), time.perf_counter()
folder = prepare(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
seconds = time.perf_counter() - began
began = time.perf_counter()
prepare(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
again = time.perf_counter() - began
usage = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"seconds": seconds, "again": again, "peak": peak() - before, "written": report(folder).bytes,
                  "cpu": usage.ru_utime + usage.ru_stime}))
"""


def measured(folder: Path, precision: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=folder.parent) as cache:
        asked = [sys.executable, "-c", CHILD, str(folder), cache, precision]
        said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    found: dict[str, Any] = json.loads(said)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--precisions", default="int8,int4,bf16,f16")
    parser.add_argument("--runs", type=int, default=1)
    args = parser.parse_args()
    source = sum(path.stat().st_size for path in args.folder.glob("*.safetensors"))
    print(f"source: {source / 1e6:.0f} MB of weights")
    print("precision  seconds    cpu  again, s  written, MB  peak, MB  peak / source  peak / written")
    for precision in args.precisions.split(","):
        for _ in range(args.runs):
            row = measured(args.folder.absolute(), precision)
            written = row["written"] / 1e6
            print(
                f"{precision:9}  {row['seconds']:7.2f}  {row['cpu']:5.1f}  {row['again']:8.3f}  {written:11.0f}  "
                f"{row['peak'] / 1e6:8.0f}  {row['peak'] / source:13.2f}  {row['peak'] / row['written']:14.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
