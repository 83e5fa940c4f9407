"""Wrong answers to the exercises of notebook 06."""

from __future__ import annotations

from . import WrongAnswer


def _function(exercise: str, signature: str, label: str, body: str, says: str) -> WrongAnswer:
    """Every answer brings the imports it uses, as in a student's own cell."""
    lines = "\n".join("    " + line for line in body.strip().splitlines())
    code = f"import math\n\nimport torch\nimport torch.nn.functional as F\n\n\ndef {signature}:\n{lines}\n"
    return WrongAnswer(f"sparsity_and_kernels.{exercise}", label, code, says)


def _matvec(label: str, value: str, says: str) -> WrongAnswer:
    """One line; `w` is weight_t, `i` are the places of the non-zeros."""
    body = f"w, i = weight_t, h.nonzero().squeeze(1)\nreturn {value}"
    return _function("sparse_matvec", "my_sparse_matvec(weight_t, h)", label, body, says)


def _union(label: str, value: str, says: str) -> WrongAnswer:
    return _function("union_density", "my_union_density(s, B)", label, f"return {value}", says)


def _prune(label: str, value: str, says: str) -> WrongAnswer:
    """One line; `f` are the fours, `keep` sets all but the places of `best` in `x` to 0."""
    body = f"""
w, f = weight, weight.reshape(len(weight), -1, 4)
def keep(x, best):
    return x * torch.zeros_like(x).scatter(-1, best, 1.0)
return {value}"""
    return _function("prune_2_4", "my_prune_2_4(weight)", label, body, says)


def _blocks(label: str, value: str, says: str) -> WrongAnswer:
    """One line; `b` are the blocks, filled up with zeros."""
    body = f"b = F.pad(h, (0, -len(h) % block)).reshape(-1, block)\nreturn {value}"
    return _function("live_blocks", "my_live_blocks(h, block)", label, body, says)


