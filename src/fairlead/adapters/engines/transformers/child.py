"""The process that runs a model. It ends when the socket to the server does.

usage: python -P -m fairlead.adapters.engines.transformers.child FD
"""

from __future__ import annotations

import os
import queue
import socket
import sys
import threading
from typing import Any, Final

import msgspec
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LogitsProcessor, StoppingCriteria

from fairlead.adapters.engines.transformers.messages import (
    Ask,
    Begun,
    Cancel,
    Ended,
    Failed,
    Frames,
    Load,
    Loaded,
    Said,
    ToChild,
    ToServer,
    packed,
)
from fairlead.adapters.engines.transformers.writing import Writing
from fairlead.contracts.errors import BrokenModel, ContextTooLong, FairleadError, InputError

_decode = msgspec.msgpack.Decoder(ToChild).decode
_DTYPES: Final = ("auto", "float32", "bfloat16", "float16")


class Model:
    """Weights and tokenizer of a folder. Runs no code of it, and reads no pickle."""

    def __init__(self, order: Load) -> None:
        if order.threads:
            torch.set_num_threads(order.threads)
        dtype = order.dtype if order.dtype == "auto" else getattr(torch, order.dtype)
        told: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        self.tokenizer = AutoTokenizer.from_pretrained(order.path, **told)
        made = AutoModelForCausalLM.from_pretrained(order.path, use_safetensors=True, dtype=dtype, **told)
        self.model = made.to(order.device).eval()
        ends = self.model.generation_config.eos_token_id
        if ends is None:
            ends = self.tokenizer.eos_token_id
        self.ends = [] if ends is None else [*ends] if isinstance(ends, list | tuple) else [ends]
        self.model.generation_config = GenerationConfig()  # what a request leaves out is neutral, not the model's own
        says = int(getattr(self.model.config, "max_position_embeddings", 0) or 0)
        self.context = min(order.context or says, says or order.context)

    def ids(self, prompt: Any) -> list[int]:
        """Raises InputError, ContextTooLong."""
        if isinstance(prompt, str):
            found: list[int] = self.tokenizer(prompt, split_special_tokens=True)["input_ids"]
        elif prompt and isinstance(prompt[0], dict):
            if not self.tokenizer.chat_template:
                raise InputError("this model has no template for conversations; ask it to go on with a text")
            try:
                text = self.tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
            except Exception as error:  # noqa: BLE001 - whatever a template raises, it refuses the conversation
                raise InputError(f"the model's template refuses the conversation: {error}") from None
            found = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        else:
            found = [*prompt]
        most = len(self.tokenizer)
        if not found or max(found) >= most:
            raise InputError(f"an id of the prompt is none of the {most} tokens of the model, or there is none")
        if self.context and len(found) >= self.context:
            over = len(found) + 1 - self.context
            raise ContextTooLong(
                f"the prompt has {len(found)} tokens; the model takes {self.context}: shorten it by {over}"
            )
        return found

    def answer(self, ask: Ask, link: Link) -> Ended:
        """Raises FairleadError."""
        ids, wanted = self.ids(ask.prompt), ask.sampling
        room = self.context - len(ids) if self.context else 1 << 30
        most = room if wanted["most"] is None else min(wanted["most"], room)
        link.send(Begun(ask.id, len(ids)))
        writing = Writing(lambda some: str(self.tokenizer.decode(some, skip_special_tokens=True)), ids, wanted["stop"])
        minding = _Minding(ask.id, link, writing)
        if wanted["seed"] is not None:
            torch.manual_seed(wanted["seed"])
        prompt = torch.tensor([ids], device=self.model.device)
        with torch.inference_mode():
            self.model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                generation_config=self._config(wanted, most),
                stopping_criteria=[minding],
                logits_processor=_adjusted(wanted, len(ids)),
            )
        minding.say(writing.rest())
        ended = writing.stopped or (minding.last in self.ends and not wanted["ignore_end"])
        return Ended(ask.id, "stop" if ended else "length", len(ids), minding.tokens)

    def _config(self, wanted: dict[str, Any], most: int) -> GenerationConfig:
        sample = wanted["temperature"] > 0
        told: dict[str, Any] = {
            "max_new_tokens": most,
            "do_sample": sample,
            "pad_token_id": self.ends[0] if self.ends else 0,
        }
        if self.ends and not wanted["ignore_end"]:
            told["eos_token_id"] = self.ends
        if wanted["least"]:
            told["min_new_tokens"] = wanted["least"]
        if wanted["repetition_penalty"] != 1.0:
            told["repetition_penalty"] = wanted["repetition_penalty"]
        if sample:
            told |= {"temperature": wanted["temperature"], "top_p": wanted["top_p"], "top_k": wanted["top_k"]}
            if wanted["min_p"]:
                told["min_p"] = wanted["min_p"]
        return GenerationConfig(**told)


