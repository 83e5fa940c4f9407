"""Wrong answers to the exercises of notebook 05."""

from __future__ import annotations

from . import WrongAnswer


def _function(exercise: str, signature: str, label: str, body: str, says: str) -> WrongAnswer:
    """Every answer brings the imports it uses, as in a student's own cell."""
    modules = ("import math", "math."), ("import random", "random."), ("import numpy as np", "np.")
    imports = "".join(f"{line}\n" for line, used in modules if used in body)
    lines = "\n".join("    " + line for line in body.strip().splitlines())
    code = f"{imports}import torch\nimport torch.nn.functional as F\n\n\ndef {signature}:\n{lines}\n"
    return WrongAnswer(f"distillation.{exercise}", label, code, says)


def _targets(label: str, value: str, says: str) -> WrongAnswer:
    """One line; `z` are the teachers' scores, without gradient; `p` is right for each teacher."""
    body = f"""
z = teacher_logits.detach()
M, B, C = z.shape
p = (z / T).softmax(dim=-1)
return {value}"""
    return _function("ensemble_targets", "ensemble_targets(teacher_logits, T)", label, body, says)


RIGHT = {
    "z": "teacher_logits.detach()",
    "p": "(z / T).softmax(dim=-1).mean(dim=0)",
    "logq": "(student_logits / T).log_softmax(dim=-1)",
    "kl": "F.kl_div(logq, p, reduction='batchmean')",
    "soft": "T ** 2 * kl",
    "hard": "F.cross_entropy(student_logits, labels)",
    "end": "alpha * soft + (1 - alpha) * hard",
}


def _loss(label: str, says: str, **wrong: str) -> WrongAnswer:
    """The right answer but for some of its lines; `q` are the student's probabilities at T."""
    assert not wrong.keys() - RIGHT.keys(), wrong
    lines = {**RIGHT, **wrong}
    body = "\n".join(f"{name} = {value}" for name, value in lines.items() if name != "end")
    body = body.replace("\nkl =", "\nq = logq.exp()\nkl =") + f"\nreturn {lines['end']}"
    return _function("kd_loss", "kd_loss(student_logits, teacher_logits, labels, T, alpha)", label, body, says)


def _loss_body(label: str, body: str, says: str) -> WrongAnswer:
    return _function("kd_loss", "kd_loss(student_logits, teacher_logits, labels, T, alpha)", label, body, says)


def _gradient(label: str, value: str, says: str, before: str = "") -> WrongAnswer:
    """`z`, `p` are the arguments, `q` is the student's softened distribution."""
    body = f"""
z, p = student_logits, targets
B, C = z.shape
q = (z / T).softmax(dim=-1)
{before}
return {value}"""
    signature = "soft_gradient(student_logits, targets, T)"
    return _function("soft_gradient", signature, label, body.replace("\n\n", "\n"), says)


def _autograd(label: str, loss: str, says: str, end: str = "torch.autograd.grad(loss, z)[0]") -> WrongAnswer:
    body = f"""
z = student_logits.detach().clone().requires_grad_()
logq = (z / T).log_softmax(dim=-1)
loss = {loss}
return {end}"""
    return _function("soft_gradient", "soft_gradient(student_logits, targets, T)", label, body, says)


SEQUENCE = "sequence_kd_data(beam_search, sources, references=None, similarity=None)"


def _sequence(label: str, body: str, says: str) -> WrongAnswer:
    return _function("sequence_kd_data", SEQUENCE, label, body, says)


def _chosen(label: str, says: str, plain: str = "", similar: str = "", pair: str = "(source, best[0])") -> WrongAnswer:
    """The right loop with another choice: `cs` are the candidates, `i` the number of the source."""
    body = f"""
pairs = []
for i, source in enumerate(sources):
    cs = beam_search(source)
    if similarity is None:
        best = {plain or "max(cs, key=lambda c: c[1])"}
    else:
        best = {similar or "max(cs, key=lambda c: similarity(c[0], references[i]))"}
    pairs.append({pair})
return pairs"""
    return _sequence(label, body, says)


CHOICES = "max(cs, key=lambda c: {})"

