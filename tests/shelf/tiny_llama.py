"""An untrained Llama of two small layers, for tests that need a model and not what it has learnt."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM


def tiny_llama(vocabulary: int, **settings) -> LlamaForCausalLM:
    """Always the same parameters, spread widely, so that its distributions are far from uniform."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary, initializer_range=0.5, **sizes, **settings)).eval()
