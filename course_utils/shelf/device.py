"""Where the models compute: the environment variable MANY_MODELS_DEVICE, read when a model is loaded.

    cpu         the default
    cuda, mps   an NVIDIA GPU, a GPU of Apple's
    auto        CUDA if there is one, else MPS where it works, else the CPU

Only models are there. What goes into one is taken there, and what it returns comes back to the CPU, in float32 like the
models: mixtures, searches, draws, charts and exercises see tensors of the CPU, whatever the setting, and nothing of
theirs has to exist on a device (MPS has no float64). A cache of keys and values stays where it is. `state_dict()` gives
tensors of the CPU as well: models are averaged and merged there, and `load_state_dict` takes the result back.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import torch
from torch import Tensor, nn

from course_utils.shelf.assets import AssetError

__all__ = ["DeviceError", "device", "on_device"]

SETTING = "MANY_MODELS_DEVICE"
GPUS = ("cuda", "mps")


class DeviceError(AssetError, ValueError):
    """The setting names no device that there is. One line; in a notebook it is shown without a traceback."""


def device() -> torch.device:
    """The device that MANY_MODELS_DEVICE asks for. Raises DeviceError (one line): an unknown word, no such device."""
    wanted = os.environ.get(SETTING, "").strip().lower() or "cpu"
    if wanted not in ("cpu", "auto", *GPUS):
        raise DeviceError(f"{SETTING} is {wanted!r}: set it to cpu, cuda, mps or auto, or unset it")
    if wanted == "auto":
        wanted = next(filter(_works, GPUS), "cpu")
    if wanted in GPUS and not _works(wanted):
        there = ", ".join([*filter(_works, GPUS), "cpu"])
        raise DeviceError(
            f"{SETTING} is {wanted!r}, which torch {torch.__version__} cannot use here (it can use: {there}): "
            "set it to one of these, to auto, or unset it"
        )
    return torch.device(wanted)


def _works(kind: str) -> bool:
    """Whether there is such a device that can add: virtual machines of macOS have an MPS without any memory."""
    there = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    try:
        return there[kind]() and (torch.ones(2, device=kind) + 1).sum().item() == 4
    except RuntimeError:
        return False


def on_device(model: nn.Module) -> nn.Module:
    """The model, moved to `device()`; there it still takes tensors of the CPU and returns such (see the module).

    That holds for calls of the model itself and of its copies. A part of it, as `model.get_encoder()`, wants tensors of
    the device that it is on and returns such, and so does `model.forward`.
    """
    where = device()
    if where.type == "cpu":
        return model
    if where.type == "cuda":  # else convolutions round float32 to the 10 bits of TF32
        torch.backends.cudnn.conv.fp32_precision = "ieee"
    model.to(where).register_forward_pre_hook(_inputs_to_device, with_kwargs=True)
    model.register_forward_hook(_outputs_to_cpu)
    model.register_state_dict_post_hook(_state_to_cpu)
    return model


def _moved(value: Any, where: torch.device | str) -> Any:
    """A tensor, or those of a tuple or of a ModelOutput; everything else, as a cache, stays where it is."""
    if isinstance(value, Tensor):
        return value.to(where)
    if isinstance(value, tuple):
        return tuple(_moved(part, where) for part in value)
    if dataclasses.is_dataclass(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **{name: _moved(part, where) for name, part in fields.items()})
    return value


def _inputs_to_device(model: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    where = next(model.parameters()).device  # not `device()`: a copy may have been moved since
    return _moved(args, where), {name: _moved(value, where) for name, value in kwargs.items()}


def _outputs_to_cpu(model: nn.Module, args: tuple, output: Any) -> Any:
    return _moved(output, "cpu")


def _state_to_cpu(model: nn.Module, state: dict[str, Any], prefix: str, metadata: dict) -> None:
    for name in state:
        if name.startswith(prefix):
            state[name] = state[name].cpu()
