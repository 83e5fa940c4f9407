"""Wrong answers to the exercises of notebook 08: cascade and Pareto set here, the others in a module of their own."""

from __future__ import annotations

from . import WrongAnswer
from ._cascades_and_routing_curves import WRONG as CURVES


def _function(exercise: str, signature: str, label: str, body: str, says: str) -> WrongAnswer:
    """Every answer brings the import it uses, as in a student's own cell."""
    lines = "\n".join("    " + line for line in body.strip().splitlines())
    code = f"import numpy as np\n\n\ndef {signature}:\n{lines}\n"
    return WrongAnswer(f"cascades_and_routing.{exercise}", label, code, says)


def _body(label: str, body: str, says: str) -> WrongAnswer:
    return _function("cascade", "my_cascade(scores, correct, cost, taus)", label, body, says)


def _who(label: str, by: str, says: str) -> WrongAnswer:
    """Right but for the tier that answers: `a` are the booleans scores > taus, `full` has the last tier's row of True."""
    body = f"""
n, t = np.arange(correct.shape[1]), taus[:, None]
a = scores > t
full = np.vstack([a, np.ones((1, len(n)), dtype=bool)])
by = {by}
return correct[by, n].mean(), np.cumsum(cost)[by].mean()"""
    return _body(label, body, says)


def _paid(label: str, value: str, says: str, accuracy: str = "correct[by, n].mean()") -> WrongAnswer:
    """Right but for what is returned: `by` is the tier that answers."""
    body = f"""
n = np.arange(correct.shape[1])
by = np.vstack([scores > taus[:, None], np.ones((1, len(n)), dtype=bool)]).argmax(axis=0)
paid = np.cumsum(cost)[by]
return {accuracy}, {value}"""
    return _body(label, body, says)


def _right(label: str, accuracy: str, says: str) -> WrongAnswer:
    return _paid(label, "paid.mean()", says, accuracy)


def _loop(label: str, test: str, says: str, skip: str = "pass", last: str = "by = m") -> WrongAnswer:
    """A loop over the items and tiers."""
    body = f"""
M, N = correct.shape
right = paid = 0.0
for n in range(N):
    by = M - 1
    for m in range(M - 1):
        if {test}:
            {last}
            break
        {skip}
    right += correct[by, n]
    paid += cost[: by + 1].sum()
return right / N, paid / N"""
    return _body(label, body, says)


def _pareto(label: str, value: str, says: str, order: str = "np.lexsort((-quality, cost))", test: str = "quality[i] > best") -> WrongAnswer:
    """A scan by rising cost; `kept` are the right indices if `order` and `test` are."""
    body = f"""
order, kept, best = {order}, [], -np.inf
for i in order:
    if {test}:
        kept.append(int(i))
        best = quality[i]
return {value}"""
    return _function("pareto", "my_pareto(cost, quality)", label, body, says)


def _pairs(label: str, dominates: str, says: str) -> WrongAnswer:
    """All pairs; (c, q) is the point, (d, r) another one."""
    body = f"""
kept = []
for i, (c, q) in enumerate(zip(cost, quality)):
    others = [(j, d, r) for j, (d, r) in enumerate(zip(cost, quality)) if j != i]
    if not any({dominates} for j, d, r in others):
        kept.append(i)
return np.array(sorted(kept, key=lambda i: (cost[i], i)))"""
    return _function("pareto", "my_pareto(cost, quality)", label, body, says)


def _points(label: str, body: str, says: str) -> WrongAnswer:
    return _function("pareto", "my_pareto(cost, quality)", label, body, says)


