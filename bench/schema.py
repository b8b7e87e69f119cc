"""Schemathesis over the served OpenAPI: every answer is one that the document names, and every error is typed.

usage: python -m bench.schema [--seconds 300] [--seed 1] [--examples 60]
Needs ``schemathesis`` (``pip install schemathesis``, in an environment of its own) on the PATH, or beside this Python.
Runs it again with another seed until the time is over. Exit code 1 when it found something, or the log has an error.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import rig
from bench.fuzz import start

CHECKS = "status_code_conformance,content_type_conformance,response_headers_conformance"
CHECKS += ",response_schema_conformance,typed_errors"

TABLE = """
class Table:
    inputs = (("age", "INT64", [-1, 1]), ("city", "BYTES", [-1, 1]), ("income", "FP64", [-1, 1]))
    outputs = (("y", "FP64", [-1]),)
    def predict(self, inputs):
        return {"y": inputs["income"][:, 0] + inputs["age"][:, 0]}
"""


def program() -> str | None:
    """Where schemathesis is."""
    beside = Path(sys.executable).with_name("schemathesis")
    return str(beside) if beside.exists() else shutil.which("schemathesis")


def once(found: str, url: str, seed: int, examples: int) -> tuple[int, int, str]:
    """One run: test cases, failures, and what it printed."""
    words = [found, "run", f"{url}/openapi.json", "--checks", CHECKS, "--seed", str(seed), "--no-color"]
    words += ["--max-examples", str(examples), "--phases", "examples,coverage,fuzzing"]
    env = {
        **os.environ,
        "SCHEMATHESIS_HOOKS": "bench.schema_hooks",
        "PYTHONPATH": os.pathsep.join(map(str, (rig.ROOT, rig.ROOT / "src"))),
    }
    with tempfile.TemporaryDirectory() as folder:  # it leaves a folder behind
        done = subprocess.run(words, capture_output=True, text=True, check=False, env=env, cwd=folder)
    cases = re.search(r"(\d+) generated(?:, (\d+) found)?", done.stdout)
    if cases is None:
        raise SystemExit(f"schemathesis did not run: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return int(cases[1]), int(cases[2] or 0), done.stdout


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.schema")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--examples", type=int, default=60)
    options = parser.parse_args()
    found = program()
    if found is None:
        raise SystemExit("schemathesis is not installed: pip install schemathesis, in an environment of its own")
    cases = failures = runs = 0
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "table.py").write_text(TABLE)
        process, port, log = start(Path(scratch), ["table=table:Table"])
        try:
            ends = time.monotonic() + options.seconds
            while runs == 0 or time.monotonic() < ends:
                more, bad, said = once(found, f"http://127.0.0.1:{port}", options.seed + runs, options.examples)
                cases, failures, runs = cases + more, failures + bad, runs + 1
                if bad:
                    print(said[-6000:])
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(40)
        shouts = [line for line in log.read_text().splitlines() if "Traceback" in line or '"level":"error"' in line]
    rig.save("schema", {"runs": runs, "cases": cases, "failures": failures, "log": shouts[:20], "exit_code": code})
    print(f"{runs} runs, {cases:,} cases, {failures} failures, {len(shouts)} errors in the log")
    return int(bool(failures or shouts or code))


if __name__ == "__main__":
    sys.exit(main())
