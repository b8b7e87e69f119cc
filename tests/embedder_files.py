"""Small embedding models, written for a test into the folder of a tokenizer with bytes as tokens."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

TOKENS, SIZE = 265, 8


def static(path: Path) -> Path:
    """A vector for each token."""
    table = np.random.default_rng(0).normal(size=(TOKENS, SIZE)).astype(np.float32)
    header = json.dumps({"embeddings": {"dtype": "F32", "shape": list(table.shape), "data_offsets": [0, table.nbytes]}})
    data = header.encode()
    (path / "model.safetensors").write_bytes(len(data).to_bytes(8, "little") + data + table.tobytes())
    (path / "config.json").write_text(json.dumps({"model_type": "model2vec", "normalize": True, "seq_length": 100}))
    return path


def encoder(path: Path) -> Path:
    """An encoder that gives each token a vector of its own, whatever stands beside it."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    table = np.random.default_rng(1).normal(size=(TOKENS, SIZE)).astype(np.float32)
    np.save(path / "table.npy", table)
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["last_hidden_state"])]
    shape = ["batch", "sequence"]
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in ("input_ids", "attention_mask")]
    outputs = [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, [*shape, SIZE])]
    graph = helper.make_graph(nodes, "encoder", inputs, outputs, [numpy_helper.from_array(table, "table")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path / "model.onnx")
    (path / "1_Pooling").mkdir()
    (path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    (path / "modules.json").write_text(
        json.dumps([{"type": f"sentence_transformers.models.{one}", "path": folder} for one, folder in
                    (("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize"))])
    )  # fmt: skip
    (path / "config.json").write_text(json.dumps({"max_position_embeddings": 64}))
    return path
