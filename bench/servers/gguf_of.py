"""A model of ``bench.random_llm`` as a GGUF file: ``python -m bench.servers.gguf_of FOLDER FILE Q8_0|Q4_0``.

It runs where the packages `gguf` and numpy are; its words are those of ``random_llm.add_words``.
"""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

import gguf
import numpy as np

NAMES = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip


def named(name: str) -> str:
    if name == "model.embed_tokens.weight":
        return "token_embd.weight"
    if name == "model.norm.weight":
        return "output_norm.weight"
    _, _, layer, rest = name.split(".", 3)
    stem, _, kind = rest.rpartition(".")
    return f"blk.{layer}.{NAMES[stem]}.{kind}"


def main() -> None:
    folder, file, kind = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    config = json.loads((folder / "config.json").read_text())
    count = config["vocab_size"]
    writer = gguf.GGUFWriter(file, "qwen2")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([f"w{one}" for one in range(count)])
    writer.add_token_types([gguf.TokenType.CONTROL] * 2 + [gguf.TokenType.NORMAL] * (count - 2))
    writer.add_token_merges(["w 0"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_add_bos_token(False)
    wanted = gguf.GGMLQuantizationType[kind]
    with (folder / "model.safetensors").open("rb") as stream:
        size = struct.unpack("<Q", stream.read(8))[0]
        header = json.loads(stream.read(size))
        data = np.memmap(folder / "model.safetensors", np.uint8, "r", 8 + size)
    for name, one in header.items():
        begin, end = one["data_offsets"]
        numbers = (data[begin:end].view(np.uint16).astype(np.uint32) << 16).view(np.float32).reshape(one["shape"])
        if numbers.ndim < 2:
            writer.add_tensor(named(name), np.ascontiguousarray(numbers))
            continue
        # llama.cpp quantizes the embedding of a Q4_0 file, where it is the head too, to eight bits at least.
        as_type = gguf.GGMLQuantizationType.Q8_0 if name == "model.embed_tokens.weight" else wanted
        writer.add_tensor(named(name), gguf.quants.quantize(numbers, as_type), raw_dtype=as_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
