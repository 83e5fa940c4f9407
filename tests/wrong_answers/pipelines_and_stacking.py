"""Wrong answers to the exercises of notebook 09: word errors, the sum over hypotheses and n-best weights here, the others apart."""

from __future__ import annotations

from . import WrongAnswer
from ._pipelines_and_stacking_oof import WRONG as OOF


def _function(exercise: str, signature: str, label: str, body: str, says: str) -> WrongAnswer:
    """Every answer brings the import it uses, as in a student's own cell."""
    lines = "\n".join("    " + line for line in body.strip().splitlines())
    modules = "".join(f"import {name}\n" for name in ("math", "torch") if f"{name}." in body)
    return WrongAnswer(f"pipelines_and_stacking.{exercise}", label, f"{modules}\n\ndef {signature}:\n{lines}\n", says)


def _words(label: str, body: str, says: str) -> WrongAnswer:
    return _function("word_error_rate", "my_wer(reference, hypothesis)", label, body, says)


def _wer(label: str, says: str, value: str = "D[n][m] / n", row: str = "j", column: str = "i", pair: str = "(r[i - 1] != h[j - 1])",
         delete: str = "1", insert: str = "1", first: str = "1", r: str = "reference", h: str = "hypothesis") -> WrongAnswer:
    """The table; r and h are what is aligned, row and column its borders, pair, delete and insert the costs of the steps."""
    body = f"""
r, h = {r}, {h}
n, m = len(r), len(h)
D = [[0] * (m + 1) for _ in range(n + 1)]
for i in range(n + 1):
    D[i][0] = {column}
for j in range(m + 1):
    D[0][j] = {row}
for i in range({first}, n + 1):
    for j in range({first}, m + 1):
        D[i][j] = min(D[i - 1][j - 1] + {pair}, D[i - 1][j] + {delete}, D[i][j - 1] + {insert})
return {value}"""
    return _words(label, body, says)


def _torch(label: str, body: str, says: str) -> WrongAnswer:
    return _function("marginal_pipeline", "my_marginal(p1, p2)", label, body, says)


def _scores(label: str, body: str, says: str) -> WrongAnswer:
    return _function("nbest_posterior", "my_posterior(scores, scale)", label, body, says)


