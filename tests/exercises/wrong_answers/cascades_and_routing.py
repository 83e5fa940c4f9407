"""Wrong answers to the exercises of notebook 08 that a declared mistake cannot show."""

from __future__ import annotations

from . import WrongAnswer, function

SIGNATURES = {
    "cascade": "scores, correct, cost, taus",
    "pareto": "cost, quality",
    "apgr": "win, weak, strong",
    "knn_outcomes": "train, outcomes, x, k",
    "expected_calibration_error": "confidence, correct, n_bins",
}
# What an answer may start from; `%` is the line under test.
BY = """n = np.arange(correct.shape[1])
by = np.vstack([scores > taus[:, None], np.ones((1, len(n)), dtype=bool)]).argmax(axis=0)
paid = np.cumsum(cost)[by]
%"""
KEPT = """order, kept, best = np.lexsort((-quality, cost)), [], -np.inf
for i in order:
    if quality[i] > best:
        kept.append(int(i))
        best = quality[i]
%"""
PGR = """gain = (strong - weak)[np.argsort(-win)]
pgr, share = np.append(0, np.cumsum(gain)) / gain.sum(), np.arange(len(win) + 1) / len(win)
%"""
NEAR = """a, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, train))
kept = outcomes[np.argsort(-a @ b.T, axis=1)[:, :k]]
%"""
BINS = """bins = np.maximum(np.ceil(confidence * n_bins) - 1, 0)
parts = [bins == b for b in range(n_bins)]
gap = np.array([p.sum() * abs(correct[p].mean() - confidence[p].mean()) if p.any() else 0.0 for p in parts])
%"""


def _wrong(exercise: str, label: str, says: str, line: str, frame: str = "%") -> WrongAnswer:
    code = function(f"my_{exercise}({SIGNATURES[exercise]})", frame.replace("%", line), "import numpy as np")
    return WrongAnswer(f"cascades_and_routing.{exercise}", label, code, says)


