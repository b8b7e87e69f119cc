"""The KServe SDK, over its own V2 routes."""

import os
import sys

import kserve
import onnxruntime


class W1(kserve.Model):
    def __init__(self) -> None:
        super().__init__("w1")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"]
        )
        self.ready = True

    async def predict(
        self,
        payload: kserve.InferRequest,
        headers: object = None,  # noqa: ARG002 - theirs
        response_headers: object = None,  # noqa: ARG002 - theirs
    ) -> kserve.InferResponse:
        found = self.session.run(["probabilities"], {"X": payload.inputs[0].as_numpy()})[0]
        output = kserve.InferOutput("probabilities", list(found.shape), "FP32")
        output.set_data_from_numpy(found, binary_data=False)
        return kserve.InferResponse(payload.id or "0", self.name, [output])


if __name__ == "__main__":
    port = int(sys.argv[1])
    kserve.ModelServer(http_port=port, enable_grpc=False, workers=1, access_log_format=None).start([W1()])
