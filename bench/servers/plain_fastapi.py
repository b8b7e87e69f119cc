"""Plain FastAPI: what most people write. Sync handler, pydantic body, no batching."""

import os

import numpy as np
import onnxruntime
from fastapi import FastAPI
from pydantic import BaseModel

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"])
app = FastAPI()


class Tensor(BaseModel):
    name: str
    shape: list[int]
    datatype: str
    data: list[float]


class Body(BaseModel):
    inputs: list[Tensor]


@app.post("/v2/models/w1/infer")
def infer(body: Body) -> dict[str, object]:
    (tensor,) = body.inputs
    label, probabilities = session.run(None, {"X": np.array(tensor.data, np.float32).reshape(tensor.shape)})
    outputs = [
        {"name": "label", "datatype": "INT64", "shape": list(label.shape), "data": label.tolist()},
        {
            "name": "probabilities",
            "datatype": "FP32",
            "shape": list(probabilities.shape),
            "data": probabilities.ravel().tolist(),
        },
    ]
    return {"model_name": "w1", "outputs": outputs}
