"""How long a conversion takes, and how much memory, for each precision.

usage: python -m bench.convert FOLDER [--precisions int8,int4,bf16,f16] [--runs 1] [--make]
FOLDER: a Hugging Face folder with safetensors; with --make it is written first: a Qwen 2 of 0.5B parameters (24 layers,
896 wide, 151,936 words, tied), random numbers in bfloat16. Each run is a process of its own with an empty cache. Memory
is the largest resident set of the process, less what it has after its imports; it is told beside the size of the
source's weights and of those that were written. Resident memory counts mapped pages of the source too.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

CHILD = """
import json, resource, sys, time
from pathlib import Path
from fairlead.adapters.engines.openvino.convert.prepared import prepare, report

def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) << 10

before, began = peak(), time.perf_counter()
folder = prepare(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
seconds = time.perf_counter() - began
began = time.perf_counter()
prepare(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
again = time.perf_counter() - began
usage = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"seconds": seconds, "again": again, "peak": peak() - before, "written": report(folder).bytes,
                  "cpu": usage.ru_utime + usage.ru_stime}))
"""


SHAPE = {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14}
SHAPE |= {"num_key_value_heads": 2, "vocab_size": 151_936, "max_position_embeddings": 32_768}


def make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    config = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_act": "silu", "rms_norm_eps": 1e-6}
    config |= {"rope_theta": 1e6, "tie_word_embeddings": True, "use_sliding_window": False, **SHAPE}
    (folder / "config.json").write_text(json.dumps(config))
    hidden, inner, narrow = 896, 4864, 128
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (SHAPE["vocab_size"], hidden)}
    for index in range(SHAPE["num_hidden_layers"]):
        at = f"model.layers.{index}"
        for name, rows in {"q_proj": hidden, "k_proj": narrow, "v_proj": narrow}.items():
            shapes |= {f"{at}.self_attn.{name}.weight": (rows, hidden), f"{at}.self_attn.{name}.bias": (rows,)}
        shapes |= {f"{at}.self_attn.o_proj.weight": (hidden, hidden), f"{at}.mlp.down_proj.weight": (hidden, inner)}
        shapes |= {f"{at}.mlp.{name}_proj.weight": (inner, hidden) for name in ("gate", "up")}
        shapes |= {f"{at}.{name}.weight": (hidden,) for name in ("input_layernorm", "post_attention_layernorm")}
    shapes["model.norm.weight"] = (hidden,)
    draw = np.random.default_rng(1)
    header, at_byte = {}, 0
    for name, shape in shapes.items():
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at_byte, at_byte + size]}
        at_byte += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with (folder / "model.safetensors").open("wb") as handle:
        handle.write(len(text).to_bytes(8, "little") + text)
        for shape in shapes.values():
            few = (draw.standard_normal(min(1 << 20, int(np.prod(shape)))) * 0.02).astype(np.float32)
            handle.write(np.resize((few.view(np.uint32) >> 16).astype(np.uint16), shape).tobytes())


def measured(folder: Path, precision: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=folder.parent) as cache:
        asked = [sys.executable, "-c", CHILD, str(folder), cache, precision]
        said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    found: dict[str, Any] = json.loads(said)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--precisions", default="int8,int4,bf16,f16")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--make", action="store_true")
    args = parser.parse_args()
    if args.make:
        make(args.folder)
    source = sum(path.stat().st_size for path in args.folder.glob("*.safetensors"))
    print(f"source: {source / 1e6:.0f} MB of weights")
    print("precision  seconds    cpu  again, s  written, MB  peak, MB  peak / source  peak / written")
    for precision in args.precisions.split(","):
        for _ in range(args.runs):
            row = measured(args.folder.absolute(), precision)
            written = row["written"] / 1e6
            print(
                f"{precision:9}  {row['seconds']:7.2f}  {row['cpu']:5.1f}  {row['again']:8.3f}  {written:11.0f}  "
                f"{row['peak'] / 1e6:8.0f}  {row['peak'] / source:13.2f}  {row['peak'] / row['written']:14.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
