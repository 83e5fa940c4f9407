"""Small Llama checkpoints made on the fly, for the tests and the benchmark of merging."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor


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
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "head_dim": hidden // heads,
        "intermediate_size": len(state["model.layers.0.mlp.up_proj.weight"]),
        "num_hidden_layers": sum(name.endswith("input_layernorm.weight") for name in state),
        "hidden_act": "silu",
        "vocab_size": len(state["model.embed_tokens.weight"]),
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": tied,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "dtype": str(state["model.norm.weight"].dtype).removeprefix("torch."),
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    names = sorted(state)
    files = [names[i::shards] for i in range(shards)]
    if shards == 1:
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    weight_map = {}
    for i, part in enumerate(files, 1):
        file = f"model-{i:05d}-of-{shards:05d}.safetensors"
        save_file({name: state[name] for name in part}, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": weight_map}), encoding="utf-8"
    )
    return folder


def random_state(
    seed: int,
    dtype: torch.dtype = torch.float32,
    hidden: int = 32,
    inner: int = 48,
    layers: int = 4,
    vocabulary: int = 80,
    tied: bool = False,
) -> dict[str, Tensor]:
    """Normal numbers with the spread of a fresh model; norms near 1."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: (torch.randn(shape, generator=generator) * 0.02 + float("norm" in name)).to(dtype)
        for name, shape in llama_shapes(hidden, inner, layers, vocabulary, tied).items()
    }


def fine_tuned(
    base: dict[str, Tensor], seed: int, spread: float = 0.005, dtype: torch.dtype | None = None
) -> dict[str, Tensor]:
    """The base plus a task vector of normal numbers."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: (old.float() + spread * torch.randn(old.shape, generator=generator)).to(dtype or old.dtype)
        for name, old in base.items()
    }


def load(folder: Path | str) -> dict[str, Tensor]:
    """Every tensor of a model folder."""
    return {
        name: tensor
        for file in sorted(Path(folder).glob("model*.safetensors"))
        for name, tensor in load_file(file).items()
    }
