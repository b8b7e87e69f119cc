"""MLServer in front of ``Row``, in process (no pool, which costs a hop), as its own runtimes call a model."""

import asyncio
import sys

from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from bench.servers.row import Row


class Served(MLModel):
    async def load(self) -> bool:
        self.row = Row()
        self.row.load(None)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        found = self.row.predict({"X": NumpyCodec.decode_input(payload.inputs[0]).astype("float32")})["total"]
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("total", found)])


if __name__ == "__main__":
    port = int(sys.argv[1])
    settings = Settings(
        host="127.0.0.1", http_port=port, grpc_port=port + 1, metrics_port=port + 2, metrics_endpoint=None,
        parallel_workers=0, debug=False, use_structured_logging=False,
    )  # fmt: skip
    asyncio.run(MLServer(settings).start([ModelSettings(name="row", implementation=Served)]))
