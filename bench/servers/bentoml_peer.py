"""BentoML with its adaptive batching, one worker."""

import os
import sys

import bentoml
import numpy as np
import onnxruntime


@bentoml.service(traffic={"timeout": 60, "max_concurrency": 1000}, workers=1)
class W1:
    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"]
        )

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=1000)
    def predict(self, data: np.ndarray) -> np.ndarray:
        return self.session.run(None, {"X": np.asarray(data, np.float32)})[1]


if __name__ == "__main__":
    os.environ["BENTOML_DO_NOT_TRACK"] = "1"
    words = ["-m", "bentoml", "serve", "bench.servers.bentoml_peer:W1", "--host", "127.0.0.1", "--port", sys.argv[1]]
    os.execv(sys.executable, [sys.executable, *words])