WRONG = [
    # --- ensemble_targets ---
    _targets("averaged logits", "(z.mean(0) / T).softmax(-1)", "that is the geometric mean of the teachers"),
    _targets("summed logits", "(z.sum(0) / T).softmax(-1)", "And you added the logits up"),
    _targets("averaged logits at T = 1", "z.mean(0).softmax(-1)", "one teacher that is sure of its no decides for all"),
    _targets("averaged logits times T", "(z.mean(0) * T).softmax(-1)", "And T: T multiplies the scores"),
    _targets("averaged log-probabilities", "(z / T).log_softmax(-1).mean(0)", "You averaged LOGARITHMS"),
    _targets("geometric mean, not normalised", "(z / T).log_softmax(-1).mean(0).exp()", "You averaged LOGARITHMS"),
    _targets(
        "softened after averaging",
        "(lambda t: t / t.sum(-1, keepdim=True))(z.softmax(-1).mean(0) ** (1 / T))",
        "You averaged at T = 1 and softened the mean afterwards",
    ),
    _targets("softened after averaging, not normalised", "z.softmax(-1).mean(0) ** (1 / T)", "softened the mean"),
    _targets(
        "softened after averaging, by logarithms",
        "(z.softmax(-1).mean(0).log() / T).softmax(-1)",
        "The order matters",
    ),
    _targets("T multiplies", "(z * T).softmax(-1).mean(0)", "T multiplies the scores, so a large T makes"),
    _targets("T ignored", "z.softmax(-1).mean(0)", "T is ignored"),
    _targets("T subtracted", "(z - T).softmax(-1).mean(0)", "Subtracting T"),
    _targets("T squared", "(z / T**2).softmax(-1).mean(0)", "T enters with another power"),
    _targets("root of T", "(z / T**0.5).softmax(-1).mean(0)", "T enters with another power"),
    _targets("probabilities over T", "(z.softmax(-1) / T).mean(0)", "You divided the probabilities by T"),
    _targets("softened, and over T", "p.mean(0) / T", "Your result sums to 0.4 instead of 1"),
    _targets("T^2 on the targets", "T**2 * p.mean(0)", "A mean over the teachers divides their sum by M"),
    _targets("sum of the members", "p.sum(0)", ".mean(dim=0) and not .sum(dim=0)"),
    _targets("softmax over the members", "(z / T).softmax(0).mean(0)", "The softmax runs over the teachers (dim 0)"),
    _targets("softmax over the rows", "(z / T).softmax(1).mean(0)", "The softmax runs over the B rows (dim 1)"),
    _targets("mean over the rows", "p.mean(1)", "You averaged over the B rows"),
    _targets("mean over the classes", "p.mean(-1)", "You averaged over the C classes"),
    _targets("mean over everything but classes", "p.mean((0, 1))", "You averaged over the rows as well"),
    _targets("no mean", "p", "You did not average: these are M distributions"),
    _targets("keepdim", "p.mean(0, keepdim=True)", "A dimension of size 1 is left over"),
    _targets("one number", "p.mean()", "This is one number: each row keeps its C probabilities"),
    _targets("log-probabilities", "p.mean(0).log()", "You return logarithms"),
    _targets("softmax of the mean", "p.mean(0).softmax(-1)", "The softmax is taken twice"),
    _targets("softmax twice", "p.softmax(-1).mean(0)", "The softmax is taken twice"),
    _targets("T after the softmax", "(z.softmax(-1).mean(0) / T).softmax(-1)", "The softmax is taken twice"),
    _targets("no softmax", "(z / T).mean(0)", "There is no softmax"),
    _targets("first teacher", "p[0]", "This is the first teacher alone"),
    _targets("last teacher", "p[-1]", "This is the last teacher alone"),
    _targets("maximum", "p.max(0).values", "You took the largest of the teachers' probabilities"),
    _targets(
        "maximum, normalised",
        "p.max(0).values / p.max(0).values.sum(-1, keepdim=True)",
        "You took the largest of the teachers' probabilities",
    ),
    _targets("median", "p.median(0).values", "You took the median of the teachers"),
    _targets("product", "p.prod(0)", "that is a product of experts, not a mean"),
    _targets("votes", "F.one_hot(z.argmax(-1), C).float().mean(0)", "You counted votes"),
    _targets("hard labels", "F.one_hot(p.mean(0).argmax(-1), C).float()", "This is a hard label"),
    _targets("class numbers", "p.mean(0).argmax(-1)", "Each row has ONE number: keep the C classes"),
    _targets("sigmoid", "(z / T).sigmoid().mean(0)", "You took the sigmoid of each score"),
    _targets("uniform", "torch.full((B, C), 1 / C)", "Every class gets the same probability"),
    _targets(
        "exp of large scores",
        "((z / T * 2).exp().sqrt() / (z / T * 2).exp().sqrt().sum(-1, keepdim=True)).mean(0)",
        "inf / inf is nan",
    ),
    _targets("torch.exp of a number", "z.softmax(-1).mean(0) ** torch.exp(T)", "T is a plain number"),
    _targets("not foreseen", "p.mean(0) ** 1.3", "The sum gives it away"),
    _function(
        "ensemble_targets",
        "ensemble_targets(teacher_logits, T)",
        "not detached",
        "return (teacher_logits / T).softmax(dim=-1).mean(dim=0)",
        "a gradient would flow back into the teachers",
    ),
    _function(
        "ensemble_targets",
        "ensemble_targets(teacher_logits, T)",
        "the mean in another place",
        "p = (teacher_logits.detach() / T).softmax(dim=-1)\nreturn sum(p) / p.shape[1]",
        "A mean over the teachers divides their sum by M",
    ),
    _function(
        "ensemble_targets",
        "ensemble_targets(teacher_logits, T)",
        "in place",
        "teacher_logits /= T\nreturn teacher_logits.softmax(-1).mean(0)",
        "Your function changed its input",
    ),
    # --- kd_loss: the factor ---
    _loss("no T^2", "T^2 is missing in front of the KL", soft="kl"),
    _loss("T in place of T^2", "The factor in front of the KL is T: it is T^2", soft="T * kl"),
    _loss("divided by T^2", "You divide the KL by T^2", soft="kl / T ** 2"),
    _loss("T^2 on the whole", "T^2 stands in front of the hard part too", end="T**2 * (alpha * kl + (1 - alpha) * hard)"),
    # --- kd_loss: the KL ---
    _loss("reversed", "The KL is the wrong way round", kl="(q * (logq - p.log())).sum(-1).mean()"),
    _loss("arguments swapped", "F.kl_div takes log q FIRST", kl="F.kl_div(p.log(), q, reduction='batchmean')"),
    _loss("probabilities as input", "must be LOG-probabilities", kl="F.kl_div(q, p, reduction='batchmean')"),
    _loss("both as probabilities", "and the teachers first", kl="F.kl_div(p, q, reduction='batchmean')"),
    _loss("logits as input", "F.kl_div got the student's logits", logq="student_logits / T", kl="F.kl_div(logq, p, reduction='batchmean')"),
    _loss("log p as the target", "Is there the logarithm of a negative number?", kl="F.kl_div(logq, p.log(), reduction='batchmean')"),
    _loss("log_target with probabilities", "log_target=True says that", kl="F.kl_div(logq, p, reduction='batchmean', log_target=True)"),
    _loss("cross-entropy", "The gradient for the student is the same, but the value is larger", kl="-(p * logq).sum(-1).mean()"),
    _loss("cross-entropy by torch", "by the entropy of the targets", kl="F.cross_entropy(student_logits / T, p)"),
    _loss("negative", "The sign of the KL is the wrong way round", kl="(p * (logq - p.log())).sum(-1).mean()"),
    _loss("reduction left out", "The soft part is divided by B C", kl="F.kl_div(logq, p)"),
    _loss("mean of all entries", "divided by B C", kl="(p * (p.log() - logq)).mean()"),
    _loss("reduction sum", "The soft part is summed over the rows", kl="F.kl_div(logq, p, reduction='sum')"),
    _loss("reduction none", "sum over the C classes, then mean over the rows", kl="F.kl_div(logq, p, reduction='none')"),
    _loss("one loss a row", "This is one loss for each row", kl="(p * (p.log() - logq)).sum(-1)"),
    _loss("teachers summed", "are added up and not divided by M", p="(z / T).softmax(-1).sum(0)"),
    _loss("student not softened", "The student is not softened", logq="student_logits.log_softmax(-1)"),
    _loss("teachers not softened", "The teachers are not softened", p="z.softmax(-1).mean(0)"),
    _loss("nobody softened", "Nothing is softened", p="z.softmax(-1).mean(0)", logq="student_logits.log_softmax(-1)"),
    _loss("T multiplies the student's scores", "T multiplies the scores", logq="(student_logits * T).log_softmax(-1)"),
    _loss("T multiplies", "T multiplies the scores", p="(z * T).softmax(-1).mean(0)", logq="(student_logits * T).log_softmax(-1)"),
    _loss("averaged logits", "You averaged the teachers' logits", p="(z.mean(0) / T).softmax(-1)"),
    _loss("softened after averaging", "softened the mean afterwards", p="(z.softmax(-1).mean(0).log() / T).softmax(-1)"),
    _loss(
        "mean of the KLs",
        "You averaged the KLs of the teachers",
        kl="sum(F.kl_div(logq, (t / T).softmax(-1), reduction='batchmean') for t in z) / len(z)",
    ),
    _loss(
        "sum of the KLs",
        "You added up the KLs of the teachers",
        kl="sum(F.kl_div(logq, (t / T).softmax(-1), reduction='batchmean') for t in z)",
    ),
    _loss("MSE of logits", "This is a squared error", kl="F.mse_loss(student_logits, z.mean(0))"),
    _loss("MSE of probabilities", "This is a squared error", kl="F.mse_loss(q, p)"),
    _loss("hard teachers", "the teachers' best class only (argmax)", kl="F.cross_entropy(student_logits / T, p.argmax(-1))"),
    _loss("one teacher", "Only one of the teachers is used", p="(z[0] / T).softmax(-1)"),
    _loss("student's softmax over rows", "A softmax of the soft part runs over the rows", logq="(student_logits / T).log_softmax(0)"),
    _loss("softmax twice", "The softmax is taken twice somewhere", kl="F.kl_div(q.log_softmax(-1), p, reduction='batchmean')"),
    _loss(
        "all teachers at once, by broadcasting",
        "You averaged the KLs of the teachers, mean_m KL(p_m || q)",
        p="(z / T).softmax(-1)",
        kl="(p * (p.log() - logq)).sum(-1).mean()",
    ),
    # --- kd_loss: the hard part and the weights ---
    _loss("hard part at T", "The hard loss is taken at the temperature T", hard="F.cross_entropy(student_logits / T, labels)"),
    _loss("hard part of probabilities", "F.cross_entropy got probabilities", hard="F.cross_entropy(student_logits.softmax(-1), labels)"),
    _loss("nll of probabilities", "F.nll_loss takes LOG-probabilities", hard="F.nll_loss(student_logits.softmax(-1), labels)"),
    _loss("labels ignored", "The hard part does not use the labels", hard="F.cross_entropy(student_logits, z.mean(0).argmax(-1))"),
    _loss("labels ignored, by vote of probabilities", "does not use the labels", hard="F.cross_entropy(student_logits, p.argmax(-1))"),
    _loss("hard part summed", "The hard part is summed over the rows", hard="F.cross_entropy(student_logits, labels, reduction='sum')"),
    _loss("hard part of the teachers", "The hard part measures the teachers", hard="F.cross_entropy(z.mean(0), labels)"),
    _loss("hard part negative", "The sign of the hard part", hard="F.nll_loss(-student_logits.log_softmax(-1), labels)"),
    _loss("cross_entropy swapped", "the scores first and the labels second", hard="F.cross_entropy(labels, student_logits)"),
    _loss("alpha swapped", "alpha and 1 - alpha are swapped", end="(1 - alpha) * soft + alpha * hard"),
    _loss("alpha on the soft part only", "alpha weighs the soft part only", end="alpha * soft + hard"),
    _loss("alpha on the hard part only", "Only the hard part is weighted", end="soft + (1 - alpha) * hard"),
    _loss("no alpha", "alpha is ignored", end="soft + hard"),
    _loss("alpha on both", "alpha weighs both parts", end="alpha * soft + alpha * hard"),
    _loss("half and half", "Half and half, whatever alpha is", end="(soft + hard) / 2"),
    _loss("no hard part", "The hard part is missing", end="alpha * soft"),
    _loss("no soft part", "The soft part is missing", end="(1 - alpha) * hard"),
    # --- kd_loss: two at once, gradients, zeros, the unforeseen ---
    _loss("no T^2, swapped", "And: alpha and 1 - alpha are swapped", soft="kl", end="(1 - alpha) * soft + alpha * hard"),
    _loss("reversed without T^2", "T^2 is missing in front of the KL", soft="kl", kl="F.kl_div(p.log(), q, reduction='batchmean')"),
    _loss("teachers not detached", "a gradient flows into the teachers", z="teacher_logits"),
    _loss("student detached", "the soft part gives the student no gradient", logq="(student_logits.detach() / T).log_softmax(-1)"),
    _loss("hard part detached", "the hard part gives the student no gradient", hard="F.cross_entropy(student_logits.detach(), labels)"),
    _loss_body(
        "all under no_grad",
        "with torch.no_grad():\n"
        "    p = (teacher_logits / T).softmax(-1).mean(0)\n"
        "    kl = F.kl_div((student_logits / T).log_softmax(-1), p, reduction='batchmean')\n"
        "    return alpha * T**2 * kl + (1 - alpha) * F.cross_entropy(student_logits, labels)",
        "no gradient reaches the student",
    ),
    _loss(
        "exp of large scores",
        "one of the teachers is very sure here",
        p="((z / T).exp() / (z / T).exp().sum(-1, keepdim=True)).mean(0)",
    ),
    _loss("not foreseen", "Print your two parts and see which of them differs", kl="(p - q).abs().sum(-1).mean()"),
    # --- soft_gradient ---
    _gradient("sign", "T * (p - q) / B", "The sign is the wrong way round"),
    _gradient("no T", "(q - p) / B", "The factor T is missing"),
    _gradient("1 / T", "(q - p) / (T * B)", "This is the gradient of the KL alone"),
    _gradient("T^2", "T**2 * (q - p) / B", "The factor is T^2"),
    _gradient("no mean", "T * (q - p)", "1 / B is missing"),
    _gradient("mean of all entries", "T * (q - p) / (B * C)", "You divided by C as well"),
    _gradient("divided by the classes", "T * (q - p) / C", "You divided by the number of classes"),
    _gradient("divided twice", "T * (q - p) / B**2", "You divided by B twice"),
    _gradient("nothing but the difference", "q - p", "The factor T is missing"),
    _gradient("sign and no T", "(p - q) / B", "And: The factor T is missing"),
    _gradient("student at T = 1", "T * (z.softmax(-1) - p) / B", "The student's softmax is taken at T = 1"),
    _gradient("student at T = 1, no T", "(z.softmax(-1) - p) / B", "And: The factor T is missing"),
    _gradient("T multiplies", "T * ((z * T).softmax(-1) - p) / B", "T multiplies the student's scores"),
    _gradient("log-probabilities", "T * (q.log() - p) / B", "You took log-probabilities of the student"),
    _gradient("difference of logarithms", "T * (q.log() - p.log()) / B", "You took the difference of the logarithms"),
    _gradient("no softmax", "T * (z / T - p) / B", "The softmax of the student is missing"),
    _gradient("softmax over the rows", "T * ((z / T).softmax(0) - p) / B", "The softmax runs over the rows"),
    _gradient("hard targets", "T * (q - F.one_hot(p.argmax(-1), C)) / B", "The targets were made hard labels"),
    _gradient("softened again", "T * (q - (p / T).softmax(-1)) / B", "The targets are softened once more"),
    _gradient("no targets", "T * q / B", "The targets do not appear"),
    _gradient("with respect to q", "-p / q / B", "with respect to the student's PROBABILITIES"),
    _gradient("with the derivative of the softmax", "T * (q - p) * q * (1 - q) / B", "You multiplied by the softmax's derivative"),
    _gradient("squared", "T * (q - p) ** 2 / B", "You squared the difference"),
    _gradient("absolute", "T * (q - p).abs() / B", "You took the absolute value"),
    _gradient("the loss", "T**2 * F.kl_div(q.log(), p, reduction='batchmean')", "This is one number"),
    _gradient("sum over the classes", "(T * (q - p) / B).sum(-1)", "The gradient has shape (5,), expected (5, 7)"),
    _gradient("not foreseen", "T * (q.sqrt() - p.sqrt()) / B", "there the student has q ="),
    _gradient("not foreseen: a factor", "17 * (q - p) / B", "times that"),
    _autograd("autograd of the KL", "F.kl_div(logq, targets, reduction='batchmean')", "T^2 is missing"),
    _autograd("autograd, summed", "T**2 * F.kl_div(logq, targets, reduction='sum')", "1 / B is missing"),
    _autograd("autograd, reduction mean", "T**2 * F.kl_div(logq, targets)", "You divided by C as well"),
    _autograd(
        "autograd of the reversed KL",
        "T**2 * F.kl_div(targets.log(), logq.exp(), reduction='batchmean')",
        "This is the gradient of KL(softmax(z_s / T) || targets)",
    ),
    _autograd(
        "autograd's tuple",
        "T**2 * F.kl_div(logq, targets, reduction='batchmean')",
        "You return a tuple",
        end="torch.autograd.grad(loss, z)",
    ),
    _autograd(
        "backward forgotten",
        "T**2 * F.kl_div(logq, targets, reduction='batchmean')",
        "For autograd the logits must ask",
        end="z.grad",
    ),
    _function(
        "soft_gradient",
        "soft_gradient(student_logits, targets, T)",
        "autograd without requires_grad",
        "loss = T**2 * F.kl_div((student_logits / T).log_softmax(-1), targets, reduction='batchmean')\n"
        "return torch.autograd.grad(loss, student_logits)[0]",
        "For autograd the logits must ask for a gradient",
    ),
    # --- sequence_kd_data: without similarity ---
    _sequence("gold", "return list(zip(sources, references))", "The targets are the references: that is ordinary training"),
    _chosen("first candidate", "You take the first candidate", plain="cs[0]"),
    _chosen("last candidate", "You take the last candidate", plain="cs[-1]"),
    _chosen("lowest", "You take the LEAST probable candidate", plain=CHOICES.format("-c[1]")),
    _chosen("abs", "You take the LEAST probable candidate", plain=CHOICES.format("abs(c[1])")),
    _chosen("sorted upwards", "You take the LEAST probable candidate", plain="sorted(cs, key=lambda c: c[1])[0]"),
    _chosen("per word", "You divided the log-probability by the length", plain=CHOICES.format("c[1] / len(c[0].split())")),
    _chosen("longest", "You take the longest candidate", plain=CHOICES.format("len(c[0])")),
    _chosen("shortest", "You take the shortest candidate", plain=CHOICES.format("-len(c[0])")),
    _chosen("by the alphabet", "compare the TEXTS, by the alphabet", plain="max(cs)"),
    _chosen("second best", "This is the second best candidate", plain="sorted(cs, key=lambda c: c[1])[-2:][0]"),
    _chosen("at random", "You draw a candidate at random", plain="random.choice(cs)"),
    _chosen(
        "sampled by probability",
        "You draw a candidate at random",
        plain="random.choices(cs, weights=[math.exp(c[1]) for c in cs])[0]",
    ),
    _chosen("source as the target", "The source itself became the target", pair="(source, source)"),
    _chosen("swapped", "The pairs are the wrong way round", pair="(best[0], source)"),
    _chosen("whole candidate", "The target is a whole candidate", pair="(source, best)"),
    _chosen("log-probability", "stands where a text should be", pair="(source, best[1])"),
    _chosen("three in a pair", "Yours holds a tuple of three", pair="(source, *best)"),
    _chosen("targets alone", "The sources are missing", pair="best[0]"),
    _sequence(
        "every candidate",
        "return [(source, text) for source in sources for text, log_prob in beam_search(source)]",
        "You return every candidate as a pair",
    ),
    _sequence(
        "list of candidates",
        "return [(source, [c[0] for c in beam_search(source)]) for source in sources]",
        "The target must be ONE text, not a list of candidates",
    ),
    _sequence(
        "a dict",
        "return {source: max(beam_search(source), key=lambda c: c[1])[0] for source in sources}",
        "You return a dict, which keeps each source once",
    ),
    _sequence(
        "a generator",
        "return ((source, max(beam_search(source), key=lambda c: c[1])[0]) for source in sources)",
        "put list(...) around it",
    ),
    _sequence(
        "two lists",
        "targets = [max(beam_search(source), key=lambda c: c[1])[0] for source in sources]\nreturn list(sources), targets",
        "You return two lists",
    ),
    _sequence("whole list", "return list(zip(sources, beam_search(sources)))", "beam_search got the whole list"),
    _sequence(
        "search on the references",
        "return [(s, max(beam_search(r), key=lambda c: c[1])[0]) for s, r in zip(sources, references)]",
        "beam_search takes one of the sources",
    ),
    _sequence(
        "return in the loop",
        "pairs = []\nfor source in sources:\n    pairs.append((source, max(beam_search(source), key=lambda c: c[1])[0]))\n    return pairs",
        "is `return` inside the loop",
    ),
    _sequence(
        "a maximum from 0",
        "pairs = []\nfor source in sources:\n    best, found = 0, None\n    for text, log_prob in beam_search(source):\n"
        "        if log_prob > best:\n            best, found = log_prob, text\n    pairs.append((source, found))\nreturn pairs",
        "Does a running maximum start at 0?",
    ),
    _sequence(
        "added to the original data",
        "pairs = [(s, max(beam_search(s), key=lambda c: c[1])[0]) for s in sources]\nreturn pairs + list(zip(sources, references))",
        "You return the references as further pairs",
    ),
    _sequence(
        "a loop over the references",
        "pairs = []\nfor source, reference in zip(sources, references):\n    score = lambda c: c[1] if similarity is None else"
        " similarity(c[0], reference)\n    pairs.append((source, max(beam_search(source), key=score)[0]))\nreturn pairs",
        "references may be missing",
    ),
    _sequence(
        "similarity is called when it is None",
        "return [(s, max(beam_search(s), key=lambda c: similarity(c[0], r))[0]) for s, r in zip(sources, references)]",
        "similarity is None here, and you called it",
    ),
    _chosen("unpacked", "returns a list of pairs (translation, log_prob)", plain="beam_search(source)[0][2]"),
    # --- sequence_kd_data: with similarity ---
    _sequence(
        "similarity ignored",
        "return [(source, max(beam_search(source), key=lambda c: c[1])[0]) for source in sources]",
        "The similarity has no effect",
    ),
    _chosen("similarity to the source", "You compare the candidates with the SOURCE", similar=CHOICES.format("similarity(c[0], source)")),
    _chosen("least similar", "You take the LEAST similar candidate", similar="min(cs, key=lambda c: similarity(c[0], references[i]))"),
    _chosen("other order", "got its two texts in the other order", similar=CHOICES.format("similarity(references[i], c[0])")),
    _chosen("first reference", "with the reference of ANOTHER source", similar=CHOICES.format("similarity(c[0], references[0])")),
    _chosen("next reference", "with the reference of ANOTHER source", similar=CHOICES.format("similarity(c[0], references[i - 1])")),
    _chosen("reference by index", "sources.index(source)", similar=CHOICES.format("similarity(c[0], references[sources.index(source)])")),
    _chosen(
        "reference by dict",
        "finds the same place for a sentence that comes twice",
        similar=CHOICES.format("similarity(c[0], dict(zip(sources, references))[source])"),
    ),
    _chosen("any reference", "You compare with all references", similar=CHOICES.format("max(similarity(c[0], r) for r in references)")),
    _chosen(
        "minimum Bayes risk",
        "You compare the candidates with each other",
        similar=CHOICES.format("sum(similarity(c[0], d[0]) for d in cs)"),
    ),
    _chosen(
        "sum with the log-probability",
        "You combine similarity and log-probability",
        similar=CHOICES.format("similarity(c[0], references[i]) + c[1]"),
    ),
    _chosen("whole candidate compared", "similarity got a whole candidate", similar=CHOICES.format("similarity(c, references[i])")),
    _chosen("all references at once", "similarity compares two texts", similar=CHOICES.format("similarity(c[0], references)")),
    _chosen("gold with similarity", "The targets are the references", similar="(references[i], 0.0)"),
    _sequence(
        "doubles dropped",
        "found = {}\nfor i, s in enumerate(sources):\n    key = (lambda c: c[1]) if similarity is None else (lambda c:"
        " similarity(c[0], references[i]))\n    found[s] = max(beam_search(s), key=key)[0]\nreturn list(found.items())",
        "A sentence that comes twice has lost a pair",
    ),
    _sequence(
        "a similarity's maximum from 0",
        "pairs = []\nfor i, s in enumerate(sources):\n    best, found = 0 if similarity else -math.inf, None\n"
        "    for text, log_prob in beam_search(s):\n        score = similarity(text, references[i]) if similarity else log_prob\n"
        "        if score > best:\n            best, found = score, text\n    pairs.append((s, found))\nreturn pairs",
        "Does a running maximum start at 0?",
    ),
    _chosen("not foreseen", "its log-probability is the highest, -1.2", plain="sorted(cs, key=lambda c: c[1])[len(cs) // 2]"),
]