WRONG = [
    # --- cascade: who answers ---
    _who("at least", "np.vstack([scores >= t, full[-1:]]).argmax(axis=0)", "A score EQUAL to its threshold"),
    _who("direction", "np.vstack([scores < t, full[-1:]]).argmax(axis=0)", "works the wrong way round"),
    _loop("direction in a loop", "scores[m, n] <= taus[m]", "works the wrong way round"),
    _who("distance", "np.vstack([1 - scores < t, full[-1:]]).argmax(axis=0)", "You compare 1 - scores"),
    _who("most confident", "scores.argmax(axis=0)", "the most confident tier"),
    _who("most confident, if any accepts", "np.where(a.any(axis=0), scores.argmax(axis=0), -1)", "the most confident tier"),
    _who("most confident of the accepting", "np.where(full[:-1].any(0), (a * scores).argmax(0), -1)", "the most confident tier"),
    _who("last of the accepting", "np.where(a.any(0), len(a) - 1 - a[::-1].argmax(0), len(a))", "You take the LAST tier that accepts"),
    _loop("no break", "scores[m, n] > taus[m]", "You take the LAST tier that accepts", last="by = m; continue"),
    _who("no row for the last tier", "a.argmax(axis=0)", "argmax of a column of False is 0"),
    _who("scorer for the last tier", "np.where(a.any(axis=0), a.argmax(axis=0), len(a) - 1)", "the last tier WITH a scorer"),
    _who("one threshold", "np.vstack([scores > taus[0], full[-1:]]).argmax(axis=0)", "All tiers use the same threshold"),
    _who("mean threshold", "np.vstack([scores > taus.mean(), full[-1:]]).argmax(axis=0)", "All tiers use the same threshold"),
    _who("thresholds reversed", "np.vstack([scores > t[::-1], full[-1:]]).argmax(axis=0)", "in the reverse order"),
    _who("straight to the last", "np.where(a[0], 0, len(a))", "goes straight to the last tier"),
    _who("all must accept", "np.where(a.all(axis=0), 0, len(a))", "only where ALL tiers accept"),
    _who("always the last", "np.full(len(n), len(a))", "accuracy of the last tier alone"),
    _who("always the first", "np.zeros(len(n), dtype=int)", "accuracy of tier 0 alone"),
    _loop("peeking at a trusted answer", "scores[m, n] > taus[m] and correct[m, n]", "Your cascade looks at `correct`"),
    _loop("peeking at any answer", "scores[m, n] > taus[m] or correct[m, n]", "Your cascade looks at `correct`"),
    _loop("until it is right", "correct[m, n]", "as soon as ANY tier is right"),
    _right("any tier", "correct.max(axis=0).mean()", "as soon as ANY tier is right"),
    _right("all tiers", "correct.mean()", "mean accuracy of all the tiers"),
    _right("mean of the tiers", "np.mean([correct[m, by == m].mean() for m in set(by)])", "You average the accuracies of the tiers"),
    _right("every acceptance", "np.mean([correct[m, scores[m] > taus[m]].mean() for m in range(len(taus))] + [correct[-1].mean()])",
           "counted again at later tiers"),
    _right("rows", "correct[by].mean()", "takes whole ROWS"),
    _right("count", "correct[by, n].sum()", "Your accuracy is a count"),
    _right("percent", "100 * correct[by, n].mean()", "Your accuracy is in percent"),
    _right("errors", "1 - correct[by, n].mean()", "This is the error rate"),
    _right("unanswered are wrong", "(correct[by, n] * (by < len(taus))).mean()", "no scorer accepts count as wrong"),
    _right("unanswered left out", "correct[by, n][by < len(taus)].mean()", "You leave the items out that no scorer"),
    _right("scores", "np.vstack([scores, 1 + 0 * scores[:1]])[by, n].mean()", "This is the mean SCORE"),
    _body("scores for all tiers", "a = [scores[m] > taus[m] for m in range(len(correct))]\nreturn 0.0, 0.0", "An index is too large"),
    _body("rows and columns", "a = scores > taus\nreturn 0.0, 0.0", "write taus[:, None]"),
    _body("if over a row", "for m in range(len(taus)):\n    if scores[m] > taus[m]:\n        return 0.0, cost[m]", "one truth value"),
    # --- cascade: what was paid ---
    _paid("answering tier only", "cost[by].mean()", "the cost is that of the answering tier alone"),
    _paid("sum", "paid.sum()", "your cost is the sum over all items"),
    _paid("all tiers are paid", "cost.sum()", "asking ALL tiers on every item"),
    _paid("without the answering tier", "(paid - cost[by]).mean()", "leaves the answering tier itself out"),
    _paid("from the end", "np.cumsum(cost[::-1])[::-1][by].mean()", "from the answering tier to the last"),
    _paid("per call", "paid.sum() / (by + 1).sum()", "the mean cost of one CALL"),
    _paid("first and answering", "(cost[0] + cost[by] * (by > 0)).mean()", "only tier 0 and the answering tier"),
    _paid("first paid twice", "(cost[0] + cost[by]).mean()", "pay for it twice"),
    _paid("plain mean", "cost.mean()", "the plain mean of the prices"),
    _paid("shares of all", "cost[0] + (cost[1:] * (scores <= taus[:, None]).mean(axis=1)).sum()", "rejects of ALL items"),
    _paid("calls", "(by + 1).mean()", "you count the calls"),
    _paid("each item", "paid", "take the mean over the items"),
    _paid("not foreseen", "paid.mean() + 0.123", "The first tier with scores[m] > taus[m]"),
    _paid("three values", "paid.mean(), by", "returns 3 values"),
    _body("swapped", "n = np.arange(correct.shape[1])\nby = np.vstack([scores > taus[:, None], n[None] >= 0]).argmax(axis=0)\n"
          "return np.cumsum(cost)[by].mean(), correct[by, n].mean()", "The two numbers are in the other order"),
    _body("accuracy alone", "return correct.mean()", "Your function returns one number"),
    _body("in place", "cost[1:] += cost[0]\nreturn correct.mean(), cost.mean()", "start from x.copy()"),
    # --- pareto ---
    _pairs("strict in both", "d < c and r > q", "only if another is cheaper AND better"),
    _pairs("equal points drop each other", "d <= c and r >= q", "Equal points drop each other"),
    _pairs("equal points kept", "d <= c and r >= q and (d, r) != (c, q)", "Equal points are all kept"),
    _pairs("last of equal points", "d <= c and r >= q and ((d, r) != (c, q) or j > i)", "you keep the last"),
    _pairs("equal quality kept", "d <= c and r > q", "only AS good as a cheaper one"),
    _pairs("equal cost kept", "d < c and r >= q", "Of points with equal cost"),
    _pairs("low quality", "d <= c and r <= q and (d, r, j) != (c, q, i) and ((d, r) != (c, q) or j < i)", "Your points have LOW quality"),
    _pairs("high cost", "d >= c and r >= q and ((d, r) != (c, q) or j < i)", "Your points are the DEAR ones"),
    _pareto("at least as good", "kept", "only AS good as a cheaper one", test="quality[i] >= best"),
    _pareto("cost alone", "kept", "Of points with equal cost", order="np.argsort(cost, kind='stable')"),
    _pareto("worst of equal costs first", "kept", "Of points with equal cost", order="np.lexsort((quality, cost))"),
    _pareto("starts at 0", "kept", "Points with a negative quality are lost", test="quality[i] > max(best, 0)"),
    _pareto("by index", "sorted(kept)", "the right points in another order"),
    _pareto("falling", "kept[::-1]", "by falling cost"),
    _pareto("mask", "np.isin(np.arange(len(cost)), kept)", "This is a mask"),
    _pareto("mask of zeros and ones", "[1 if i in kept else 0 for i in range(len(cost))]", "This is a mask"),
    _pareto("positions", "np.flatnonzero(np.isin(order, kept))", "positions in the SORTED points"),
    _pareto("costs", "cost[kept]", "These are the costs or the qualities"),
    _pareto("pairs", "[(cost[i], quality[i]) for i in kept]", "These are the costs or the qualities"),
    _pareto("cheapest and best", "[kept[0], kept[-1]]", "only the cheapest and the best"),
    _pareto("all", "order", "All points are returned"),
    _pareto("dominated", "[i for i in order if i not in kept]", "These are the dominated points"),
    _pareto("first missing", "kept[1:]", "The cheapest point is missing"),
    _pareto("last missing", "kept[:-1]", "The last point of the set"),
    _pareto("where", "np.where(np.isin(np.arange(len(cost)), kept))", "np.where gives a tuple"),
    _pareto("not foreseen", "kept[:1] + kept[2:]", "is missing, and no other point dominates it"),
    _pareto("one too many", "kept + [int(order[-1])] * (order[-1] not in kept)", "Your result holds point"),
    _points("convex hull", """
order, kept = np.lexsort((-quality, cost)), []
for i in order:
    if kept and quality[i] <= quality[kept[-1]]:
        continue
    while len(kept) > 1:
        (a, b), steep = kept[-2:], lambda x, y: (quality[y] - quality[x]) / (cost[y] - cost[x])
        if steep(a, b) > steep(b, i):
            break
        kept.pop()
    kept.append(i)
return np.array(kept)""", "only the corners of the convex hull"),
    _points("neighbours", """
order = np.lexsort((-quality, cost))
return [order[0]] + [i for h, i in zip(order, order[1:]) if quality[i] > quality[h]]""", "only with the one before it"),
    _pareto("floats", "np.array([float(i) for i in kept])", "of a floating-point type"),
    _points("best", "return [int(quality.argmax())]", "This is one point only"),
    _points("ratio", "return [int((quality / cost).argmax())]", "You chose by quality / cost"),
    _points("sorted in place", "cost.sort()\nreturn np.arange(len(cost))", "np.sort(x) in place of x.sort()"),
    *CURVES,
]
