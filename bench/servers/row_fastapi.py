"""Plain FastAPI in front of ``Row``: sync handler, pydantic body."""

from __future__ import annotations

import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel

from bench.servers.row import Row

model = Row()
model.load(None)
app = FastAPI()


class Tensor(BaseModel):
    name: str
    shape: list[int]
    datatype: str
    data: list[float]


class Body(BaseModel):
    inputs: list[Tensor]


@app.post("/v2/models/row/infer")
def infer(body: Body) -> dict[str, object]:
    (tensor,) = body.inputs
    total = model.predict({"X": np.array(tensor.data, np.float32).reshape(tensor.shape)})["total"]
    output = {"name": "total", "datatype": "FP32", "shape": list(total.shape), "data": total.ravel().tolist()}
    return {"model_name": "row", "outputs": [output]}
