"""The exercises of notebook 01, in its order: the two rules, OR and AND, EM, the posterior, learning lam, the
kNN-LM."""

import torch
from torch import Tensor

ORDER = ("linear", "loglinear", "or_and", "em", "posterior", "fit_lambda", "knn_probs")
NAMES = {"M": "M members", "B": "B contexts", "V": "V tokens", "N": "N tokens", "T": "T positions", "K": "K neighbours"}

# Two members, two contexts, five tokens: tokens that one member rules out, and one that both rule out.
WITH_ZEROS = torch.tensor(
    [[[0.5, 0.3, 0.2, 0.0, 0.0], [0.1, 0.2, 0.3, 0.4, 0.0]], [[0.4, 0.0, 0.3, 0.3, 0.0], [0.7, 0.0, 0.1, 0.2, 0.0]]]
).log()


def random_log_probs(*shape: int, seed: int, sharpness: float = 1.5) -> Tensor:
    """Random log-probabilities over the last dimension."""
    return (sharpness * torch.randn(shape, generator=torch.Generator().manual_seed(seed))).log_softmax(-1)


def dimensions(letters: str, *sizes: int) -> dict[int, str]:
    """{size: its name} for messages, but for 1; empty where two sizes are equal and a name would be a guess."""
    names = {n: NAMES[letter] for letter, n in zip(letters, sizes, strict=True) if n > 1}
    return names if len({*sizes}) == len(sizes) else {}


def zero_times(weights: Tensor, log_probs: Tensor) -> Tensor:
    """weights[m] * log_probs[m] with 0 * -inf = 0."""
    return torch.where(weights[:, None, None] == 0, 0.0, weights[:, None, None] * log_probs)
