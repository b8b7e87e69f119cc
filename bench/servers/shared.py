"""``fairlead up`` with two endpoints, for a rig that names the port last: FOLDER MODEL EXECUTOR PORT."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

folder, model, executor, port = sys.argv[1:]
endpoints = {
    "w1": {"model": model, "threads": 1, "executor": "inline"},
    "held": {"model": "bench.servers.held:Held", "executor": executor},
}
spec = Path(folder) / "shared.json"
spec.write_text(json.dumps({"server": {"port": int(port)}, "record": False, "endpoints": endpoints}))
words = ["up", str(spec), "--log-level", "warning", "--home", folder]
os.execv(sys.executable, [sys.executable, "-m", "fairlead", *words])
