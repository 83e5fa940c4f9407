"""Random models for the tests of this folder."""

import math

import torch
from hypothesis import settings
from hypothesis import strategies as st

properties = settings(max_examples=25, deadline=None, derandomize=True)
seeds = st.integers(0, 2**31 - 1)
INF = math.inf


def random_members(seed, members=3, shape=(2,), vocab=6, zeros=False, dtype=torch.float64, scale=2.0):
    """(M, *shape, V) log-probabilities; with ``zeros`` each member gives a random half of the tokens probability 0."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(members, *shape, vocab, generator=generator, dtype=dtype)
    if zeros:
        dead = torch.rand(logits.shape, generator=generator) < 0.5
        dead[..., 0] = False  # one token that nobody vetoes
        logits = logits.masked_fill(dead, -INF)
    return logits.log_softmax(-1)
