"""W2: images through a network of the shape of ResNet-18, with random weights, as binary tensors; it measures how much
of the processor is left to the model.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from bench.load import post, store

IMAGES = 48
SHAPE = (3, 224, 224)
STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))
"""Channels and the stride of the first block; each stage has two blocks of two convolutions."""


class Network:
    """Grows an ONNX graph a node at a time; every method gives the name of what it added."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.random = np.random.default_rng(11)

    def add(self, kind: str, *inputs: str, **attributes: object) -> str:
        name = f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def weight(self, *shape: int, scale: float) -> str:
        name = f"weight{len(self.weights)}"
        values = self.random.normal(0, scale, shape).astype(np.float32)
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def convolve(self, x: str, channels: tuple[int, int], size: int, stride: int) -> str:
        taken, given = channels
        kernel = self.weight(given, taken, size, size, scale=(2 / (taken * size * size)) ** 0.5)
        bias = self.weight(given, scale=0.01)
        words = {"kernel_shape": [size, size], "strides": [stride, stride], "pads": [size // 2] * 4}
        return self.add("Conv", x, kernel, bias, **words)

    def block(self, x: str, channels: tuple[int, int], stride: int) -> str:
        taken, given = channels
        inner = self.add("Relu", self.convolve(x, channels, 3, stride))
        inner = self.convolve(inner, (given, given), 3, 1)
        short = x if (taken, stride) == (given, 1) else self.convolve(x, channels, 1, stride)
        return self.add("Relu", self.add("Add", inner, short))


def network() -> onnx.ModelProto:
    net = Network()
    x = net.add("Relu", net.convolve("image", (3, 64), 7, 2))
    x = net.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    taken = 64
    for given, stride in STAGES:
        x = net.block(net.block(x, (taken, given), stride), (given, given), 1)
        taken = given
    x = net.add("Flatten", net.add("GlobalAveragePool", x))
    net.nodes.append(
        helper.make_node("Gemm", [x, net.weight(512, 1000, scale=0.04), net.weight(1000, scale=0.01)], ["logits"])
    )
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", *SHAPE])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 1000])
    graph = helper.make_graph(net.nodes, "w2", [image], [logits], net.weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def session(path: Path) -> onnxruntime.InferenceSession:
    """As the server runs it: one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def make(folder: Path) -> Path:
    """The model; beside it the requests, the images and the logits that each must be answered with."""
    path = folder / "w2.onnx"
    onnx.save(network(), path)
    images = np.random.default_rng(12).normal(0, 1, (IMAGES, *SHAPE)).astype(np.float32)
    np.save(folder / "images.npy", images)
    run = session(path).run
    np.save(folder / "expected.npy", np.concatenate([run(None, {"image": one[None]})[0] for one in images]))
    store(folder / "v2.requests", [request(one) for one in images])
    return path


def request(image: np.ndarray) -> bytes:
    tensor = {
        "name": "image",
        "shape": [1, *SHAPE],
        "datatype": "FP32",
        "parameters": {"binary_data_size": image.nbytes},
    }
    output = {"name": "logits", "parameters": {"binary_data": True}}
    document = json.dumps({"inputs": [tensor], "outputs": [output]}).encode()
    line = b"inference-header-content-length: %d" % len(document)
    return post("/v2/models/w2/infer", document + image.tobytes(), line, content=b"application/octet-stream")
