"""onnxruntime in process, nothing else: images a second through W2 in batches of one size.

usage: python -m bench.floor FOLDER BATCH COUNT  (prints one JSON document)
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

from bench import w2


def main() -> None:
    folder, batch, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    images = np.load(folder / "images.npy")
    run = w2.session(folder / "w2.onnx").run
    parts = [images[at : at + batch] for at in range(0, len(images) - batch + 1, batch)]
    run(None, {"image": parts[0]})
    took = []
    for turn in range(count // batch):
        began = time.perf_counter()
        run(None, {"image": parts[turn % len(parts)]})
        took.append(time.perf_counter() - began)
    milliseconds = np.array(took) * 1000
    p50, p99 = np.percentile(milliseconds, [50, 99])
    print(json.dumps({"requests_per_second": batch * len(took) / sum(took), "p50_ms": p50, "p99_ms": p99}))


if __name__ == "__main__":
    main()
