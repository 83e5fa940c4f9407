"""Wrong answers to the exercises of notebook 06 that no declared mistake shows."""

from __future__ import annotations

from . import WrongAnswer, function

# What the bodies may use: the right parts.
# The arguments of each function, and lines with which every answer to it begins.
STARTS = {
    "sparse_matvec": ("weight_t, h", "w, i = weight_t, h.nonzero().squeeze(1)"),
    "union_density": ("s, B", ""),
    "prune_2_4": (
        "weight",
        "f = weight.reshape(len(weight), -1, 4)\nbest = f.abs().topk(2).indices\n"
        "kept = (f * torch.zeros_like(f).scatter(-1, best, 1)).reshape(weight.shape)",
    ),
    "live_blocks": ("h, block", "b = F.pad(h, (0, -len(h) % block)).reshape(-1, block)"),
}
ANSWERS = {
    "sparse_matvec": [
        ("masked product", "return ((h != 0)[:, None] * w * h[:, None]).sum(0)", "was multiplied and not skipped"),
        ("where", "return torch.where(h[:, None] != 0, h[:, None] * w, 0.0).sum(0)", "nor a mask saves any reading"),
        (
            "masked_fill",
            "return (w * h[:, None]).masked_fill(h[:, None] == 0, 0).sum(0)",
            "nor a mask saves any reading",
        ),
        ("nansum", "return (w * h[:, None]).nansum(0)", "nor a mask saves any reading"),
        ("rows set to 0", "v = w.clone()\nv[h == 0] = 0\nreturn h @ v", "nor a mask saves any reading"),
        ("squeeze", "i = h.nonzero().squeeze()\nreturn h[i] @ w[i]", "exactly one non-zero here"),
        ("h not gathered", "return h @ w[i]", "but h was not"),
        ("h not gathered, transposed", "return w[i].T @ h", "but h was not"),
        ("weights not gathered", "return h[i] @ w", "h was gathered, but weight_t was not"),
        ("positive h, all weights", "return h[h > 0] @ w", "h was gathered, but weight_t was not"),
        ("columns", "return h[i] @ w[:, i]", "You gathered columns"),
        ("transposed", "return w @ h", "The product is the wrong way round"),
        ("rows, transposed", "return w[i] @ h[i]", "The product is the wrong way round"),
        ("a loop with stack", "return torch.stack([h[k] * w[k] for k in i]).sum(0)", "Every activation is 0 here"),
        (
            "break for continue",
            "y = torch.zeros(w.shape[1])\nfor k in range(len(h)):\n    if h[k] == 0:\n        break\n"
            "    y += h[k] * w[k]\nreturn y",
            "The loop ends at the first zero",
        ),
        ("in place", "w[h == 0] = 0\nreturn h @ w", "changed its input"),
    ],
    "union_density": [
        ("not foreseen", "return 1 - s ** B * 0.9", "can be skipped only if it is 0 in all B rows"),
        ("caret", "return 1 - s ^ B", "^ is not a power"),
        ("a logarithm", "return 1 - math.exp(B * math.log(s))", "s may be 0, which has no logarithm"),
        ("printed", "print(1 - s ** B)", "did you forget `return`"),
        ("clipped", "return max(0, min(1, B * (1 - s)))", "only hides that"),
        ("as text", "return f'{1 - s ** B:.3f}'", "should be a number, and is a str"),
    ],
    "prune_2_4": [
        (
            "ties keep more",
            "return (f * (f.abs() >= f.abs().topk(2).values[..., 1:])).reshape(weight.shape)",
            "keeps more than two",
        ),
        (
            "ties keep fewer",
            "return (f * (f.abs() > f.abs().topk(3).values[..., 2:])).reshape(weight.shape)",
            "keeps fewer than two",
        ),
        ("packed", "return f.gather(-1, best).flatten(1)", "the packed form"),
        ("in fours", "return f * torch.zeros_like(f).scatter(-1, best, 1)", "still in fours"),
        ("squeeze", "return kept.squeeze()", "There is one row only"),
        ("in place", "f[:] = f * torch.zeros_like(f).scatter(-1, best, 1)\nreturn weight", "changed its input"),
        (
            "sorted in each four",
            "return f.gather(-1, f.abs().argsort(-1)).mul(torch.tensor([0., 0, 1, 1])).reshape(weight.shape)",
            "Each four decides for itself",
        ),
        ("not foreseen", "return kept * 1.1", "Your result is -3.131 at index [0, 0], expected -2.846"),
        ("an array", "return kept.numpy()", "Stay in torch"),
    ],
    "live_blocks": [
        ("no tail", "return (h.reshape(-1, block) != 0).any(1)", "are no multiple of the block"),
        (
            "padded with True",
            "return F.pad(h != 0, (0, -len(h) % block), value=True).reshape(-1, block).any(1)",
            "filled up with ones",
        ),
        ("mean", "return b.mean(1) != 0", "+1 and -1 cancel"),
        ("keepdim", "return (b != 0).any(1, keepdim=True)", "has shape (9, 1), expected (9,)"),
        (
            "slice too short",
            "return torch.stack([h[k : k + block - 1].any() for k in range(0, len(h), block)])",
            "The last activation",
        ),
        (
            "a list",
            "return [bool(part.any()) for part in h.split(block)]",
            "should be a torch tensor of shape (9,), and is a list",
        ),
        ("counts above 1", "return (b != 0).sum(1) >= 2", "only by two activations"),
        ("nothing returned", "(b != 0).any(1)", "did you forget `return`"),
    ],
}


def _code(exercise: str, body: str) -> str:
    arguments, start = STARTS[exercise]
    imports = "import math", "import torch", "import torch.nn.functional as F"
    return function(f"{exercise}({arguments})", f"{start}\n{body}", *imports)


WRONG = [
    WrongAnswer(f"sparsity_and_kernels.{exercise}", label, _code(exercise, body), says)
    for exercise, answers in ANSWERS.items()
    for label, body, says in answers
]
