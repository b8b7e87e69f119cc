"""MLServer with its own scikit-learn runtime, in process (no pool of workers, which costs a hop)."""

import asyncio
import os
import sys

from mlserver import MLServer, ModelSettings, Settings
from mlserver.settings import ModelParameters
from mlserver_sklearn import SKLearnModel

if __name__ == "__main__":
    port = int(sys.argv[1])
    settings = Settings(
        host="127.0.0.1", http_port=port, grpc_port=port + 1, metrics_port=port + 2, metrics_endpoint=None,
        parallel_workers=0, debug=False, use_structured_logging=False,
    )  # fmt: skip
    model = ModelSettings(
        name="native",
        implementation=SKLearnModel,
        max_batch_size=int(os.environ["BENCH_BATCH"]),  # 0: its batching is off
        max_batch_time=0.001 if int(os.environ["BENCH_BATCH"]) else 0.0,
        parameters=ModelParameters(uri=os.environ["BENCH_MODEL"]),
    )
    asyncio.run(MLServer(settings).start([model]))
