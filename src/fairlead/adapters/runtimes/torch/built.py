"""A class of the user's that builds the module, and weights from a safetensors file.

::

    class Net(torch.nn.Module):
        inputs = [("x", "FP32", [-1, 4])]            # optional; without it any tensors are taken, unchecked

        def forward(self, x): ...

The class is named as ``package.module:Net`` and called without arguments; a function that returns the module does as
well. It is the user's own code and runs as such. Weights are read by safetensors, which runs no code.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file

from fairlead.adapters.runtimes.torch.program import Feed, Program, state_of
from fairlead.contracts.errors import BrokenModel, FairleadError, MissingExtra
from fairlead.contracts.types import DataType, TensorSpec
from fairlead.kit import plugins
from fairlead.kit.sentences import cause

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def load(target: str, weights: Path | None, device: torch.device) -> Program:
    """Raises BrokenModel for what builds no module or does not take the weights, MissingExtra for a missing import."""
    module = _built(target)
    if weights is not None:
        _fill(module, weights, target)
    module.to(device).eval()
    inputs = _declared(module, target)
    arguments = _arguments(module, [spec.name for spec in inputs])
    return Program(
        run=_run(module, arguments),
        arguments=arguments,
        file=weights.name if weights else target,
        device=device,
        source=module,
        state=state_of(module),
        inputs=inputs,
        platform="pytorch_eager",
    )


def _built(target: str) -> Any:
    try:
        make = plugins.attribute(target)
        module = make()
    except ModuleNotFoundError as error:
        raise plugins.missing(error, target) from error
    except MissingExtra:
        raise
    except FairleadError as error:
        raise BrokenModel(str(error)) from error
    except (Exception, SystemExit) as error:  # user code may raise anything
        raise BrokenModel(f"{target} failed to build: {cause(error)}; it is called without arguments") from error
    if not isinstance(module, torch.nn.Module):
        raise BrokenModel(f"{target} gives a {type(module).__name__}, not a torch.nn.Module")
    return module


def _fill(module: Any, weights: Path, target: str) -> None:
    try:
        state = load_file(weights)
    except (OSError, safetensors.SafetensorError, ValueError) as error:
        raise BrokenModel(f"{weights} is no safetensors file that can be read: {cause(error)}") from error
    try:
        missing, unexpected = module.load_state_dict(state, strict=False)
    except RuntimeError as error:
        line = next((line.strip() for line in str(error).splitlines()[1:]), cause(error))
        raise BrokenModel(f"{weights.name} does not fit {target}: {line.rstrip('.')}") from error
    shared = {name for name in missing if _is_shared(module, name, missing)}
    if lost := [name for name in missing if name not in shared]:
        raise BrokenModel(f"{weights.name} has no {_listed(lost)}, which {target} needs; name the class that wrote it")
    if unexpected:
        held = _listed(unexpected)
        raise BrokenModel(f"{weights.name} has {held}, which {target} does not know; name the class that wrote it")


def _listed(names: list[str]) -> str:
    return repr(names[0]) if len(names) == 1 else f"{names[0]!r} (and {len(names) - 1} more)"


def _is_shared(module: Any, name: str, missing: list[str]) -> bool:
    """Whether another name of the very same tensor was filled: safetensors keeps a shared tensor once."""
    state = module.state_dict(keep_vars=True)
    return any(other not in missing and tensor is state[name] for other, tensor in state.items())


def _declared(module: Any, target: str) -> tuple[TensorSpec, ...]:
    try:
        return tuple(
            one if isinstance(one, TensorSpec) else TensorSpec(str(one[0]), DataType(one[1]), tuple(map(int, one[2])))
            for one in getattr(module, "inputs", ())
        )
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise BrokenModel(
            f'{target}.inputs must list (name, datatype, shape), for example ("x", "FP32", [-1, 4]): {error}'
        ) from error


def _arguments(module: Any, names: list[str]) -> tuple[str, ...]:
    """Names of what ``forward`` is given: those declared where it knows them, else its own that have no default."""
    parameters = inspect.signature(module.forward).parameters.values()
    known = [one.name for one in parameters if one.kind in (*_POSITIONAL, inspect.Parameter.KEYWORD_ONLY)]
    if names and set(names) <= set(known):
        return tuple(names)
    own = [one.name for one in parameters if one.kind in _POSITIONAL and one.default is inspect.Parameter.empty]
    return tuple(known[: len(names)] if len(names) > len(own) else own)


def _run(module: Any, names: tuple[str, ...]) -> Callable[[Feed], Any]:
    def run(feed: Feed) -> Any:
        return module(**{name: feed[name] for name in names})

    return run