ANY_ASKED = """right = total = 0.0
for i in range(correct.shape[1]):
    ok = False
    for m in range(len(cost)):
        total += cost[m]
        ok = ok or bool(correct[m, i])
        if m == len(cost) - 1 or scores[m, i] > taus[m]:
            break
    right += ok
return right / correct.shape[1], total / correct.shape[1]"""
WHOLE_QUALITY = """order, N = np.argsort(-win), len(win)
quality = np.zeros_like(np.append(weak, 0))
for j in range(N + 1):
    quality[j] = (strong[order[:j]].sum() + weak[order[j:]].sum()) / N
return np.trapezoid((quality - quality[0]) / (quality[-1] - quality[0]), dx=1 / N)"""
WHOLE_OUTCOMES = """out = np.zeros((len(x), outcomes.shape[1]), dtype=outcomes.dtype)
out[:] = kept.mean(axis=1)
return out"""
PARTITION = "return outcomes[np.argpartition(-a @ b.T, k, axis=1)[:, :k]].mean(axis=1)"
ECE = "expected_calibration_error"
LAST_BIN = """bins = np.ceil(confidence * n_bins).astype(int) - 1
total = np.zeros(n_bins)
np.add.at(total, bins, correct - confidence)
return np.abs(total).sum() / len(bins)"""
WRONG = [
    _wrong("cascade", "scores for all tiers", "An index is too large",
           "a = [scores[m] > 0 for m in range(len(correct))]\nreturn 0.0, 0.0"),
    _wrong("cascade", "rows and columns", "The shapes do not line up", "a = scores > taus\nreturn 0.0, 0.0"),
    _wrong("cascade", "if over a row", "one truth value", "if scores[0] > taus[0]:\n    return 0.0, cost[0]"),
    _wrong("cascade", "each item", "take the mean over the items", "return correct[by, n].mean(), paid", BY),
    _wrong("cascade", "not foreseen", "Print for each item", "return correct[by, n].mean(), paid.mean() + 0.123", BY),
    _wrong("cascade", "both are wrong, in two ways", "(accuracy, mean cost)[0] is",
           "return correct[by, n].mean() - 0.1, np.array(cost)[by].mean()", BY),
    _wrong("cascade", "three values", "returns 3 values", "return correct[by, n].mean(), paid.mean(), by", BY),
    _wrong("cascade", "accuracy alone", "Your function returns one number", "return correct.mean()"),
    _wrong("cascade", "in place", "start from x.copy()", "cost[1:] += cost[0]\nreturn correct.mean(), cost.mean()"),
    _wrong("cascade", "any tier that was asked", "if any of the tiers that were asked is right", ANY_ASKED),
    _wrong("pareto", "by index", "the right points in another order", "return sorted(kept)", KEPT),
    _wrong("pareto", "falling", "by falling cost", "return kept[::-1]", KEPT),
    _wrong("pareto", "where", "np.where gives a tuple", "return np.where(np.isin(np.arange(len(cost)), kept))", KEPT),
    _wrong("pareto", "not foreseen", "is missing, and no other point dominates it", "return kept[:1] + kept[2:]", KEPT),
    _wrong("pareto", "one too many", "Your result holds point",
           "return kept + [int(order[-1])] * (order[-1] not in kept)", KEPT),
    _wrong("pareto", "floats", "of a floating-point type", "return np.array([float(i) for i in kept])", KEPT),
    _wrong("pareto", "sorted in place", "np.sort(x) instead of x.sort()", "cost.sort()\nreturn np.arange(len(cost))"),
    _wrong("apgr", "curve", "This is the curve itself", "return pgr", PGR),
    _wrong("apgr", "not foreseen", "Print your PGR at all", "return np.trapezoid(pgr, share) + 0.1234", PGR),
    _wrong("apgr", "old name", "it is called np.trapezoid", "return np.trapz(pgr, share)", PGR),
    _wrong("apgr", "in place", "start from x.copy()", "strong -= weak\nreturn strong.mean()"),
    _wrong("apgr", "whole numbers", "they lose their decimals", WHOLE_QUALITY),
    _wrong("apgr", "size of the gap", "keep its sign",
           "return np.trapezoid(pgr, share) * np.sign((strong - weak).mean())", PGR),
    _wrong("apgr", "nothing where the gap is negative", "is negative there",
           "return np.trapezoid(pgr, share) if strong.mean() > weak.mean() else 0.0", PGR),
    _wrong("knn_outcomes", "no keepdims", "The shapes do not line up",
           "return x @ (train / np.linalg.norm(train, axis=1)).T"),
    _wrong("knn_outcomes", "not foreseen", "Print the k nearest rows", "return kept.mean(axis=1) * 0.9", NEAR),
    _wrong("knn_outcomes", "torch's names", "The arguments are NumPy arrays", "return (x @ train.T).topk(k, dim=1)"),
    _wrong("knn_outcomes", "in place", "changed its input (argument 1", "train /= 2\nreturn x @ train.T"),
    _wrong("knn_outcomes", "whole numbers", "made with the dtype of outcomes", WHOLE_OUTCOMES, NEAR),
    _wrong("knn_outcomes", "squeezed", "does squeeze(), or an index", "return kept.mean(axis=1).squeeze()", NEAR),
    _wrong("knn_outcomes", "partition at k", "np.argpartition(s, k) wants k below the number of rows", PARTITION, NEAR),
    _wrong(ECE, "table", "return one number", "return gap / len(confidence)", BINS),
    _wrong(ECE, "not foreseen", "Print for each bin", "return gap.sum() / len(bins) + 0.0123", BINS),
    _wrong(ECE, "empty bins", "The result is nan",
           "return sum(p.mean() * abs((correct - confidence)[p].mean()) for p in parts)", BINS),
    _wrong(ECE, "0 in bin -1", "lies in your last bin", LAST_BIN),
]  # fmt: skip
