"""``fairlead up SPEC`` on a port that is given: ``python -m bench.servers.gateway SPEC HOME PORT``."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main() -> None:
    spec, home, port = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    made = spec.with_name(f"on-{port}.yaml")
    made.write_text(f"server: {{port: {port}}}\n{spec.read_text()}")
    words = ["-m", "fairlead", "up", str(made), "--home", home, "--log-level", "warning"]
    os.execv(sys.executable, [sys.executable, *words])


if __name__ == "__main__":
    main()
