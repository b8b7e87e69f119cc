"""Where the time of a request goes: W1 on a server under ``cProfile``, by function.

usage: python -m bench.profile [--connections 64] [--seconds 5] [--lines 30]
The profiler makes Python functions dearer and leaves C alone, so read shares, not microseconds.
"""

from __future__ import annotations

import argparse
import pstats
import sys
import tempfile
from pathlib import Path

from bench import rig, w1
from bench.rig import Entry


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.profile")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--lines", type=int, default=30)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model, out = w1.make(folder), folder / "profile"
        words = ["-m", "fairlead", "serve", f"w1={model}", "--threads", "1", "--log-level", "warning", "--port"]
        entry = Entry([sys.executable, "-m", "cProfile", "-o", str(out), *words])
        with rig.running(entry, rig.readyz) as (port, _, _):
            found = rig.load(port, options.connections, folder, entry, True, "--seconds", str(options.seconds))
        print(f"{found['requests_per_second']:,.0f} requests/s under the profiler, {found['wrong']} wrong")
        pstats.Stats(str(out)).sort_stats("tottime").print_stats("^(?!.*(importlib|typing|select))", options.lines)


if __name__ == "__main__":
    main()
