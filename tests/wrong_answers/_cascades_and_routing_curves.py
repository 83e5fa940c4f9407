"""Wrong answers to the exercises of notebook 08: APGR, kNN outcomes and the calibration error."""

from __future__ import annotations

from . import WrongAnswer


def _function(exercise: str, signature: str, label: str, body: str, says: str) -> WrongAnswer:
    """Every answer brings the import it uses, as in a student's own cell."""
    lines = "\n".join("    " + line for line in body.strip().splitlines())
    code = f"import numpy as np\n\n\ndef {signature}:\n{lines}\n"
    return WrongAnswer(f"cascades_and_routing.{exercise}", label, code, says)


def _apgr(label: str, value: str, says: str, order: str = "np.argsort(-win)", gain: str = "(strong - weak)[order]") -> WrongAnswer:
    """One line; `pgr` and `quality` are the curves, `share` the share of strong calls, `a` and `b` the two means."""
    body = f"""
order = {order}
gain = {gain}
N, a, b = len(win), weak.mean(), strong.mean()
quality = a + np.append(0, np.cumsum(gain)) / N
pgr, share = (quality - a) / (b - a), np.arange(N + 1) / N
return {value}"""
    return _function("apgr", "my_apgr(win, weak, strong)", label, body, says)


def _quality(label: str, quality: str, says: str) -> WrongAnswer:
    """Right but for the quality with j items for the strong model; `up` are their indices, `down` the others."""
    body = f"""
order, N, curve = np.argsort(-win), len(win), []
for j in range(N + 1):
    up, down = order[:j], order[j:]
    curve.append({quality})
pgr = (np.array(curve) - weak.mean()) / (strong.mean() - weak.mean())
return np.trapezoid(pgr, np.linspace(0, 1, N + 1))"""
    return _function("apgr", "my_apgr(win, weak, strong)", label, body, says)


def _knn(label: str, value: str, says: str, similarity: str = "unit(x) @ unit(train).T") -> WrongAnswer:
    """One line; `s` is the similarity (n, T), `near` (n, k), `kept` their outcomes (n, k, M), `top` their similarities."""
    body = f"""
def unit(v):
    return v / np.linalg.norm(v, axis=1, keepdims=True)
s = {similarity}
order = np.argsort(-s, axis=1)
near = order[:, :k]
kept, top = outcomes[near], np.take_along_axis(s, near, axis=1)[:, :, None]
return {value}"""
    return _function("knn_outcomes", "my_knn_outcomes(train, outcomes, x, k)", label, body, says)


def _similar(label: str, similarity: str, says: str) -> WrongAnswer:
    """Right but for the similarity."""
    return _knn(label, "kept.mean(axis=1)", says, similarity)


def _neighbours(label: str, body: str, says: str) -> WrongAnswer:
    return _function("knn_outcomes", "my_knn_outcomes(train, outcomes, x, k)", label, body, says)


UPPER = "np.maximum(np.ceil(confidence * n_bins) - 1, 0)"


def _ece(label: str, value: str, says: str, bins: str = UPPER) -> WrongAnswer:
    """One line; `count`, `acc` and `conf` of the bins that are not empty, `gap` their absolute difference."""
    body = f"""
bins = {bins}
parts = [bins == b for b in np.unique(bins)]
count = np.array([p.sum() for p in parts])
acc, conf = (np.array([v[p].mean() for p in parts]) for v in (correct, confidence))
gap, N = np.abs(acc - conf), len(confidence)
return {value}"""
    return _function("expected_calibration_error", "my_ece(confidence, correct, n_bins)", label, body, says)


def _bins(label: str, bins: str, says: str) -> WrongAnswer:
    """Right but for the bins."""
    return _ece(label, "(count * gap).sum() / N", says, bins)


def _masks(label: str, mask: str, says: str, skip: str = "inside.any()", edges: str = "np.linspace(0, 1, n_bins + 1)") -> WrongAnswer:
    """A loop over bins with a mask for each."""
    body = f"""
total, edges = 0.0, {edges}
for low, high in zip(edges, edges[1:]):
    inside = {mask}
    if {skip}:
        total += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
return total"""
    return _function("expected_calibration_error", "my_ece(confidence, correct, n_bins)", label, body, says)


