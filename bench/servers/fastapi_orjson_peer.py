"""FastAPI as one who cares about speed writes it: async handler, orjson in and out, no models of the body."""

import os
import sys

import numpy as np
import onnxruntime
import orjson
import uvicorn
from fastapi import FastAPI, Request, Response

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"])
app = FastAPI()


@app.post("/v2/models/w1/infer")
async def infer(request: Request) -> Response:
    (tensor,) = orjson.loads(await request.body())["inputs"]
    label, probabilities = session.run(None, {"X": np.array(tensor["data"], np.float32).reshape(tensor["shape"])})
    outputs = [
        {"name": "label", "datatype": "INT64", "shape": label.shape, "data": label},
        {"name": "probabilities", "datatype": "FP32", "shape": probabilities.shape, "data": probabilities.ravel()},
    ]
    answer = {"model_name": "w1", "outputs": outputs}
    return Response(orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), loop="uvloop", http="httptools", log_level="warning", access_log=False)
