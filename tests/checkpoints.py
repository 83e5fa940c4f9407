"""Small Llama checkpoints made on the fly, for the tests and the benchmark of merging."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

SMALL = {"hidden": 32, "inner": 48, "layers": 4, "vocabulary": 80, "tied": False}


def llama_shapes(hidden: int, inner: int, layers: int, vocabulary: int, tied: bool) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a LlamaForCausalLM with as many key heads as query heads."""
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocabulary, hidden)}
    for i in range(layers):
        layer = f"model.layers.{i}"
        shapes |= {f"{layer}.self_attn.{part}_proj.weight": (hidden, hidden) for part in "qkvo"}
        shapes |= {f"{layer}.mlp.{part}_proj.weight": (inner, hidden) for part in ("gate", "up")}
        shapes |= {f"{layer}.mlp.down_proj.weight": (hidden, inner)}
        shapes |= {f"{layer}.{part}_layernorm.weight": (hidden,) for part in ("input", "post_attention")}
    shapes["model.norm.weight"] = (hidden,)
    return shapes if tied else shapes | {"lm_head.weight": (vocabulary, hidden)}


def save_llama(folder: Path, state: dict[str, Tensor], *, heads: int = 4, tied: bool = False, shards: int = 1) -> Path:
    """Write a state dict and the config.json that fits it."""
    folder.mkdir(parents=True)
    hidden = state["model.norm.weight"].numel()
    counts = {
        "hidden_size": hidden,
        "head_dim": hidden // heads,
        "intermediate_size": len(state["model.layers.0.mlp.up_proj.weight"]),
        "num_hidden_layers": sum(name.endswith("input_layernorm.weight") for name in state),
        "vocab_size": len(state["model.embed_tokens.weight"]),
        **dict.fromkeys(("num_attention_heads", "num_key_value_heads"), heads),
        **{"max_position_embeddings": 64, "bos_token_id": 0, "eos_token_id": 1, "rms_norm_eps": 1e-6},
    }
    dtype = str(state["model.norm.weight"].dtype).removeprefix("torch.")
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu"}
    config |= counts | {"tie_word_embeddings": tied, "dtype": dtype}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    if shards == 1:
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    names, weight_map = sorted(state), {}
    for i in range(shards):
        part, file = names[i::shards], f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        save_file({name: state[name] for name in part}, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    index = json.dumps({"metadata": {}, "weight_map": weight_map})
    (folder / "model.safetensors.index.json").write_text(index, encoding="utf-8")
    return folder


def random_state(seed: int, dtype: torch.dtype = torch.float32, **shape: int) -> dict[str, Tensor]:
    """Normal numbers with the spread of a fresh model; norms near 1. shape: what differs from SMALL."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: (torch.randn(shape, generator=generator) * 0.02 + float("norm" in name)).to(dtype)
        for name, shape in llama_shapes(**(SMALL | shape)).items()
    }


def fine_tuned(base: dict[str, Tensor], seed: int, spread: float = 0.005, dtype: torch.dtype | None = None) -> dict:
    """The base plus a task vector of normal numbers."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: (old.float() + spread * torch.randn(old.shape, generator=generator)).to(dtype or old.dtype)
        for name, old in base.items()
    }


def load(folder: Path | str) -> dict[str, Tensor]:
    """Every tensor of a model folder."""
    files = sorted(Path(folder).glob("model*.safetensors"))
    return {name: tensor for file in files for name, tensor in load_file(file).items()}