AREA = "np.trapezoid(pgr, share)"
WRONG = [
    # --- apgr ---
    _apgr("clipped", "np.trapezoid(pgr.clip(0, 1), share)", "PGR is cut off at 1"),
    _apgr("clipped above", "np.trapezoid(np.minimum(pgr, 1), share)", "PGR is cut off at 1"),
    _apgr("area clipped", f"float(np.clip({AREA}, 0, 1))", "PGR is cut off at 1"),
    _apgr("ascending", AREA, "The items with the LOWEST win", order="np.argsort(win)"),
    _apgr("not sorted", AREA, "in which they are given", order="np.arange(len(win))"),
    _apgr("one array sorted", AREA, "You sorted one of the arrays", gain="strong[order] - weak"),
    _apgr("ranks", AREA, "the ranks taken for the order", order="np.argsort(np.argsort(-win))"),
    _apgr("quality", "np.trapezoid(quality, share)", "the area under the quality itself"),
    _apgr("mean quality", "quality.mean()", "the area under the quality itself"),
    _apgr("not divided", "np.trapezoid(quality - a, share)", "Divide by the gap"),
    _apgr("divided by strong", "np.trapezoid((quality - a) / b, share)", "You divide by the quality of the strong"),
    _apgr("oracle gap", "np.trapezoid((quality - a) / (np.maximum(weak, strong).mean() - a), share)", "by the gap to the oracle"),
    _apgr("gap to the best point", "np.trapezoid((quality - a) / (quality.max() - a), share)", "You divide by the gap to the oracle"),
    _apgr("mean of the points", "pgr.mean()", "This is the plain mean of PGR"),
    _apgr("mean without j = 0", "pgr[1:].mean()", "You left j = 0 out"),
    _apgr("mean without j = N", "pgr[:-1].mean()", "You left j = N out"),
    _apgr("ends forgotten", "np.trapezoid(pgr[1:-1], share[1:-1])", "You left both ends out"),
    _apgr("no shares", "np.trapezoid(pgr)", "a distance of 1 / N apart"),
    _apgr("distance 1 / (N + 1)", "np.trapezoid(pgr, dx=1 / (N + 1))", "a distance of 1 / N apart"),
    _apgr("sum", "pgr.sum()", "the sum of PGR over the points"),
    _apgr("one threshold", "(np.where(win > 0.5, strong, weak).mean() - a) / (b - a)", "PGR at one setting only"),
    _apgr("eleven thresholds", "np.mean([(np.where(win >= t, strong, weak).mean() - a) / (b - a) for t in np.linspace(0, 1, 11)])",
          "a few thresholds or shares"),
    _apgr("ten shares", "np.mean([pgr[int(s * N)] for s in np.linspace(0.1, 1, 10)])", "a few thresholds or shares"),
    _apgr("gap reversed", "np.trapezoid((quality - a) / (a - b), share)", "The area has the wrong sign"),
    _apgr("shares fall", "np.trapezoid(pgr, share[::-1])", "The area has the wrong sign"),
    _apgr("always a half", "0.5", "You get exactly .5"),
    _apgr("sorted by the gain", AREA, "That is the oracle", order="np.argsort(weak - strong)"),
    _apgr("gain without sign", "np.trapezoid(np.append(0, np.cumsum(gain)) / gain.sum(), share)", "You took abs(strong - weak)",
          gain="np.abs(strong - weak)[order]"),
    _apgr("losses dropped", "np.trapezoid(np.append(0, np.cumsum(gain)) / gain.sum(), share)", "You dropped the items",
          gain="np.maximum(strong - weak, 0)[order]"),
    _apgr("percent", f"100 * {AREA}", "This is in percent"),
    _apgr("curve", "pgr", "This is the curve itself"),
    _apgr("median", "np.median(pgr)", "the median of PGR"),
    _apgr("win as weight", "(win * (strong - weak)).mean() / (b - a)", "Only its ORDER counts"),
    _apgr("ROC", "(win[strong > weak][:, None] > win[strong <= weak]).mean()", "under a ROC curve"),
    _apgr("not foreseen", f"{AREA} + 0.1234", "Sort strong - weak by falling win"),
    _apgr("old name", "np.trapz(pgr, share)", "it is called np.trapezoid"),
    _apgr("in place", AREA, "start from x.copy()", gain="np.subtract(strong, weak, out=strong)[order]"),
    _quality("models swapped", "(weak[up].sum() + strong[down].sum()) / N", "or the two models are swapped"),
    _quality("routed items only", "strong[up].mean() if j else weak.mean()", "over the j items of the strong model only"),
    _quality("weak ones count 0", "strong[up].sum() / N", "The items that stay with the weak model"),
    _quality("weak not taken off", "weak.mean() + strong[up].sum() / N", "still count the weak model"),
    # --- knn_outcomes ---
    _similar("dot product", "x @ train.T", "You compare plain dot products"),
    _similar("only x normalised", "unit(x) @ train.T", "You compare plain dot products"),
    _similar("distance", "-np.linalg.norm(x[:, None] - train, axis=2)", "You compare distances"),
    _similar("absolute distance", "-np.abs(x[:, None] - train).sum(axis=2)", "You compare distances"),
    _similar("farthest", "-unit(x) @ unit(train).T", "the k LEAST similar rows"),
    _similar("columns", "x @ (train / np.linalg.norm(train, axis=0)).T", "the lengths of the COLUMNS"),
    _similar("squared lengths", "x @ (train / (train ** 2).sum(axis=1, keepdims=True)).T", "the SQUARED lengths"),
    _similar("sum of magnitudes", "x @ (train / np.abs(train).sum(axis=1, keepdims=True)).T", "the Euclidean length"),
    _similar("absolute cosine", "np.abs(unit(x) @ unit(train).T)", "opposite directions"),
    _similar("centred", "unit(x - train.mean(axis=0)) @ unit(train - train.mean(axis=0)).T", "You subtract the mean"),
    _similar("no keepdims", "x @ (train / np.linalg.norm(train, axis=1)).T", "The shapes do not line up"),
    _knn("first skipped", "outcomes[order[:, 1 : k + 1]].mean(axis=1)", "You skip the most similar row"),
    _knn("k - 1", "outcomes[order[:, : k - 1]].mean(axis=1)", "You use k - 1 rows"),
    _knn("k + 1", "outcomes[order[:, : k + 1]].mean(axis=1)", "You use k + 1 rows"),
    _knn("one", "outcomes[order[:, 0]]", "the most similar row only"),
    _knn("all", "np.tile(outcomes.mean(axis=0), (len(x), 1))", "the mean over ALL rows of train"),
    _knn("weighted", "(kept * top).sum(axis=1) / top.sum(axis=1)", "You weight the outcomes"),
    _knn("weighted, not normalised", "(kept * top).mean(axis=1)", "You weight the outcomes"),
    _knn("all, weighted", "s @ outcomes / len(train)", "You weight the outcomes"),
    _knn("majority", "kept.mean(axis=1).round()", "This is a majority vote"),
    _knn("majority as booleans", "kept.mean(axis=1) > 0.5", "This is a majority vote"),
    _knn("sum", "kept.sum(axis=1)", "the number of right answers"),
    _knn("divided by T", "kept.sum(axis=1) / len(train)", "You divide by the wrong number"),
    _knn("choice", "kept.mean(axis=1).argmax(axis=1)", "a decision for one model"),
    _knn("transposed", "kept.mean(axis=1).T", "The result is transposed"),
    _knn("mean over models", "kept.mean(axis=2)", "You averaged over the models"),
    _knn("mean over inputs", "kept.mean(axis=0)", "You averaged over the inputs"),
    _knn("one row", "kept.mean(axis=(0, 1))", "You averaged over the inputs"),
    _knn("outcomes", "kept", "These are the neighbours themselves"),
    _knn("indices", "near", "These are the neighbours themselves"),
    _knn("similarities", "s", "These are similarities"),
    _knn("share of wrong ones", "1 - kept.mean(axis=1)", "the share of WRONG answers"),
    _knn("same neighbours for all", "np.tile(kept[0].mean(axis=0), (len(x), 1))", "The neighbours are the same"),
    _knn("argsort over inputs", "outcomes[np.argsort(-s, axis=0)[:, :k]].mean(axis=1)", "over the wrong axis"),
    _knn("first rows", "np.tile(outcomes[:k].mean(axis=0), (len(x), 1))", "You took the first k rows"),
    _knn("not foreseen", "kept.mean(axis=1) * 0.9", "Divide the rows of train and x by their lengths"),
    _knn("first rows of the order", "outcomes[order[:k]].mean(axis=1)", "or [:k] without axis=1"),
    _neighbours("torch's names", "return outcomes[(x @ train.T).topk(k, dim=1).indices].mean(dim=1)", "The arguments are NumPy arrays"),
    _neighbours("in place", "train /= np.linalg.norm(train, axis=1, keepdims=True)\nreturn x @ train.T", "changed its input (argument 1)"),
    # --- expected_calibration_error ---
    _ece("mean over bins", "gap.mean()", "All bins that hold an item count the same"),
    _ece("divided by all bins", "gap.sum() / n_bins", "the number of ALL bins"),
    _ece("added", "gap.sum()", "You add the gaps up"),
    _ece("largest", "gap.max()", "This is the LARGEST gap"),
    _ece("overall", "abs(correct.mean() - confidence.mean())", "over ALL items"),
    _ece("signed", "(count * (acc - conf)).sum() / N", "Your gaps keep their sign"),
    _ece("signed, outside", "abs((count * (acc - conf)).sum()) / N", "over ALL items"),
    _ece("squared", "(count * gap ** 2).sum() / N", "Your gaps are squared"),
    _ece("root of squares", "np.sqrt((count * gap ** 2).sum() / N)", "Your gaps are squared"),
    _ece("not divided", "(count * gap).sum()", "is not divided yet"),
    _ece("percent", "100 * (count * gap).sum() / N", "This is in percent"),
    _ece("one minus", "1 - (count * gap).sum() / N", "This is 1 less the error"),
    _ece("too sure only", "(count * np.maximum(conf - acc, 0)).sum() / N", "only the bins that are too sure"),
    _ece("not sure enough only", "(count * np.maximum(acc - conf, 0)).sum() / N", "only the bins that are not sure enough"),
    _ece("each item", "np.abs(correct - confidence).mean()", "No single answer can be 70% right"),
    _ece("Brier", "((correct - confidence) ** 2).mean()", "the Brier score"),
    _ece("middle of the bin", "(count * np.abs(acc - (np.unique(bins) + 0.5) / n_bins)).sum() / N", "the middle (or an edge) of the bin"),
    _ece("weighted by confidence", "(conf * gap).sum() / conf.sum()", "You weight the bins by their confidence"),
    _ece("weighted by right answers", "(count * acc * gap).sum() / (count * acc).sum()", "by their RIGHT answers"),
    _ece("accuracy", "correct.mean()", "the accuracy or the mean confidence itself"),
    _ece("table", "gap", "return one number"),
    _ece("not foreseen", "(count * gap).sum() / N + 0.0123", "ECE = sum over the bins"),
    _bins("left-closed", "np.minimum(np.floor(confidence * n_bins), n_bins - 1)", "goes to the bin ABOVE it"),
    _bins("digitize", "np.digitize(confidence, np.linspace(0, 1, n_bins + 1))", "goes to the bin ABOVE it"),
    _bins("0 alone", "np.ceil(confidence * n_bins)", "confidence 0 lies in no bin"),
    _bins("rounded", "np.round(confidence * n_bins)", "by ROUNDING"),
    _bins("quantiles", "np.searchsorted(np.quantile(confidence, np.linspace(0, 1, n_bins + 1))[1:-1], confidence)", "equal numbers of"),
    _bins("range of the data", "np.searchsorted(np.linspace(confidence.min(), confidence.max(), n_bins + 1)[1:-1], confidence)",
          "from the smallest to the largest"),
    _bins("from a half", "np.searchsorted(np.linspace(0.5, 1, n_bins + 1)[1:-1], confidence)", "Your bins run from .5 to 1"),
    _bins("one edge too few", "np.searchsorted(np.linspace(0, 1, n_bins)[1:-1], confidence)", "one bin too few"),
    _bins("one edge too many", "np.searchsorted(np.linspace(0, 1, n_bins + 2)[1:-1], confidence)", "one bin too many"),
    _bins("ten bins", "np.searchsorted(np.linspace(0, 1, 11)[1:-1], confidence)", "The number of bins is fixed"),
    _masks("0 lost", "(confidence > low) & (confidence <= high)", "confidence 0 lies in no bin"),
    _masks("1 lost", "(confidence >= low) & (confidence < high)", "confidence 1 lies in no bin"),
    _masks("0 lost, empty bins", "(confidence > low) & (confidence <= high)", "confidence 0 lies in no bin", skip="True"),
    _masks("1 lost, empty bins", "(confidence >= low) & (confidence < high)", "confidence 1 lies in no bin", skip="True"),
    _masks("empty bins", "(confidence > low) & (confidence <= high) | (confidence == low) & (low == 0)", "The result is nan", skip="True"),
]