class _Minding(StoppingCriteria):  # type: ignore[misc]
    """Called behind every token: says what there is to say, and stops where nobody wants more."""

    def __init__(self, identity: int, link: Link, writing: Writing) -> None:
        self._id, self._link, self._writing = identity, link, writing
        self.tokens = 0
        self.last = -1
        self._told = 0

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:  # noqa: ARG002 - as transformers calls it
        self.last = int(input_ids[0, -1])
        self.tokens += 1
        self.say(self._writing.add(self.last))
        done = self._writing.stopped or self._id in self._link.cancelled
        return torch.full((input_ids.shape[0],), done, dtype=torch.bool, device=input_ids.device)

    def say(self, text: str) -> None:
        if text:
            self._link.send(Said(self._id, text, self.tokens - self._told))
            self._told = self.tokens


class _Adjusted(LogitsProcessor):  # type: ignore[misc]
    """What OpenAI's API adds to logits: penalties by what was said, and a bias by token."""

    def __init__(self, presence: float, frequency: float, bias: list[tuple[int, float]], prompt: int) -> None:
        self._presence, self._frequency, self._bias, self._prompt = presence, frequency, bias, prompt

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        said = torch.bincount(input_ids[0, self._prompt :], minlength=scores.shape[-1])[: scores.shape[-1]]
        found = scores - self._presence * (said > 0) - self._frequency * said
        for token, value in self._bias:
            if 0 <= token < found.shape[-1]:
                found[:, token] += value
        return found


def _adjusted(wanted: dict[str, Any], prompt: int) -> list[Any]:
    presence, frequency, bias = wanted["presence_penalty"], wanted["frequency_penalty"], wanted["bias"]
    return [_Adjusted(presence, frequency, bias, prompt)] if presence or frequency or bias else []


class Link:
    """The socket to the server. ``cancelled``: ids of what nobody wants any more."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._lock = threading.Lock()
        self._frames = Frames()
        self.cancelled: set[int] = set()

    def send(self, message: ToServer) -> None:
        with self._lock:
            self._socket.sendall(packed(message))

    def read(self) -> list[ToChild]:
        """Waits. Ends this process when nobody is at the other end."""
        data = self._socket.recv(1 << 16)
        if not data:
            os._exit(0)
        return [_decode(frame) for frame in self._frames.feed(data)]


def main(fd: int) -> None:
    link = Link(fd)
    messages: list[ToChild] = []
    while not messages:
        messages = link.read()
    order = messages[0]
    if not isinstance(order, Load):
        raise TypeError("the first message says what to load")
    try:
        model = _loaded(order)
    except FairleadError as error:
        link.send(Failed(0, error.code, str(error)))
        return
    link.send(Loaded(model.context))
    asks: queue.SimpleQueue[Ask] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(link, model, asks), daemon=True).start()
    while True:
        ask = asks.get()
        link.send(_answered(model, ask, link))
        link.cancelled.discard(ask.id)


def _loaded(order: Load) -> Model:
    if order.dtype not in _DTYPES:
        raise BrokenModel(f"option 'dtype' is {order.dtype!r}; it is one of {', '.join(_DTYPES)}")
    try:
        return Model(order)
    except Exception as error:  # whatever the library raises, the model cannot be loaded
        raise BrokenModel(f"{order.path}: transformers cannot load it: {type(error).__name__}: {error}") from error


def _listen(link: Link, model: Model, asks: queue.SimpleQueue[Ask]) -> None:
    while True:
        for message in link.read():
            if isinstance(message, Cancel):
                link.cancelled.add(message.id)
            elif isinstance(message, Ask):
                if message.count:
                    link.send(_answered(model, message, link))
                else:
                    asks.put(message)


def _answered(model: Model, ask: Ask, link: Link) -> Ended | Failed:
    try:
        if ask.count:
            return Ended(ask.id, "", len(model.ids(ask.prompt)), 0)
        return model.answer(ask, link)
    except FairleadError as error:
        return Failed(ask.id, error.code, str(error))
    except Exception as error:  # noqa: BLE001 - one answer fails, not the process
        return Failed(ask.id, "model_failed", f"the model failed: {type(error).__name__}: {error}")


if __name__ == "__main__":
    main(int(sys.argv[1]))
