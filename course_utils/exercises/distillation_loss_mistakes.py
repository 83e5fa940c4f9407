"""What known misconceptions about the distillation loss compute, each with the hint that names it.

The loss is weight * factor * soft + (1 - weight) * hard: a mistake is in one of these four parts, or in two of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, mse_loss, nll_loss, one_hot

Part = list[tuple[str, object]]

NO_T2 = (
    "T^2 is missing in front of the KL. The gradient of the soft part shrinks like 1/T^2, so that the labels would drown"
    " it at a large T: multiply by T**2."
)
T_ONCE = "The factor in front of the KL is T: it is T^2, for the gradient shrinks like 1/T^2."
DIVIDED = "You divide the KL by T^2: multiply by it. T^2 makes up for the gradient, which shrinks like 1/T^2."
REVERSED = (
    "The KL is the wrong way round: this is KL(q || p). KL(p || q) = sum p (log p - log q) asks the student to cover"
    " whatever the teachers hold possible. F.kl_div takes log q FIRST: F.kl_div(log_q, p, reduction='batchmean')."
)
PROBABILITIES = (
    "F.kl_div got the student's probabilities: its first argument, input, must be LOG-probabilities. Use"
    " (student_logits / T).log_softmax(dim=-1)."
)
BOTH_PLAIN = (
    "F.kl_div got both as probabilities, and the teachers first. It wants the student's LOG-probabilities first and the"
    " teachers' probabilities second."
)
LOGITS = "F.kl_div got the student's logits: its first argument must be log-probabilities, .log_softmax(dim=-1)."
LOG_TARGET = (
    "log_target=True says that the targets are logarithms, and they are probabilities: leave it out, or take their log."
)
CROSS_ENTROPY = (
    "This is the cross-entropy -sum p log q, in place of the KL. The gradient for the student is the same, but the value"
    " is larger by the entropy of the targets, so that a perfect student does not reach 0. Subtract the entropy: sum p"
    " (log p - log q)."
)
NEGATIVE = "The sign of the KL is the wrong way round: sum p (log p - log q) is never below 0."
BY_CLASSES = (
    "The soft part is divided by B C: reduction='mean' of F.kl_div (its default), or a .mean() of all entries. Sum over"
    " the classes, mean over the rows: reduction='batchmean'."
)
SUM = "The soft part is summed over the rows: take the mean over the B rows, reduction='batchmean'."
SUMMED_TEACHERS = (
    "The teachers' probabilities are added up and not divided by M: targets must sum to 1, use .mean(dim=0)."
)
STUDENT_AT_ONE = "The student is not softened: both sides of the KL are taken at the same T, softmax(z_s / T)."
TEACHERS_AT_ONE = "The teachers are not softened: both sides of the KL are taken at the same T, softmax(z_m / T)."
BOTH_AT_ONE = "Nothing is softened: inside the KL, both the student's and the teachers' scores are divided by T."
MULTIPLIED = "T multiplies the scores: it divides them, softmax(z / T), on both sides of the KL."
GEOMETRIC = (
    "You averaged the teachers' logits (a log-linear ensemble, the geometric mean): average their probabilities, each"
    " softened at T first."
)
AFTERWARDS = (
    "You averaged the teachers at T = 1 and softened the mean afterwards, p^(1/T): soften each teacher first, then"
    " average."
)
EACH_KL = (
    "You averaged the KLs of the teachers, mean_m KL(p_m || q). That lies above KL(mean p_m || q) by how much the"
    " teachers disagree (a constant, so the student's gradient is the same), and agreeing with the ensemble does not"
    " give 0. Average the probabilities first, then one KL."
)
SUM_OF_KLS = (
    "You added up the KLs of the teachers: average the probabilities first, .mean(dim=0), then take one KL. The loss"
    " must not grow with the number of teachers."
)
MSE = (
    "This is a squared error. Matching logits is what the loss comes near to at a very large T, but the exercise asks"
    " for the KL of softened probabilities."
)
ARGMAX = (
    "The soft part uses the teachers' best class only (argmax): then what they think of the other classes, the dark"
    " knowledge, is lost. Use the whole distribution p."
)
ONE_TEACHER = "Only one of the teachers is used: average all of them, .mean(dim=0)."
OVER_ROWS = "A softmax of the soft part runs over the rows: it runs over the classes, dim=-1."
TWICE = (
    "The softmax is taken twice somewhere in the soft part. Probabilities need no other softmax, and log_softmax wants"
    " the scores."
)
HARD_AT_T = "The hard loss is taken at the temperature T: the student is used at T = 1, so CE(labels, softmax(z_s))."
T2_ON_HARD = "T^2 stands in front of the hard part too: it belongs to the soft part alone, whose gradient shrinks."
LABELS_IGNORED = (
    "The hard part does not use the labels, but the teachers' best class: where they are wrong, the labels should say"
    " so. Use F.cross_entropy(student_logits, labels)."
)
HARD_SUM = "The hard part is summed over the rows: take the mean, which is the default of F.cross_entropy."
DOUBLE_SOFTMAX = (
    "F.cross_entropy got probabilities: it takes the softmax itself, so give it the scores, student_logits."
)
NLL = "F.nll_loss takes LOG-probabilities: use F.cross_entropy(student_logits, labels), which takes the scores."
HARD_SIGN = "The sign of the hard part is the wrong way round: it is -log q of the label, never below 0."
TEACHERS_HARD = "The hard part measures the teachers: it is the cross-entropy of the labels and the STUDENT."
SWAPPED = "alpha and 1 - alpha are swapped: alpha is the share of the teachers (soft), 1 - alpha that of the labels."
ONLY_SOFT = "alpha weighs the soft part only: the hard part has the weight 1 - alpha."
ONLY_HARD = "Only the hard part is weighted: the soft part has the weight alpha."
NO_ALPHA = "alpha is ignored: the soft part has the weight alpha, the hard part 1 - alpha."
BOTH_ALPHA = "alpha weighs both parts: the hard part has the weight 1 - alpha."
BOTH_REST = "1 - alpha weighs both parts: the soft part has the weight alpha."
HALVES = "Half and half, whatever alpha is: the soft part has the weight alpha, the hard part 1 - alpha."
NO_HARD = "The hard part is missing: add (1 - alpha) * F.cross_entropy(student_logits, labels)."
NO_SOFT = "The soft part is missing: add alpha * T**2 * KL(p_T || q_T)."


def losses(s: Tensor, z: Tensor, labels: Tensor, T: float, alpha: float) -> Iterator[tuple[str, float]]:
    """(hint, loss) of one mistake, then of two at once; s (B, C), z (M, B, C). Losses that are right are among them."""
    parts = {"factor": _factors(T), "weights": _weights(alpha)}
    for name, values in (("soft", soft(s, z, T)), ("hard", hard(s, z, labels, T))):
        parts[name] = [(hint, float(value)) for hint, value in values]
    right = {name: values[0] for name, values in parts.items()}

    def loss(*changed: tuple[str, tuple]) -> float:
        chosen = {**right, **dict(changed)}
        (_, factor), (_, k), (_, h), (_, (a, b)) = (chosen[name] for name in ("factor", "soft", "hard", "weights"))
        return a * factor * k + b * h

    for name, values in parts.items():
        for value in values[1:]:
            yield value[0], loss((name, value))
    for (one, firsts), (two, seconds) in combinations(parts.items(), 2):
        for first in firsts[1:]:
            for second in seconds[1:]:
                yield f"{first[0]} And: {second[0]}", loss((one, first), (two, second))


def _factors(T: float) -> Part:
    return [("", T**2), (NO_T2, 1.0), (T_ONCE, T), (DIVIDED, T**-2), (DIVIDED, 1 / T)]


def _weights(alpha: float) -> Part:
    """The weights of the soft and of the hard part."""
    return [
        ("", (alpha, 1 - alpha)),
        (SWAPPED, (1 - alpha, alpha)),
        (ONLY_SOFT, (alpha, 1.0)),
        (ONLY_HARD, (1.0, 1 - alpha)),
        (NO_ALPHA, (1.0, 1.0)),
        (BOTH_ALPHA, (alpha, alpha)),
        (BOTH_REST, (1 - alpha, 1 - alpha)),
        (HALVES, (0.5, 0.5)),
        (NO_HARD, (alpha, 0.0)),
        (NO_HARD, (1.0, 0.0)),
        (NO_SOFT, (0.0, 1 - alpha)),
        (NO_SOFT, (0.0, 1.0)),
    ]


def soft(s: Tensor, z: Tensor, T: float) -> Part:
    """What stands in the place of the KL."""
    p, q, logs = (z / T).softmax(-1).mean(0), (s / T).softmax(-1), (s / T).log_softmax(-1)
    plain = z.softmax(-1).mean(0)
    m, rows, classes = z.shape
    right = kl(p, logs)
    each = [kl(member, logs) for member in (z / T).softmax(-1)]
    best = one_hot(p.argmax(-1), classes).double()
    geometric = (z.mean(0) / T).softmax(-1)
    return [
        ("", right),
        (REVERSED, kl(q, p.log())),
        (PROBABILITIES, kl(p, q)),
        (PROBABILITIES, kl(p, s.softmax(-1))),
        (BOTH_PLAIN, kl(q, p)),
        (LOGITS, kl(p, s / T)),
        (LOGITS, kl(p, s)),
        (LOG_TARGET, kl_div(logs, p, reduction="batchmean", log_target=True)),
        (CROSS_ENTROPY, -(p * logs).sum(-1).mean()),
        (NEGATIVE, -right),
        (BY_CLASSES, right / classes),
        (f"{CROSS_ENTROPY} And: {BY_CLASSES}", -(p * logs).mean()),
        (SUM, right * rows),
        (f"{CROSS_ENTROPY} And: {SUM}", -(p * logs).sum()),
        (SUMMED_TEACHERS, kl(p * m, logs)),
        (STUDENT_AT_ONE, kl(p, s.log_softmax(-1))),
        (TEACHERS_AT_ONE, kl(plain, logs)),
        (BOTH_AT_ONE, kl(plain, s.log_softmax(-1))),
        (f"{CROSS_ENTROPY} And: {STUDENT_AT_ONE}", -(p * s.log_softmax(-1)).sum(-1).mean()),
        (f"{CROSS_ENTROPY} And: {BOTH_AT_ONE}", -(plain * s.log_softmax(-1)).sum(-1).mean()),
        (MULTIPLIED, kl((z * T).softmax(-1).mean(0), (s * T).log_softmax(-1))),
        (MULTIPLIED, kl(p, (s * T).log_softmax(-1))),
        (MULTIPLIED, kl((z * T).softmax(-1).mean(0), logs)),
        (GEOMETRIC, kl(geometric, logs)),
        (f"{CROSS_ENTROPY} And: {GEOMETRIC}", -(geometric * logs).sum(-1).mean()),
        (f"{REVERSED} And: {GEOMETRIC}", kl(q, geometric.log())),
        (AFTERWARDS, kl((plain.log() / T).softmax(-1), logs)),
        (AFTERWARDS, kl(plain ** (1 / T), logs)),
        (EACH_KL, sum(each) / m),
        (SUM_OF_KLS, sum(each)),
        *((MSE, value) for value in _squared(s, z, T, p, q)),
        (ARGMAX, kl(best, logs)),
        (ARGMAX, kl(best, s.log_softmax(-1))),
        (ONE_TEACHER, each[0]),
        (ONE_TEACHER, each[-1]),
        (OVER_ROWS, kl(p, (s / T).log_softmax(0))),
        (OVER_ROWS, kl((z / T).softmax(0).mean(0), logs)),
        (OVER_ROWS, kl((z / T).softmax(1).mean(0), logs)),
        (TWICE, kl(p.softmax(-1), logs)),
        (TWICE, kl((plain / T).softmax(-1), logs)),
        (TWICE, kl(p, q.log_softmax(-1))),
    ]


def _squared(s: Tensor, z: Tensor, T: float, p: Tensor, q: Tensor) -> list[Tensor]:
    classes, mean = s.shape[-1], z.mean(0)
    entries = [mse_loss(s, mean), mse_loss(s, mean) / T**2, mse_loss(q, p), mse_loss(s.expand_as(z), z)]
    return [*entries, *(value * classes for value in entries), *(value / 2 for value in entries)]


def hard(s: Tensor, z: Tensor, labels: Tensor, T: float) -> Part:
    """What stands in the place of the cross-entropy with the labels."""
    right, at_t, q = cross_entropy(s, labels), cross_entropy(s / T, labels), s.softmax(-1)
    teachers = z.softmax(-1).mean(0)
    best = z.mean(0).argmax(-1)
    return [
        ("", right),
        (HARD_AT_T, at_t),
        (T2_ON_HARD, T**2 * right),
        (f"{HARD_AT_T} And: {T2_ON_HARD}", T**2 * at_t),
        (LABELS_IGNORED, cross_entropy(s, teachers.argmax(-1))),
        (LABELS_IGNORED, cross_entropy(s, (z / T).softmax(-1).mean(0).argmax(-1))),
        (LABELS_IGNORED, cross_entropy(s, best)),
        (LABELS_IGNORED, cross_entropy(s, teachers)),
        (HARD_SUM, cross_entropy(s, labels, reduction="sum")),
        (DOUBLE_SOFTMAX, cross_entropy(q, labels)),
        (NLL, nll_loss(q, labels)),
        (NLL, nll_loss(s, labels)),
        (HARD_SIGN, -right),
        (TEACHERS_HARD, cross_entropy(z.mean(0), labels)),
        (TEACHERS_HARD, nll_loss(teachers.log(), labels)),
        ("The hard part is divided by T: leave T out of it.", right / T),
        ("T multiplies the scores of the hard part: leave T out of it.", cross_entropy(s * T, labels)),
    ]


def kl(p: Tensor, log_q: Tensor) -> Tensor:
    """sum p (log p - log_q), mean over the rows; 0 log 0 = 0."""
    return kl_div(log_q, p, reduction="batchmean")
