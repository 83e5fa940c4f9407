"""Wrong answers to the exercises of notebook 05 that no declared mistake shows."""

from __future__ import annotations

from . import WrongAnswer, function

SIGNATURES = {
    "ensemble_targets": "teacher_logits, T",
    "kd_loss": "student_logits, teacher_logits, labels, T, alpha",
    "soft_gradient": "student_logits, targets, T",
    "sequence_kd_data": "beam_search, sources, references=None, similarity=None",
    "divergence": "student_logits, teacher_probs, beta",
    "on_policy_loss": "sample, student, teacher, sources, end",
}
# What the bodies may use: the right parts.
PARTS = {
    "ensemble_targets": "z = teacher_logits.detach()\np = (z / T).softmax(dim=-1)\n",
    "kd_loss": "p = (teacher_logits.detach() / T).softmax(-1).mean(0)\nlogq = (student_logits / T).log_softmax(-1)\n"
    "known = labels != -100\n"
    "hard = F.cross_entropy(student_logits, labels) if known.any() else student_logits.sum() * 0\n",
    "soft_gradient": "z = student_logits.detach().clone().requires_grad_()\n"
    "loss = T**2 * F.kl_div((z / T).log_softmax(-1), targets, reduction='batchmean')\n"
    "q, p, B = (student_logits / T).softmax(-1), targets, len(targets)\n",
    "sequence_kd_data": "",
    "divergence": "p, q = teacher_probs.detach(), student_logits.softmax(-1)\n"
    "kl = lambda a, b: (torch.xlogy(a, a) - a * b.log()).sum(-1).mean()\n"
    "m = beta * p + (1 - beta) * q\n",
    "on_policy_loss": "ids = sample(sources)\n"
    "log_q, p = student(sources, ids)[:, :-1].log_softmax(-1), teacher(sources, ids)[:, :-1].detach()\n"
    "is_end = (ids[:, 1:] == end).long()\n"
    "counts = is_end.cumsum(1) - is_end == 0\n"
    "kl = (log_q.exp() * (log_q - p.log())).sum(-1)\n",
}


def _wrong(exercise: str, label: str, body: str, says: str) -> WrongAnswer:
    imports = "import random", "import torch", "import torch.nn.functional as F"
    code = function(f"{exercise}({SIGNATURES[exercise]})", PARTS[exercise] + body, *imports)
    return WrongAnswer(f"distillation.{exercise}", label, code, says)


def _chosen(label: str, says: str, plain: str = "", similar: str = "", pair: str = "(source, best[0])") -> WrongAnswer:
    """The right loop with another choice: `cs` are the candidates, `i` the number of the source."""
    body = f"""pairs = []
for i, source in enumerate(sources):
    cs = beam_search(source)
    if similarity is None:
        best = {plain or "max(cs, key=lambda c: c[1])"}
    else:
        best = {similar or "max(cs, key=lambda c: similarity(c[0], references[i]))"}
    pairs.append({pair})
return pairs"""
    return _wrong("sequence_kd_data", label, body, says)


MAXIMUM = """pairs = []
for i, source in enumerate(sources):
    best, found = {start}, None
    for text, log_prob in beam_search(source):
        score = similarity(text, references[i]) if similarity else log_prob
        if score > best:
            best, found = score, text
    pairs.append((source, found))
return pairs"""
ZIP = "return [(s, max(beam_search(s), key=lambda c: similarity(c[0], r))[0]) for s, r in zip(sources, references)]"

