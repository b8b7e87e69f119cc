"""The image of W1: compressed size, start to ready, and whether two builds, or new weights, make other layers.

usage: python -m bench.image --base IMAGE[:TAG|@sha256:...] [--tool podman] [--rounds 5]
The base is on this machine, or its registry is reached. docs/images.md says how to make one of Debian packages.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import rig, w1
from fairlead.client import Client

NAME = "localhost/fairlead-bench-w1"


def fairlead(home: Path, *words: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "fairlead", *words, "--home", str(home), "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def compressed(tool: str, tag: str, folder: Path) -> dict[str, float]:
    """MB (10^6 bytes) of each layer as registries keep it (gzip, level 6), the lowest first."""
    archive = folder / "image.tar"
    archive.unlink(missing_ok=True)
    subprocess.run([tool, "save", "--output", str(archive), tag], check=True, capture_output=True)
    with tarfile.open(archive) as whole:
        listed = json.load(whole.extractfile("manifest.json") or sys.exit("no manifest"))[0]["Layers"]
        sizes = [len(gzip.compress((whole.extractfile(name) or sys.exit(name)).read(), 6)) / 1e6 for name in listed]
    archive.unlink()
    return {"base": sizes[0], "all": sum(sizes)}


def starts(tool: str, tag: str, volume: Path, home: Path, rounds: int) -> list[float]:
    """Seconds from `run` to ready, with the weights in the volume of its state from the first start on."""
    state = f"fairlead-bench-{time.time_ns()}"
    words = [tool, "run", "--detach", "--read-only", "--cap-drop=all", "--security-opt=no-new-privileges"]
    words += ["--tmpfs=/tmp", "--memory=512m", "--publish=127.0.0.1::8080", f"--volume={state}:/var/lib/fairlead"]
    registry = [f"--volume={home}:{home}", f"--env=FAIRLEAD_TRACKING=sqlite:///{home}/mlflow.db"]
    found = []
    try:
        for turn in range(rounds + 1):
            began = time.perf_counter()
            asked = [*words, *(registry if turn == 0 else []), tag]  # later ones reach no registry
            key = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.split()[-1]
            try:
                at = subprocess.run([tool, "port", key, "8080/tcp"], check=True, capture_output=True, text=True).stdout
                with Client(f"http://{at.split()[0]}", timeout=1.0) as client:
                    while not client.ready():
                        if time.perf_counter() - began > 60:
                            sys.exit(
                                subprocess.run([tool, "logs", key], capture_output=True, text=True, check=False).stderr
                            )
                        time.sleep(0.01)
                found.append(time.perf_counter() - began)
            finally:
                subprocess.run([tool, "rm", "--force", key], capture_output=True, check=False)
    finally:
        subprocess.run([tool, "volume", "rm", "--force", state], capture_output=True, check=False)
    volume.joinpath("starts.json").write_text(json.dumps(found))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.image")
    parser.add_argument("--base", required=True)
    parser.add_argument("--tool", default="podman")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        folder.chmod(0o755)
        home, model = folder / "home", w1.make(folder)
        logged = ("models", "log", str(model), "--name", "w1", "--alias", "champion")
        fairlead(home, *logged)
        build = ("--base", options.base, "--tool", options.tool, "--build")
        first, again, weights = (
            (
                fairlead(home, *(logged if turn == 2 else ("models", "list"))),
                fairlead(
                    home, "package", "image", "models:/w1@champion", "--image", f"{NAME}:{turn}", *build,
                    "--context", str(folder / f"context-{turn}"), *(["--no-cache"] if turn == 1 else []),
                ),
            )[1]
            for turn in range(3)
        )  # fmt: skip
        sizes = compressed(options.tool, f"{NAME}:2", folder)
        subprocess.run(["chmod", "-R", "a+rwX", str(home)], check=True)
        cold, *warm = starts(options.tool, f"{NAME}:2", folder, home, options.rounds)
        found = {
            "compressed_mb": sizes,
            "ready_first_seconds": cold,
            "ready_cached_seconds": warm,
            "same_layers_again": first["layers"] == again["layers"],
            "same_id_again": first["id"] == again["id"],
            "same_layers_with_new_weights": first["layers"] == weights["layers"] and first["model"] != weights["model"],
        }
        for turn in range(3):
            subprocess.run([options.tool, "rmi", "--force", f"{NAME}:{turn}"], capture_output=True, check=False)
    rig.save("image", found)
    rows = [
        ["compressed, of that the base", f"{sizes['all']:.0f} MB", f"{sizes['base']:.0f} MB"],
        ["start to ready, weights pulled", f"{cold:.2f} s", ""],
        ["start to ready, weights cached", f"{statistics.median(warm):.2f} s", f"{min(warm):.2f} to {max(warm):.2f} s"],
        ["two builds, the same layers", str(found["same_layers_again"]), f"the same id: {found['same_id_again']}"],
        ["new weights, the same layers", str(found["same_layers_with_new_weights"]), ""],
    ]
    print(rig.markdown(["image of W1", "", ""], rows))


if __name__ == "__main__":
    main()
