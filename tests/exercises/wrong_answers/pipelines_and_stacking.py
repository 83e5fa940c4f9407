"""Wrong answers to the exercises of notebook 09 that are not declared with them: crashes, mutation, other ways to a
mistake."""

from __future__ import annotations

from . import WrongAnswer, function

SIGNATURES = {
    "word_error_rate": "my_wer(reference, hypothesis)",
    "marginal_pipeline": "my_marginal(p1, p2)",
    "nbest_posterior": "my_posterior(scores, scale)",
    "oof_predictions": "my_oof(fit, X, y, k)",
    "paired_bootstrap": "my_paired_bootstrap(a, b, index)",
    "mbr": "my_mbr(utility, p)",
}


def _wrong(exercise: str, label: str, says: str, body: str) -> WrongAnswer:
    return WrongAnswer(f"pipelines_and_stacking.{exercise}", label, function(SIGNATURES[exercise], body), says)


def _wer(label: str, says: str, value: str, pair: str = "(r[i - 1] != h[j - 1])") -> WrongAnswer:
    """The table D, filled."""
    body = f"""
r, h, n, m = reference, hypothesis, len(reference), len(hypothesis)
D = [[i + j if not i * j else 0 for j in range(m + 1)] for i in range(n + 1)]
for i in range(1, n + 1):
    for j in range(1, m + 1):
        D[i][j] = min(D[i - 1][j - 1] + {pair}, D[i - 1][j] + 1, D[i][j - 1] + 1)
return {value}"""
    return _wrong("word_error_rate", label, says, body)


def _folds(
    label: str, says: str, folds="np.arange(N) % k", test="inside", write="out[inside] = rows", **more: str
) -> WrongAnswer:
    """The loop over the folds; `rows` are the predictions of one of them, `parts` all that came so far."""
    body = f"""
N = len(X)
folds, out, parts = {folds}, {more.get("out", "np.zeros((N, 3))")}, []
for fold in range(k):
    inside = folds == fold
    f = fit(X[{more.get("train", "~inside")}], y[{more.get("labels", "~inside")}])
    rows = f(X[{test}])
    parts.append(rows)
    {write}
return {more.get("value", "out")}"""
    return _wrong("oof_predictions", label, says, body)


def _interval(label: str, says: str, value: str, before: str = "pass") -> WrongAnswer:
    """One line; `d` are the R mean differences, `q` the two quantiles."""
    body = f"q, d = [0.025, 0.975], (a - b)[index].mean(axis=1)\n{before}\nreturn {value}"
    return _wrong("paired_bootstrap", label, says, body)