ANSWERS = {
    "ensemble_targets": [
        (
            "not detached",
            "return (teacher_logits / T).softmax(dim=-1).mean(dim=0)",
            "A gradient would flow back into the teachers",
        ),
        ("in place", "teacher_logits /= T\nreturn teacher_logits.softmax(-1).mean(0)", "changed its input"),
        ("by NumPy", "return torch.tensor((teacher_logits / T).softmax(-1).mean(0).numpy())", "Stay in torch"),
        ("exp of large scores", "e = (z / T).exp()\nreturn (e / e.sum(-1, keepdim=True)).mean(0)", "inf / inf is nan"),
        ("torch.exp of a number", "return z.softmax(-1).mean(0) ** torch.exp(T)", "T is a plain number"),
        ("log-probabilities", "return p.mean(0).log()", "You return logarithms"),
        ("largest, normalised", "m = p.amax(0)\nreturn m / m.sum(-1, keepdim=True)", "This is the largest"),
        (
            "softened after averaging, by logarithms",
            "return (z.softmax(-1).mean(0).log() / T).softmax(-1)",
            "This is the mean at T = 1, softened afterwards",
        ),
        ("not foreseen", "return p.mean(0) ** 1.3", "The sum gives it away"),
    ],
    "kd_loss": [
        (
            "a plain number",
            "return (alpha * T**2 * F.kl_div(logq, p, reduction='batchmean') + (1 - alpha) * hard).item()",
            "no gradient reaches the student",
        ),
        (
            "all under no_grad",
            "with torch.no_grad():\n    logq = (student_logits / T).log_softmax(-1)\n"
            "    hard = hard.detach()\n"
            "    return alpha * T**2 * F.kl_div(logq, p, reduction='batchmean') + (1 - alpha) * hard",
            "no gradient reaches the student",
        ),
        (
            "0 log 0 by hand",
            "q = logq.exp()\nreturn alpha * T**2 * (p * (p / q).log()).sum(1).mean() + (1 - alpha) * hard",
            "and 0 * log 0 nan",
        ),
        (
            "log_target, where a target is 0",
            "logp = (teacher_logits.detach() / T).log_softmax(-1).logsumexp(0) - "
            "torch.tensor(len(teacher_logits)).log()\n"
            "kl = F.kl_div(logq, logp, reduction='batchmean', log_target=True)\n"
            "return alpha * T**2 * kl + (1 - alpha) * hard",
            "and 0 * log 0 nan",
        ),
        (
            "the logarithm of a softmax",
            "logq = (student_logits / T).softmax(-1).log()\n"
            "return alpha * T**2 * (torch.xlogy(p, p) - p * logq).sum(-1).mean() + (1 - alpha) * hard",
            "probability is 0 in the computer",
        ),
        (
            "teachers' logarithms",
            "return alpha * T**2 * F.kl_div(logq, p.log(), reduction='batchmean') + (1 - alpha) * hard",
            "Did F.kl_div get the teachers' logarithms",
        ),
        (
            "nan without labels",
            "hard = F.cross_entropy(student_logits, labels)\n"
            "return alpha * T**2 * F.kl_div(logq, p, reduction='batchmean') + (1 - alpha) * hard",
            "a mean over none is nan",
        ),
        (
            "labels as an index",
            "hard = -student_logits.log_softmax(-1)[torch.arange(len(labels)), labels].mean()\n"
            "return alpha * T**2 * F.kl_div(logq, p, reduction='batchmean') + (1 - alpha) * hard",
            "A label of -100 is no class",
        ),
        ("cross_entropy swapped", "return F.cross_entropy(labels, student_logits)", "first and the labels (B,) second"),
        ("no mean of the teachers", "return F.kl_div(logq, teacher_logits[0].T)", "both sides of the KL are (B, C)"),
        (
            "the teachers one by one, by broadcasting",
            "p = (teacher_logits.detach() / T).softmax(-1)\n"
            "return alpha * T**2 * (p * (p.log() - logq)).sum(-1).mean() + (1 - alpha) * hard",
            "This is the mean of the KL of each teacher",
        ),
        (
            "not foreseen",
            "return alpha * T**2 * (p - logq.exp()).abs().sum(-1).mean() + (1 - alpha) * hard",
            "see which of them differs",
        ),
    ],
    "soft_gradient": [
        ("autograd's tuple", "return torch.autograd.grad(loss, z)", "You return a tuple"),
        ("backward forgotten", "return z.grad", "Your function returns nothing (None)"),
        (
            "without requires_grad",
            "loss = F.kl_div((student_logits / T).log_softmax(-1), p)\nreturn torch.autograd.grad(loss, "
            "student_logits)[0]",
            "For autograd the logits must ask for a gradient",
        ),
        ("autograd of the KL", "return torch.autograd.grad(loss / T**2, z)[0]", "T^2 is missing"),
        (
            "autograd of the reversed KL",
            "loss = T**2 * F.kl_div(p.log(), (z / T).softmax(-1), reduction='batchmean')\n"
            "return torch.autograd.grad(loss, z)[0]",
            "This is the gradient of KL(softmax(z_s / T) || targets)",
        ),
        ("the loss", "return loss.detach()", "This is one number"),
        ("a factor", "return 17 * (q - p) / B", "Yours is 17 times the gradient"),
        ("never 0", "return T * (q - p) / B + (q - p).abs().max().lt(1e-6)", "The student is perfect here"),
        ("not foreseen", "return T * (q.sqrt() - p.sqrt()) / B", "each row should sum to 0"),
    ],
    "sequence_kd_data": [
        ("a generator", "return ((s, beam_search(s)[0][0]) for s in sources)", "Put list(...) around it"),
        ("whole list", "return list(zip(sources, beam_search(sources)))", "one of the sources at a time"),
        ("search on the references", "return [beam_search(r)[0] for r in references]", "one of the sources at a time"),
        (
            "return in the loop",
            "for s in sources:\n    return [(s, max(beam_search(s), key=lambda c: c[1])[0])]",
            "Is `return` inside the loop?",
        ),
        ("a maximum from 0", MAXIMUM.format(start=0), "Does a running maximum start too high?"),
        ("a maximum from -100", MAXIMUM.format(start=-100), "Does a running maximum start too high?"),
        (
            "a loop over the references",
            "score = lambda c, r: similarity(c[0], r) if similarity else c[1]\n"
            "return [(s, max(beam_search(s), key=lambda c: score(c, r))[0]) for s, r in zip(sources, references)]",
            "references may be missing",
        ),
        ("similarity is called when it is None", ZIP, "similarity may be None"),
    ],
    "divergence": [
        (
            "TRL's mixture until 2025",
            "if beta in (0, 1):\n    return kl(p, q) if beta == 0 else kl(q, p)\n"
            "m = beta * q + (1 - beta) * p\nreturn beta * kl(p, m) + (1 - beta) * kl(q, m)",
            "The weights of the mixture are swapped",
        ),
        (
            "TRL's first mixture, of logarithms",
            "if beta in (0, 1):\n    return kl(p, q) if beta == 0 else kl(q, p)\n"
            "m = (beta * p.log() + (1 - beta) * q.log()).exp()\nreturn beta * kl(p, m) + (1 - beta) * kl(q, m)",
            "The mixture is a mean of the logarithms",
        ),
        ("the formula alone", "return beta * kl(p, m) + (1 - beta) * kl(q, m)", "and there it gives 0"),
        ("kl_div's order", "return F.kl_div(p.log(), q, reduction='batchmean')", "this is always the reverse KL"),
        (
            "0 log 0",
            "if beta == 1:\n    return kl(q, p)\n"
            "if beta == 0:\n    return (p * (p.log() - q.log())).sum(-1).mean()\n"
            "return beta * (p * (p.log() - m.log())).sum(-1).mean() + (1 - beta) * kl(q, m)",
            "0 * log 0 is nan",
        ),
        (
            "a number for each row",
            "rows = lambda a, b: (torch.xlogy(a, a) - a * b.log()).sum(-1)\nreturn rows(p, q)",
            "one number for each row",
        ),
        (
            "the forward KL alone",
            "return F.kl_div(student_logits.log_softmax(-1), p, reduction='batchmean')",
            "no effect",
        ),
        (
            "all detached",
            "q = q.detach()\nif beta in (0, 1):\n    return kl(p, q) if beta == 0 else kl(q, p)\n"
            "return beta * kl(p, m.detach()) + (1 - beta) * kl(q, m.detach())",
            "No gradient reaches the student",
        ),
        ("in place", "teacher_probs += 1e-9\nreturn kl(p, q)", "changed its input"),
    ],
    "on_policy_loss": [
        ("behind the end", "return kl.mean()", "What stands behind the end is counted"),
        ("without the end", "return kl[ids[:, 1:] != end].mean()", "The `end` that the student wrote is left out"),
        (
            "an estimate from the token",
            "at = lambda x: x.gather(-1, ids[:, 1:, None])[..., 0]\nreturn (at(log_q) - at(p.log()))[counts].mean()",
            "Only the token that was written is looked at",
        ),
        (
            "the forward direction",
            "return F.kl_div(log_q, p, reduction='none').sum(-1)[counts].mean()",
            "This is the forward direction",
        ),
        ("all places", "return (kl * counts).mean()", "divided by all places"),
        ("a mean a row", "return ((kl * counts).sum(1) / counts.sum(1)).mean()", "This is a mean of means"),
        (
            "no shift",
            "log_q = student(sources, ids).log_softmax(-1)\nkl = log_q.exp() * (log_q - p.log())\n"
            "return kl[counts].mean()",
            "the last of the T places is about no token",
        ),
        ("no call", "return student[sources]", "are functions: call them"),
        ("no ids", "return student(sources).mean()", "want the sources and the ids"),
        (
            "under no_grad",
            "with torch.no_grad():\n    log_q = student(sources, ids)[:, :-1].log_softmax(-1)\n"
            "    return (log_q.exp() * (log_q - p.log())).sum(-1)[counts].mean()",
            "No gradient reaches the student",
        ),
        ("a number for each token", "return kl[counts]", "The loss is one number"),
    ],
}

WRONG = [
    *(_wrong(exercise, *answer) for exercise, answers in ANSWERS.items() for answer in answers),
    _chosen("at random", "You draw a candidate at random", plain="random.choice(cs)"),
    _chosen("abs", "These are the least probable candidates", plain="max(cs, key=lambda c: abs(c[1]))"),
    _chosen("unpacked", "returns a list of pairs (translation, log_prob)", plain="beam_search(source)[0][2]"),
    _chosen(
        "all references", "similarity compares two texts", similar="max(cs, key=lambda c: similarity(c[0], references))"
    ),
    _chosen(
        "middle",
        "('it rains a lot today', 'hoy llueve mucho') is missing",
        plain="sorted(cs, key=lambda c: c[1])[len(cs) // 2]",
    ),
]