WRONG = [
    # --- sparse_matvec ---
    _matvec("full product", "h @ w", "was multiplied and not skipped"),
    _matvec("full product, transposed", "w.T @ h", "was multiplied and not skipped"),
    _matvec("masked product", "((h != 0)[:, None] * w * h[:, None]).sum(0)", "was multiplied and not skipped"),
    _matvec("nan replaced in the result", "(h @ w).nan_to_num()", "nan or inf was replaced by a number"),
    _matvec("nan replaced in the weights", "h @ w.nan_to_num()", "nan or inf was replaced by a number"),
    _matvec("h not gathered", "h @ w[i]", "but h was not"),
    _matvec("h not gathered, transposed", "w[i].T @ h", "but h was not"),
    _matvec("weights not gathered", "h[i] @ w", "h was gathered, but weight_t was not"),
    _matvec("columns", "h[i] @ w[:, i]", "You gathered COLUMNS"),
    _matvec("columns, wrong way round", "w[:, i] @ h[i]", "You gathered COLUMNS"),
    _matvec("columns with all of h", "h @ w[:, i]", "You gathered COLUMNS"),
    _matvec("transposed", "w @ h", "The product is the wrong way round"),
    _matvec("rows, transposed", "w[i] @ h[i]", "The product is the wrong way round"),
    _matvec("only positive", "h[h > 0] @ w[h > 0]", "Negative ones are not zero"),
    _matvec("relu", "h.relu() @ w", "Negative ones are not zero"),
    _matvec("only negative", "h[h < 0] @ w[h < 0]", "only the activations below 0"),
    _matvec("threshold", "h[h.abs() > 1e-4] @ w[h.abs() > 1e-4]", "Small activations were dropped"),
    _matvec("not multiplied", "w[i].sum(0)", "do not multiply them with h"),
    _matvec("mean, not multiplied", "w[i].mean(0)", "do not multiply them with h"),
    _matvec("mean", "(h[i, None] * w[i]).mean(0)", "You took the mean over the rows"),
    _matvec("abs", "h[i].abs() @ w[i]", "The sign of the activations is lost"),
    _matvec("index as factor", "i.float() @ w[i]", "by their numbers"),
    _matvec("squared", "h[i] ** 2 @ w[i]", "twice: once is enough"),
    _matvec("zeros kept", "h[h == 0] @ w[h == 0]", "the condition is the wrong way round"),
    _matvec("first only", "h[i][0] * w[i][0]", "Only the first non-zero activation"),
    _matvec("front rows", "h[i] @ w[:len(i)]", "You paired the first rows"),
    _matvec("not summed", "h[i, None] * w[i]", "These are the n rows themselves"),
    _matvec("keepdim", "(h[i, None] * w[i]).sum(0, keepdim=True)", "The shape has a dimension of size 1"),
    _matvec("one number", "(h[i, None] * w[i]).sum()", "This is one number"),
    _matvec("loop with stack", "torch.stack([h[k] * w[k] for k in i]).sum(0)", "Here every activation is 0"),
    _matvec("loop with sum", "sum(h[k] * w[k] for k in i)", "Here every activation is 0"),
    _matvec("minus", "-(h[i] @ w[i])", "The sign of the result"),
    _matvec("positive h, all weights", "h[h > 0] @ w", "h was gathered, but weight_t was not"),
    # --- union_density ---
    _union("share to skip", "s ** B", "the share that can be SKIPPED"),
    _union("all live", "(1 - s) ** B", "all B rows are NON-zero"),
    _union("swapped", "1 - (1 - s) ** B", "at least one row has a ZERO"),
    _union("added", "B * (1 - s)", "counts a column twice"),
    _union("clipped", "min(1, B * (1 - s))", "only hides that"),
    _union("linear", "1 - s * B", "multiplied, not added"),
    _union("linear, clipped", "max(0, 1 - s * B)", "multiplied, not added"),
    _union("s times B", "s * B", "multiplied, not added"),
    _union("one row", "1 - s", "The batch is ignored"),
    _union("zeros", "s", "This is s itself"),
    _union("divided", "(1 - s) / B", "does not need fewer columns"),
    _union("share divided", "1 - s / B", "does not need fewer columns"),
    _union("root", "1 - s ** (1 / B)", "This is a root"),
    _union("plain root", "s ** (1 / B)", "This is a root"),
    _union("base and exponent", "1 - B ** s", "Base and exponent are swapped"),
    _union("exponential", "1 - math.exp(-B * (1 - s))", "only nearly"),
    _union("one less", "1 - s ** (B - 1)", "The exponent is off by one"),
    _union("one more", "1 - s ** (B + 1)", "The exponent is off by one"),
    _union("percent", "100 * (1 - s ** B)", "This is in percent"),
    _union("not foreseen", "1 - s ** B * 0.9", "can be skipped only if it is 0 in ALL B rows"),
    _union("negative", "s ** B - 1", "The sign is the wrong way round"),
    _union("caret", "1 - s ^ B", "^ is not a power"),
    # --- prune_2_4 ---
    _prune("values", "keep(f, f.topk(2).indices).reshape(w.shape)", "You keep the largest VALUES"),
    _prune("smallest values", "keep(f, (-f).topk(2).indices).reshape(w.shape)", "You keep the smallest VALUES"),
    _prune(
        "axis 0",
        "(lambda t: keep(t, t.abs().topk(2).indices).reshape(w.T.shape).T)(w.T.reshape(w.shape[1], -1, 4)) if len(w) % 4 == 0 else w",
        "The fours run down the columns",
    ),
    _prune("global", "w * (w.abs() > w.abs().median())", "one threshold for the whole weight"),
    _prune("global mean", "w * (w.abs() >= w.abs().mean())", "one threshold for the whole weight"),
    _prune("rows", "keep(w, w.abs().topk(w.shape[1] // 2).indices)", "the larger half of each ROW"),
    _prune("row median", "w * (w.abs() > w.abs().median(-1, keepdim=True).values)", "the larger half of each ROW"),
    _prune("smallest", "keep(f, f.abs().topk(2, largest=False).indices).reshape(w.shape)", "the two SMALLEST magnitudes"),
    _prune("one", "keep(f, f.abs().topk(1).indices).reshape(w.shape)", "You keep one weight of each four"),
    _prune("three", "keep(f, f.abs().topk(3).indices).reshape(w.shape)", "You keep three weights of each four"),
    _prune(
        "strided",
        "(lambda t: keep(t, t.abs().topk(2).indices).transpose(1, 2).reshape(w.shape))(w.reshape(len(w), 4, -1).transpose(1, 2))",
        "Your fours are not neighbours",
    ),
    _prune("pairs", "(lambda t: keep(t, t.abs().topk(1).indices).reshape(w.shape))(w.reshape(len(w), -1, 2))", "the larger of every TWO"),
    _prune("mask", "(keep(f, f.abs().topk(2).indices) != 0).float().reshape(w.shape)", "This is the mask"),
    _prune("boolean mask", "(keep(f, f.abs().topk(2).indices) != 0).reshape(w.shape)", "This is the mask"),
    _prune("abs", "keep(f.abs(), f.abs().topk(2).indices).reshape(w.shape)", "The signs are lost"),
    _prune("nothing", "w", "Nothing was pruned"),
    _prune("first two", "(f * torch.tensor([1., 1, 0, 0])).reshape(w.shape)", "two fixed places"),
    _prune("ties keep more", "(f * (f.abs() >= f.abs().topk(2).values[..., 1:])).reshape(w.shape)", "a four keeps more than two"),
    _prune("ties keep fewer", "(f * (f.abs() > f.abs().topk(3).values[..., 2:])).reshape(w.shape)", "a four keeps fewer than two"),
    _prune("packed", "f.gather(-1, f.abs().topk(2).indices).flatten(1)", "the packed form"),
    _prune("in fours", "keep(f, f.abs().topk(2).indices)", "The result is still in fours"),
    _prune("not foreseen", "keep(f, f.abs().topk(2).indices).reshape(w.shape) * 1.1", "choose two in each four"),
    _prune("zeros", "w * 0", "Every weight became 0"),
    # --- live_blocks ---
    _blocks("all", "(b != 0).all(1)", "You ask whether ALL of a block"),
    _blocks("tail dropped", "(h[: len(h) // block * block].reshape(-1, block) != 0).any(1)", "The shorter last block is missing"),
    _blocks("no tail", "(h.reshape(-1, block) != 0).any(1)", "are no multiple of 4"),
    _blocks("filled up in front", "(F.pad(h, (-len(h) % block, 0)).reshape(-1, block) != 0).any(1)", "The short block is the LAST one"),
    _blocks("a block too many", "(F.pad(h, (0, block - len(h) % block)).reshape(-1, block) != 0).any(1)", "a block too many"),
    _blocks("one answer", "(h != 0).any()", "one answer for all of h"),
    _blocks("strided", "(b.reshape(block, -1) != 0).any(0)", "Your blocks are not consecutive"),
    _blocks("sum", "b.sum(1) != 0", "+1 and -1 cancel"),
    _blocks("mean", "b.mean(1) != 0", "+1 and -1 cancel"),
    _blocks("positive sum", "b.sum(1) > 0", "+1 and -1 cancel"),
    _blocks("positive", "(b > 0).any(1)", "Only activations above 0"),
    _blocks("maximum", "b.amax(1) != 0", "Only activations above 0"),
    _blocks("negative", "(b < 0).any(1)", "Only activations below 0"),
    _blocks("padded with ones", "(F.pad(h, (0, -len(h) % block), value=1).reshape(-1, block) != 0).any(1)", "filled up with ones"),
    _blocks("padded with True", "F.pad(h != 0, (0, -len(h) % block), value=True).reshape(-1, block).any(1)", "filled up with ones"),
    _blocks("dead", "(b == 0).all(1)", "This is the other way round"),
    _blocks("first of each", "b[:, 0] != 0", "Only one activation of each block"),
    _blocks("last of each", "b[:, -1] != 0", "Only one activation of each block"),
    _blocks("majority", "(b != 0).float().mean(1) > 0.5", "more than half of its activations"),
    _blocks("one for each activation", "h != 0", "one entry for each activation"),
    _blocks("numbers", "(b != 0).any(1).nonzero().squeeze(1)", "the numbers of the live blocks"),
    _blocks("counts", "(b != 0).sum(1)", "should be of dtype bool"),
    _blocks("floats", "(b != 0).any(1).float()", "should be of dtype bool"),
    _blocks("reversed", "(b != 0).any(1).flip(0)", "in reverse order"),
    _blocks("keepdim", "(b != 0).any(1, keepdim=True)", "has shape (7, 1), expected (7,)"),
]