OWN_DRAW = "Draw no sentences of your own"
WRONG = [
    # --- word_error_rate ---
    _wrong("word_error_rate", "positions", "An index is too large",
           "return sum(reference[i] != hypothesis[i] for i in range(len(reference))) / len(reference)"),
    _wrong("word_error_rate", "words crossed out", "changed its input (argument 2", """
wrong = 0
for word in reference:
    if word in hypothesis:
        hypothesis.remove(word)
    else:
        wrong += 1
return (wrong + len(hypothesis)) / len(reference)"""),
    _wrong("word_error_rate", "difflib", "it must be the cheapest alignment", """
import difflib
wrong = 0
for kind, a, b, c, d in difflib.SequenceMatcher(None, reference, hypothesis).get_opcodes():
    if kind != "equal":
        wrong += max(b - a, d - c)
return wrong / len(reference)"""),
    _wrong("word_error_rate", "greedy search ahead", "it must be the cheapest alignment", """
i = j = wrong = 0
while i < len(reference) and j < len(hypothesis):
    if reference[i] == hypothesis[j]:
        i, j = i + 1, j + 1
    elif reference[i] in hypothesis[j:]:
        j, wrong = j + 1, wrong + 1
    else:
        i, wrong = i + 1, wrong + 1
return (wrong + len(reference) - i + len(hypothesis) - j) / len(reference)"""),
    _wrong("word_error_rate", "recursion without an end", "An index is too large", """
same = reference[-1] == hypothesis[-1]
return my_wer(reference[:-1], hypothesis[:-1]) + (not same)"""),
    _wer("index of the table", "An index is too large", "D[n][m] / n", pair="(r[i] != h[j])"),
    _wer("whole table", "none is asked for", "D"),
    _wer("three numbers", "none is asked for by itself", "(D[n][m], n, m)"),
    _wer("printed", "did you forget `return`", "print(D[n][m] / n)"),
    _wer("nothing heard, no error", "Your 0 edits cannot be enough", "D[n][m] / n if m else 0.0"),
    _wer("nothing heard, over it", "the hypothesis may be empty", "D[n][m] / n if len(set(h)) / m else 0"),
    _wer("a text", "should be a number, and is a str", "f'{D[n][m] / n:.2f}'"),
    # --- marginal_pipeline ---
    *[
        _wrong("marginal_pipeline", *answer)
        for answer in [
            ("max, normalised", "You take the maximum over k",
             "m = (p1[:, :, None] * p2).amax(1)\nreturn m / m.sum(1, keepdim=True)"),
            ("mean over k", "Did you divide by K?", "return (p1[:, :, None] * p2).mean(dim=1)"),
            ("log", "You return logarithms", "return (p1 @ p2).log()"),
            ("drawn", "one hypothesis was chosen (or drawn)", "return p2[torch.multinomial(p1, 1).squeeze(1)]"),
            ("certain ones only", "Your result sums to", "return torch.where(p1 > 0.5, p1, 0.0) @ p2"),
            ("only the last term is kept", "The first hypothesis, or the last",
             "for k in range(len(p2)):\n    out = p1[:, [k]] * p2[k]\nreturn out"),
            ("squeezed", "does squeeze(), or an index", "return (p1 @ p2).squeeze()"),
            ("wrong dimensions", "The shapes do not line up", "return torch.matmul(p1, p2[1:])"),
            ("index of a column", "the columns of p1 meet the rows of p2", "return sum(p1[:, [k]] * p2[k] for k in "
                "range(p2.shape[1]))"),
            ("in place", "changed its input", "p1 /= p1.sum(0)\nreturn p1 @ p2"),
            ("as a list", "should be a torch tensor", "return (p1 @ p2).tolist()"),
        ]
    ],
    # --- nbest_posterior ---
    *[
        _wrong("nbest_posterior", *answer)
        for answer in [
            ("power of the scores", "The scores are negative", "return torch.softmax(scores ** scale, dim=0)"),
            ("by math", "whose terms all vanish", "e = [math.exp(scale * s) for s in scores.tolist()]\n"
             "return torch.tensor([x / sum(e) for x in e])"),
            ("minimum subtracted, by math", "exp of a large number is infinity", "z = [scale * s for s in "
                "scores.tolist()]\n"
             "e = [math.exp(x - min(z)) for x in z]\nreturn torch.tensor([x / sum(e) for x in e])"),
            ("divides by the scale for zero", "by a scale of 0", "return torch.softmax(scale * scores, dim=0) * "
                "(scale / scale)"),
            ("nan where the scale is 0", "all K weights are 1 / K", "z = scale * scores\nreturn torch.softmax(z * z "
                "/ z, dim=0)"),
            ("tensor of the scale", "The scale is a Python number", "return torch.softmax(scale.unsqueeze(0) * "
                "scores, dim=0)"),
            ("keeps a dimension", "Your result has shape", "return torch.softmax(scale * scores[None], dim=1)"),
            ("one hypothesis, squeezed", "does squeeze(), or an index", "return torch.softmax(scale * scores, "
                "dim=0).squeeze()"),
            ("in place", "changed its input", "scores *= scale\nreturn torch.softmax(scores, dim=0)"),
            ("printed", "did you forget `return`", "print(torch.softmax(scale * scores, dim=0))"),
        ]
    ],
    # --- oof_predictions ---
    _folds("seen rows overwritten", "fitted on row 0 itself", test="~inside", write="out[~inside] = rows"),
    _folds("a list of the parts", "all rows of one length", value="parts"),
    _folds("shuffled", "no shuffling here", folds="np.random.permutation(np.arange(N) % k)"),
    _folds("drawn folds", "Your folds are not i % k", folds="np.random.default_rng(3).permutation(np.arange(N) % k)"),
    _folds("fitted on the next fold alone", "It should be fitted on all", train="folds == (fold + 1) % k",
           labels="folds == (fold + 1) % k"),
    _folds("all labels", "labels: cut X and y in the same way", labels=":"),
    _folds("whole numbers", "Your result holds whole numbers", out="np.zeros((N, 3), dtype=y.dtype)"),
    _folds("the type of X", "Your result holds whole numbers", out="np.zeros((N, 3), dtype=X.dtype)"),
    _folds("nothing for row 0", "There is no prediction of row 0", value="out * (np.arange(N) > 0)[:, None]"),
    _folds("written to the front", "The shapes do not line up", write="out[: len(X)] = rows"),
    _folds("two columns", "the predictions have C columns", out="np.zeros((N, 2))"),
    _folds("X in place", "changed its input (argument 2", write="out[inside] = rows; X[inside] = 0"),
    _folds("nothing returned", "did you forget `return`", value="print(out.shape)"),
    _wrong("oof_predictions", "method", "fit returns a plain function f", """
inside = np.arange(len(X)) % k == 0
return fit(X[~inside], y[~inside]).predict_proba(X[inside])"""),
    _wrong("oof_predictions", "one row at a time", "f was given one row of shape (3,)", """
rest = np.arange(len(X)) % k
return np.array([fit(X[rest != i % k], y[rest != i % k])(X[i]) for i in range(len(X))])"""),
    # --- paired_bootstrap ---
    _interval("b drawn anew", OWN_DRAW, "np.quantile(a[index].mean(1) - b[other].mean(1), q)",
              "other = np.random.randint(0, len(a), index.shape)"),
    _interval("fixed draw", OWN_DRAW, "np.quantile((a - b)[i].mean(1), q)",
              "i = np.random.default_rng(0).integers(0, len(a), index.shape)"),
    _interval("b in another order", "they come from other sentences",
              "np.quantile(a[index].mean(1) - b[np.random.default_rng(0).permutation(index)].mean(1), q)"),
    _interval("percents for quantile", "np.quantile counts from 0 to 1", "np.quantile(d, [2.5, 97.5])"),
    _interval("transposed", "index (R, N) holds sentence numbers", "np.quantile(a[index] - b[index.T], q)"),
    _interval("width", "You return one number", "np.quantile(d, 0.975) - np.quantile(d, 0.025)"),
    _interval("three numbers", "Return two, low and high", "np.quantile(d, [0.025, 0.5, 0.975])"),
    _interval("three in a tuple", "You return 3 numbers", "d.mean(), np.quantile(d, 0.025), np.quantile(d, 0.975)"),
    _interval("all differences", "You return 41 numbers", "d"),
    _interval("whole numbers", "cuts off the decimals", "np.quantile(e, q)",
              "e = np.zeros(len(index), dtype=a.dtype)\nfor r, row in enumerate(index):\n    e[r] = (a - "
              "b)[row].mean()"),
    _interval("dim", "NumPy says axis= instead of dim=", "np.quantile((a - b)[index].mean(dim=1), q)"),
    _interval("in place", "changed its input (argument 1", "np.quantile(a[index].mean(1), q)", "a -= b"),
    _interval("nothing returned", "did you forget `return`", "print(np.quantile(d, q))"),
    _wrong("mbr", "all expectations", "You return a number for each guess", "return (utility * p[:, None]).sum(2)"),
    _wrong("mbr", "all pairs", "You return a number for each pair", "return utility * p[:, None]"),
    _wrong("mbr", "axes", "p is (B, K), and meets the last axis", "return (utility * p).sum(2).argmax(1)"),
    _wrong("mbr", "in place", "changed its input", "utility *= p[:, None]\nreturn utility.sum(2).argmax(1)"),
    _wrong("mbr", "nothing returned", "did you forget `return`", "(utility * p[:, None]).sum(2).argmax(1)"),
]  # fmt: skip
