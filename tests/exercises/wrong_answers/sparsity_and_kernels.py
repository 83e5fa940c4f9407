"""Wrong answers to the exercises of notebook 06 that no declared mistake shows."""

from __future__ import annotations

from . import WrongAnswer, function

# The arguments of each function, and lines with which every answer to it begins.
STARTS = {
    "sparse_matvec": ("weight_t, h", "w, i = weight_t, (h != 0).any(0).nonzero().squeeze(1)\nunused = (h == 0).all(0)"),
    "union_density": ("s", "B = len(s)"),
    "prune_2_4": (
        "weight",
        "f = weight.reshape(len(weight), -1, 4)\nbest = f.abs().topk(2).indices\n"
        "kept = (f * torch.zeros_like(f).scatter(-1, best, 1)).reshape(weight.shape)",
    ),
    "masked_kernel": (
        "x, y, out, a, n, BLOCK: tl.constexpr",
        "i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)\ninside = i < n",
    ),
    "split_kernel": (
        "weight_t, h, y, threshold, d_in, d_out, BLOCK_K: tl.constexpr, BLOCK_M: tl.constexpr",
        "k = tl.program_id(0) * BLOCK_K + tl.arange(0, BLOCK_K)\n"
        "m = tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)\n"
        "a = tl.load(h + k, mask=k < d_in, other=0.0)\nlarge = (tl.abs(a) > threshold)[:, None]\n"
        "inside = (k < d_in)[:, None] & (m < d_out)[None, :]\nplace = weight_t + k[:, None] * d_out + m[None, :]",
    ),
    "live_blocks": ("h, block", "b = F.pad(h, (0, -len(h) % block)).reshape(-1, block)"),
}
MASK = "nor a mask saves any reading"
LOOP = """y = torch.zeros(len(h), w.shape[1])
for k in range(len(w)):
    {}
    y += torch.outer(h[:, k], w[k])
return y"""
ANSWERS = {
    "sparse_matvec": [
        ("masked product", "return h @ (w * ~unused[:, None])", "was multiplied and not skipped"),
        ("where", "return h @ torch.where(unused[:, None], 0.0, w)", MASK),
        ("masked_fill", "return torch.einsum('bi,io->bo', h, w.masked_fill(unused[:, None], 0))", MASK),
        ("nansum", "return (w * h[:, :, None]).nansum(1)", MASK),
        ("rows of a copy set to 0", "v = w.clone()\nv[unused] = 0\nreturn h @ v", MASK),
        ("all rows taken", "v = w[torch.arange(len(w))]\nv[unused] = 0\nreturn h @ v", MASK),
        ("squeeze", "i = i.squeeze()\nreturn h[:, i] @ w[i]", "Exactly one row of weight_t is needed here"),
        ("for one row", "i = h.nonzero().squeeze(1)\nreturn h[i] @ w[i]", "h is a batch"),
        ("the mask itself", "return h[h != 0] @ w[h != 0]", "h is a batch"),
        ("h not gathered", "return h @ w[i]", "the columns of h were not"),
        ("weights not gathered", "return h[:, i] @ w", "the rows of weight_t were not"),
        ("columns", "return h[:, i] @ w[:, i]", "You gathered columns"),
        ("turned round", "return w[i] @ h[:, i]", "The product is the wrong way round"),
        ("a condition on a column", LOOP.format("if h[:, k] == 0:\n        continue"), "any() makes one of them"),
        (
            "break for continue",
            LOOP.format("if unused[k]:\n        break"),
            "The loop ends at the first column of zeros",
        ),
        (
            "a loop with stack",
            "return torch.stack([torch.outer(h[:, k], w[k]) for k in i]).sum(0)",
            "Every activation is 0",
        ),
        ("in place", "w[unused] = 0\nreturn h @ w", "changed its input"),
        ("result squeezed", "return (h[:, i] @ w[i]).squeeze()", "There is one row only"),
    ],
    "union_density": [
        ("not foreseen", "return 1 - s.prod() * 0.9", "can be skipped only if it is 0 in all rows"),
        ("caret", "return 1 - s[0].item() ^ B", "^ is not a power"),
        ("a logarithm", "return 1 - math.exp(sum(math.log(one) for one in s))", "may be 0, which has no logarithm"),
        ("float of a vector", "return float(1 - s)", "one number for all rows together"),
        ("clipped", "return max(0, min(1, sum(1 - s)))", "still counts shared columns twice"),
        ("as text", "return f'{1 - s.prod():.3f}'", "should be a number, and is a str"),
    ],
    "masked_kernel": [
        (
            "no mask",
            "tl.store(out + i, a * tl.load(x + i) + tl.load(y + i))",
            "A program reads behind the end of a vector",
        ),
        (
            "loads masked, store not",
            "tl.store(out + i, a * tl.load(x + i, mask=inside) + tl.load(y + i, mask=inside))",
            "writes behind the end of out",
        ),
        (
            "one too many",
            "tl.store(out + i, a * tl.load(x + i, mask=i <= n) + tl.load(y + i, mask=i <= n), mask=i <= n)",
            "A program reads behind the end of a vector",
        ),
        ("as a function", "return a * x + y", "IncompatibleTypeError"),
        ("nothing is stored", "total = tl.load(x + i, mask=inside)", "Some places of out were never written"),
        ("a name that is not there", "tl.store(out + j, a, mask=inside)", "NameError"),
    ],
    "split_kernel": [
        (
            "everything is read",
            "w = tl.load(place, mask=inside, other=0.0)\n"
            "tl.atomic_add(y + m, tl.sum(tl.where(large, a[:, None] * w, 0.0), 0), mask=m < d_out)",
            "A row of weight_t is read although",
        ),
        (
            "only the product is masked",
            "w = tl.load(place, mask=inside, other=0.0)\n"
            "tl.atomic_add(y + m, tl.sum(a[:, None] * w * large, 0), mask=m < d_out)",
            "nan, which stands in rows that are not to be read",
        ),
        (
            "stored",
            "w = tl.load(place, mask=inside & large, other=0.0)\n"
            "tl.store(y + m, tl.sum(a[:, None] * w, 0), mask=m < d_out)",
            "the sum of the last block of rows only",
        ),
        (
            "no mask for y",
            "w = tl.load(place, mask=inside & large, other=0.0)\ntl.atomic_add(y + m, tl.sum(a[:, None] * w, 0))",
            "writes behind the end of y",
        ),
        (
            "another stride",
            "w = tl.load(weight_t + k[:, None] * d_in + m[None, :], mask=inside & large, other=0.0)\n"
            "tl.atomic_add(y + m, tl.sum(a[:, None] * w, 0), mask=m < d_out)",
            "reads behind the end of weight_t",
        ),
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
        ("not foreseen", "return kept * 1.1", "expected -2.846"),
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
    ],
}


def _code(exercise: str, body: str) -> str:
    arguments, start = STARTS[exercise]
    imports = ["import math", "import torch", "import torch.nn.functional as F"]
    imports += ["import triton.language as tl"] * exercise.endswith("_kernel")
    return function(f"{exercise}({arguments})", f"{start}\n{body}", *imports)


WRONG = [
    WrongAnswer(f"sparsity_and_kernels.{exercise}", label, _code(exercise, body), says)
    for exercise, answers in ANSWERS.items()
    for label, body, says in answers
]
