"""llama.cpp's own server, from the package xllamacpp that has it built in, behind the flags of `llama-server`."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import xllamacpp

WHERE: dict[str, tuple[str, Any]] = {
    "-m": ("model.path", str),
    "--host": ("hostnames", lambda value: [value]),
    "--port": ("port", int),
    "--alias": ("model_alias", lambda value: {value}),
    "-np": ("n_parallel", int),
    "-c": ("n_ctx", int),
    "-t": ("cpuparams.n_threads", int),
    "-ngl": ("n_gpu_layers", int),
    "--temp": ("sampling.temp", float),
    "--top-k": ("sampling.top_k", int),
    "--top-p": ("sampling.top_p", float),
    "--min-p": ("sampling.min_p", float),
    "--repeat-penalty": ("sampling.penalty_repeat", float),
}
"""Flags, and where their values go."""


def main(words: list[str]) -> None:
    params = xllamacpp.CommonParams()
    params.verbosity = 0
    params.use_jinja = "--jinja" in words
    words = [word for word in words if word != "--jinja"]
    for name, value in zip(words[::2], words[1::2], strict=True):
        if name not in WHERE:
            sys.exit(f"error: invalid argument: {name}")
        path, kind = WHERE[name]
        *owners, last = path.split(".")
        owner: Any = params
        for one in owners:
            owner = getattr(owner, one)
        setattr(owner, last, kind(value))
    params.api_keys = [os.environ["LLAMA_API_KEY"]]
    server = xllamacpp.Server(params)
    print(server.listening_address, file=sys.stderr)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main(sys.argv[1:])