WRONG = [
    # --- word_error_rate ---
    _words("zip", "return sum(a != b for a, b in zip(reference, hypothesis)) / len(reference)", "position by position"),
    _words("zip and lengths", """
wrong = sum(a != b for a, b in zip(reference, hypothesis))
return (wrong + abs(len(reference) - len(hypothesis))) / len(reference)""", "position by position"),
    _words("positions", """
return sum(reference[i] != hypothesis[i] for i in range(len(reference))) / len(reference)""", "An index is too large"),
    _words("set difference", "return len(set(reference) - set(hypothesis)) / len(reference)", "which words occur, without their order"),
    _words("both set differences", "return len(set(reference) ^ set(hypothesis)) / len(reference)",
           "which words occur, without their order"),
    _words("words not found", "return sum(w not in hypothesis for w in reference) / len(reference)", "which words occur"),
    _words("bags", """
from collections import Counter
a, b = Counter(reference), Counter(hypothesis)
return max((a - b).total(), (b - a).total()) / len(reference)""", "which words occur, without their order"),
    _words("words crossed out", """
wrong = 0
for word in reference:
    if word in hypothesis:
        hypothesis.remove(word)
    else:
        wrong += 1
return (wrong + len(hypothesis)) / len(reference)""", "changed its argument 2, a list"),
    _words("difflib", """
import difflib
wrong = 0
for kind, a, b, c, d in difflib.SequenceMatcher(None, reference, hypothesis).get_opcodes():
    if kind != "equal":
        wrong += max(b - a, d - c)
return wrong / len(reference)""", "it must be the CHEAPEST one"),
    _words("greedy search ahead", """
i = j = wrong = 0
while i < len(reference) and j < len(hypothesis):
    if reference[i] == hypothesis[j]:
        i, j = i + 1, j + 1
    elif reference[i] in hypothesis[j:]:
        j, wrong = j + 1, wrong + 1
    else:
        i, wrong = i + 1, wrong + 1
return (wrong + len(reference) - i + len(hypothesis) - j) / len(reference)""", "it must be the CHEAPEST one"),
    _wer("over the hypothesis", "the length of the hypothesis", "D[n][m] / m"),
    _wer("over the longer", "the longer of the two lengths", "D[n][m] / max(n, m)"),
    _wer("over both", "by another number than len(reference)", "D[n][m] / (n + m)"),
    _wer("over the vocabulary", "by another number than len(reference)", "D[n][m] / len(set(r))"),
    _wer("count", "This is the number of edits", "D[n][m]"),
    _wer("characters", "You count characters", r='" ".join(reference)', h='" ".join(hypothesis)'),
    _wer("characters over words", "You count characters", "D[n][m] / len(reference)", r='"".join(reference)', h='"".join(hypothesis)'),
    _wer("capped", "Your rate stops at 1", "min(1.0, D[n][m] / n)"),
    _wer("accuracy", "This is an accuracy", "1 - D[n][m] / n"),
    _wer("percent", "Your result is in percent", "100 * D[n][m] / n"),
    _wer("rounded", "Your result is rounded", "round(D[n][m] / n, 2)"),
    _wer("whole number", "Your result is a whole number", "D[n][m] // n"),
    _wer("free insertions", "Inserted words cost nothing", row="0", insert="0"),
    _wer("free insertions inside", "Inserted words cost nothing", insert="0"),
    _wer("free deletions", "Left-out words cost nothing", column="0", delete="0"),
    _wer("free substitutions", "a wrong word in place of the right one costs nothing", pair="0"),
    _wer("substitution costs 2", "A substitution costs 2", pair="2 * (r[i - 1] != h[j - 1])"),
    _wer("longest common subsequence", "the longest common subsequence", "(max(n, m) - (n + m - D[n][m]) / 2) / n",
         pair="2 * (r[i - 1] != h[j - 1])"),
    _wer("hits", "the share of the reference words that were found", "(n + m - D[n][m]) / 2 / n", pair="2 * (r[i - 1] != h[j - 1])"),
    _wer("first row empty", "The first row of your table is not filled", row="0"),
    _wer("first column empty", "The first column of your table is not filled", column="0"),
    _wer("both empty", "The first row and column of your table are 0", row="0", column="0"),
    _wer("equal words cost 1", "Equal words cost 1", pair="1"),
    _wer("wrong corner", "Your table ends too early", "D[n - 1][m - 1] / n"),
    _wer("index of the table", "An index is too large", pair="(r[i] != h[j])"),
    _wer("lower case", "compare in lower case", r="[w.lower() for w in reference]", h="[w.lower() for w in hypothesis]"),
    _wer("sentence", "1 for a sentence with any error", "float(r != h)"),
    _wer("three numbers", "none is asked for by itself", "(D[n][m], n, m)"),
    _wer("printed", "did you forget `return`", "print(D[n][m] / n)"),
    _wer("nothing heard, no error", "Your 0 edits cannot be enough", "D[n][m] / n if m else 0.0"),
    _wer("nothing heard, over it", "The hypothesis is empty here", "D[n][m] / n if len(set(h)) / m else 0"),
    _wer("whole table", "none is asked for", "D"),
    _words("lengths", "return len(hypothesis) / len(reference)", "This compares the lengths"),
    _words("swap is one", """
n, m = len(reference), len(hypothesis)
D = [[max(i, j) if not i * j else 0 for j in range(m + 1)] for i in range(n + 1)]
for i in range(1, n + 1):
    for j in range(1, m + 1):
        D[i][j] = min(D[i-1][j-1] + (reference[i-1] != hypothesis[j-1]), D[i-1][j] + 1, D[i][j-1] + 1)
        if i > 1 and j > 1 and reference[i-1] == hypothesis[j-2] and reference[i-2] == hypothesis[j-1]:
            D[i][j] = min(D[i][j], D[i-2][j-2] + 1)
return D[n][m] / n""", "changed places count as one error"),
    _words("recursion without an end", """
same = reference[-1] == hypothesis[-1]
return my_wer(reference[:-1], hypothesis[:-1]) + (not same)""", "An index is too large"),
    # --- marginal_pipeline ---
    _torch("argmax", "return p2[p1.argmax(dim=1)]", "the best hypothesis alone (argmax)"),
    _torch("argmax in a loop", "return torch.stack([p2[int(row.argmax())] for row in p1])", "the best hypothesis alone (argmax)"),
    _torch("one hot", "return torch.nn.functional.one_hot(p1.argmax(1), p1.shape[1]).float() @ p2", "the best hypothesis alone (argmax)"),
    _torch("argmax with its weight", "best = p1.max(dim=1)\nreturn best.values[:, None] * p2[best.indices]", "times its probability"),
    _torch("max over k", "return (p1[:, :, None] * p2).max(dim=1).values", "You take the MAXIMUM over k"),
    _torch("max, normalised", "m = (p1[:, :, None] * p2).amax(1)\nreturn m / m.sum(1, keepdim=True)", "You take the MAXIMUM over k"),
    _torch("geometric mean", "return (p1 @ p2.log()).exp()", "You average the logarithms"),
    _torch("geometric mean, normalised", "return torch.softmax(p1 @ torch.log(p2), dim=-1)", "You average the logarithms"),
    _torch("mean of the logarithms", "return p1 @ p2.log()", "You average the logarithms"),
    _torch("product of everything", "return (p1[:, :, None] * p2).prod(dim=1)", "You average the logarithms"),
    _torch("plain mean", "return p2.mean(dim=0).expand(len(p1), -1)", "All hypotheses count the same"),
    _torch("plain mean, one row", "return p2.mean(dim=0)", "All hypotheses count the same"),
    _torch("plain sum", "return p2.sum(dim=0).repeat(len(p1), 1)", "without their weights"),
    _torch("mean over k", "return (p1[:, :, None] * p2).mean(dim=1)", "Divided by K"),
    _torch("softmax of p1", "return p1.softmax(dim=1) @ p2", "You take a softmax of p1"),
    _torch("softmax of p2", "return p1 @ p2.softmax(dim=1)", "You take a softmax of p2"),
    _torch("softmax of the result", "return (p1 @ p2).softmax(dim=-1)", "You take a softmax of the result"),
    _torch("for logarithms", "return torch.logsumexp(p1[:, :, None] + p2, dim=1)", "p1 and p2 are no logarithms"),
    _torch("exp", "return p1.exp() @ p2.exp()", "p1 and p2 are no logarithms"),
    _torch("log", "return (p1 @ p2).log()", "These are the logarithms of the result"),
    _torch("transpose of p2", "return p1 @ p2.T", "by the transpose of p2"),
    _torch("transpose of p1", "return p1.T @ p2", "by the transpose of p1"),
    _torch("transposed", "return (p1 @ p2).T", "The result is transposed"),
    _torch("the wrong way round", "return p2 @ p1", "The product is the wrong way round"),
    _torch("elementwise", "return p1 * p2", "Your result sums to"),
    _torch("inputs normalised", "return (p1 / p1.sum(dim=0)) @ p2", "the sums over the inputs"),
    _torch("joint table", "return p1[:, :, None] * p2", "This is the joint table"),
    _torch("summed over Y2", "return (p1[:, :, None] * p2).sum(dim=2)", "You summed over Y2"),
    _torch("decision", "return (p1 @ p2).argmax(dim=1)", "This is a decision"),
    _torch("vote", "return p1 @ torch.nn.functional.one_hot(p2.argmax(1), p2.shape[1]).float()", "casts one vote"),
    _torch("mean input", "return (p1.mean(dim=0) @ p2).expand(len(p1), -1)", "All rows of your result are the same"),
    _torch("first hypothesis", "return p1[:, :1] * p2[:1]", "reads hypothesis 0"),
    _torch("two best", "v, i = p1.topk(2)\nreturn (v[:, :, None] * p2[i]).sum(1)", "the two best hypotheses"),
    _torch("squared weights", "return p1 ** 2 @ p2", "You weight by logarithms or by squares"),
    _torch("drawn", "return p2[torch.multinomial(p1, 1).squeeze(1)]", "one hypothesis was chosen (or drawn)"),
    _torch("certain ones only", "return torch.where(p1 > 0.5, p1, 0.0) @ p2", "Your result sums to"),
    _torch("in place", "p1 /= p1.sum(0)\nreturn p1 @ p2", "changed its input"),
    _torch("as a list", "return (p1 @ p2).tolist()", "should be a torch tensor"),
    # --- nbest_posterior ---
    _scores("no scale", "return torch.softmax(scores, dim=0)", "The scale has no effect"),
    _scores("divided", "return torch.softmax(scores / scale, dim=0)", "You divide by the scale"),
    _scores("scale outside", "return scale * torch.softmax(scores, dim=0)", "The scale multiplies the weights"),
    _scores("power", "return torch.softmax(scores, dim=0) ** scale", "has the right proportions"),
    _scores("softmax of exp", "return torch.softmax(torch.exp(scale * scores), dim=0)", "You take exp twice"),
    _scores("softmax of probabilities", "return torch.softmax(scale * torch.exp(scores), dim=0)", "You take exp twice"),
    _scores("softmax twice", "return torch.softmax(scale * torch.softmax(scores, dim=0), dim=0)", "You take exp twice"),
    _scores("plain exp", "e = torch.exp(scale * scores)\nreturn e / e.sum()", "so all the terms vanish"),
    _scores("a small number below", "e = torch.exp(scale * scores)\nreturn e / (e.sum() + 1e-12)", "Here your weights sum to 0"),
    _scores("minimum subtracted", "z = scale * scores\ne = torch.exp(z - z.min())\nreturn e / e.sum()", "Subtract the LARGEST"),
    _scores("mean subtracted", "z = scale * scores\ne = torch.exp(z - z.mean())\nreturn e / e.sum()", "Subtract the LARGEST"),
    _scores("by math", "e = [math.exp(scale * s) for s in scores.tolist()]\nreturn torch.tensor([x / sum(e) for x in e])",
            "so all the terms vanish"),
    _scores("linear", "return scores / scores.sum()", "You divide scores by their sum"),
    _scores("linear from the worst", "d = scores - scores.min()\nreturn d / d.sum()", "You use distances to the worst score"),
    _scores("sign", "return torch.softmax(-scale * scores, dim=0)", "The sign is the wrong way round"),
    _scores("argmax", "return (scores == scores.max()).double()", "All weight is on the best hypothesis"),
    _scores("index", "return scores.argmax()", "All weight is on the best hypothesis"),
    _scores("log_softmax", "return torch.log_softmax(scale * scores, dim=0)", "These are the logarithms"),
    _scores("not normalised", "return torch.exp(scale * scores)", "Your weights do not sum to 1"),
    _scores("divided by the largest", "z = scale * scores\nreturn torch.exp(z - z.max())", "Your best hypothesis has weight 1"),
    _scores("scale above only", "return torch.exp(scale * scores) / torch.exp(scores).sum()", "stands in the numerator only"),
    _scores("maximum above only", "z = scale * scores\nreturn torch.exp(z - z.max()) / torch.exp(z).sum()",
            "one of numerator and denominator"),
    _scores("base 10", "return torch.softmax(scale * scores * math.log(10), dim=0)", "another base than e"),
    _scores("sigmoid", "return torch.sigmoid(scale * scores)", "the hypotheses compete"),
    _scores("log of the scores", "return torch.softmax(torch.log(scale * scores), dim=0)", "The scores are negative"),
    _scores("power of the scores", "return torch.softmax(scores ** scale, dim=0)", "The scores are negative"),
    _scores("cut off", "return torch.softmax((scale * scores).clamp(min=-700), dim=0)", "were they cut off"),
    _scores("sorted", "return torch.softmax(scale * scores, dim=0).sort(descending=True).values", "in another order than the scores"),
    _scores("uniform", "return torch.ones_like(scores) / len(scores)", "All hypotheses get the same weight"),
    _scores("ranks", "r = scores.argsort(descending=True).argsort() + 1\nreturn (1 / r) / (1 / r).sum()", "You weight by the rank"),
    _scores("mean of exp", "z = scale * scores\ne = torch.exp(z - z.max())\nreturn e / len(e)", "by the number of hypotheses"),
    _scores("divides by the scale for zero", "z = scale * scores\nreturn torch.softmax(z, dim=0) * (scale / scale)", "The scale is 0 here"),
    _scores("tensor of the scale", "return torch.softmax(scale.unsqueeze(0) * scores, dim=0)", "The scale is a Python number"),
    _scores("keeps a dimension", "return torch.softmax(scale * scores[None], dim=1)", "Your result has shape"),
    _scores("softmax over nothing", "return torch.softmax(scale * scores[:, None], dim=1)", "Your result has shape"),
    _scores("in place", "scores *= scale\nreturn torch.softmax(scores, dim=0)", "changed its input"),
    _scores("printed", "print(torch.softmax(scale * scores, dim=0))", "did you forget `return`"),
    *OOF,
]
