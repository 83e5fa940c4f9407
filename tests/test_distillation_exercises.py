"""The checks of notebook 05 on answers that are right in another way, and on wrong ones that nobody foresaw."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from wrong_answers.distillation import WRONG as WRONG_ANSWERS

from course_utils.distillation import ensemble_targets, kd_loss, soft_target_loss
from course_utils.exercises import distillation_gradient as gradient
from course_utils.exercises import distillation_loss as loss
from course_utils.exercises import distillation_loss_mistakes as loss_mistakes
from course_utils.exercises import distillation_sequence as sequence
from course_utils.exercises import distillation_sequence_mistakes as sequence_mistakes
from course_utils.exercises import distillation_targets as targets
from course_utils.exercises.engine import PASSED, WRONG, Mistake, find, run_check
from course_utils.exercises.engine.calls import guard
from course_utils.exercises.engine.quizzes import QUIZZES

# --- right in another way --------------------------------------------------------------------------------------------


def targets_by_einsum(teacher_logits, T):
    with torch.no_grad():
        p = torch.softmax(teacher_logits.double() / T, dim=-1)
        return torch.einsum("mbc,m->bc", p, torch.full((len(p),), 1 / len(p), dtype=torch.float64))


def targets_in_a_loop(teacher_logits, T):
    total = torch.zeros_like(teacher_logits[0])
    for z in teacher_logits.detach():
        total += F.softmax(z / T, dim=1)
    return total / teacher_logits.shape[0]


def targets_by_logsumexp(teacher_logits, T):
    log_p = (teacher_logits.detach() / T).log_softmax(-1)
    return (log_p.logsumexp(0) - math.log(len(log_p))).exp()


def targets_of_log_probs(teacher_logits, T):
    """The log-probabilities at T = 1 are scores as good as the logits."""
    return (teacher_logits.log_softmax(-1) / T).softmax(-1).mean(0).data


def targets_by_hand(teacher_logits, T):
    z = teacher_logits.detach() / T
    weights = (z - z.amax(-1, keepdim=True)).exp()
    return (weights / weights.sum(-1, keepdim=True)).sum(0) / len(z)


def loss_with_xlogy(student_logits, teacher_logits, labels, T, alpha):
    p = (teacher_logits.detach() / T).softmax(-1).mean(0)
    log_q = (student_logits / T).log_softmax(-1)
    soft = (torch.xlogy(p, p) - p * log_q).sum(-1).mean()
    hard = -student_logits.log_softmax(-1)[torch.arange(len(labels)), labels].mean()
    return alpha * T * T * soft + (1 - alpha) * hard


def loss_with_log_target(student_logits, teacher_logits, labels, T, alpha):
    log_members = (teacher_logits.detach() / T).log_softmax(-1)
    log_p = torch.logsumexp(log_members, dim=0) - math.log(len(log_members))
    log_q = F.log_softmax(student_logits / T, dim=1)
    soft = F.kl_div(log_q, log_p, reduction="sum", log_target=True) / len(labels)
    return T**2 * alpha * soft + (1 - alpha) * F.cross_entropy(student_logits, labels)


def loss_by_hand(student_logits, teacher_logits, labels, T, alpha):
    p = F.softmax(teacher_logits.detach() / T, -1).mean(0)
    q = F.softmax(student_logits / T, -1)
    onehot = F.one_hot(labels, student_logits.shape[1])
    hard = -(onehot * F.softmax(student_logits, -1).log()).sum(1).mean()
    return alpha * T**2 * (p * (p / q).log()).sum(1).mean() + (1 - alpha) * hard


def loss_as_cross_entropy_less_entropy(student_logits, teacher_logits, labels, T, alpha):
    p = ensemble_targets(teacher_logits.double(), T)
    entropy = torch.special.entr(p).sum(-1).mean()
    soft = F.cross_entropy(student_logits.double() / T, p) - entropy
    return T**2 * alpha * soft + (1 - alpha) * F.nll_loss(student_logits.double().log_softmax(-1), labels)


def loss_row_by_row(student_logits, teacher_logits, labels, T, alpha):
    total = 0.0
    for b, label in enumerate(labels.tolist()):
        p = torch.stack([(z[b] / T).softmax(-1) for z in teacher_logits.detach()]).mean(0)
        q = (student_logits[b] / T).softmax(-1)
        soft = sum(x * (x / y).log() for x, y in zip(p, q) if x > 0)
        total = total + alpha * T**2 * soft - (1 - alpha) * student_logits[b].log_softmax(-1)[label]
    return (total / len(labels)).reshape(1)


def loss_as_a_number(student_logits, teacher_logits, labels, T, alpha):
    return kd_loss(student_logits, teacher_logits, labels, T, alpha).item()


def gradient_by_autograd(student_logits, targets, T):
    z = student_logits.detach().clone().requires_grad_()
    loss = T**2 * F.kl_div((z / T).log_softmax(-1), targets, reduction="batchmean")
    loss.backward()
    return z.grad


def gradient_by_autograd_of_the_cross_entropy(student_logits, targets, T):
    student_logits.requires_grad_()
    return torch.autograd.grad(T**2 * F.cross_entropy(student_logits / T, targets), student_logits)[0]


def gradient_by_func(student_logits, targets, T):
    return torch.func.grad(lambda z: soft_target_loss(z, targets, T))(student_logits)


def gradient_in_double(student_logits, targets, T):
    q = torch.exp((student_logits.double() / T).log_softmax(-1))
    return (q - targets).mul(T / targets.size(0))


def gradient_in_a_loop(student_logits, targets, T):
    rows = [T / len(targets) * ((z / T).softmax(0) - p) for z, p in zip(student_logits, targets)]
    return torch.stack(rows)


def data_in_one_line(beam_search, sources, references=None, similarity=None):
    if similarity is None:
        return [(s, max(beam_search(s), key=lambda c: c[1])[0]) for s in sources]
    chosen = [max(beam_search(s), key=lambda c: similarity(c[0], r))[0] for s, r in zip(sources, references)]
    return list(zip(sources, chosen))


def data_with_a_running_maximum(beam_search, sources, references=None, similarity=None):
    pairs = []
    for source, reference in zip(sources, references or [None] * len(sources)):
        best, found = -math.inf, None
        for text, log_prob in beam_search(source):
            score = similarity(text, reference) if similarity else log_prob
            if score > best:
                best, found = score, text
        pairs.append([source, found])
    return tuple(pairs)


def data_sorted(beam_search, sources, references=None, similarity=None):
    pairs = []
    for i, source in reversed(list(enumerate(sources))):  # the order of training pairs does not matter
        candidates = beam_search(source)
        if similarity is None:
            candidates.sort(key=lambda c: math.exp(c[1]))
        else:
            candidates.sort(key=lambda c: similarity(candidate=c[0], reference=references[i]))
        pairs.append((source, candidates[-1][0]))
    return pairs


RIGHT = [
    ("ensemble_targets", targets_by_einsum),
    ("ensemble_targets", targets_in_a_loop),
    ("ensemble_targets", targets_by_logsumexp),
    ("ensemble_targets", targets_of_log_probs),
    ("ensemble_targets", targets_by_hand),
    ("kd_loss", loss_by_hand),
    ("kd_loss", loss_with_xlogy),
    ("kd_loss", loss_with_log_target),
    ("kd_loss", loss_as_cross_entropy_less_entropy),
    ("kd_loss", loss_row_by_row),
    ("kd_loss", loss_as_a_number),
    ("soft_gradient", gradient_by_autograd),
    ("soft_gradient", gradient_by_autograd_of_the_cross_entropy),
    ("soft_gradient", gradient_by_func),
    ("soft_gradient", gradient_in_double),
    ("soft_gradient", gradient_in_a_loop),
    ("sequence_kd_data", data_in_one_line),
    ("sequence_kd_data", data_with_a_running_maximum),
    ("sequence_kd_data", data_sorted),
]


@pytest.mark.parametrize("name, answer", RIGHT, ids=lambda value: getattr(value, "__name__", value))
def test_another_right_answer_passes(name, answer):
    report = run_check(f"distillation.{name}", answer)
    assert report.status == PASSED, report.text


@pytest.mark.parametrize("T", [0.5, 1.0, 4.0])
def test_the_gradient_is_that_of_autograd(T):
    z, p = targets.scores(4, 6, seed=1).double(), gradient.made_at(T, 4, 6, seed=2).double()
    z.requires_grad_()
    by_torch = torch.autograd.grad(soft_target_loss(z, p, T), z)[0]
    torch.testing.assert_close(gradient.soft_gradient(z.detach(), p, T), by_torch)
    assert gradient.soft_gradient(z, p, T).sum(-1).abs().max() < 1e-6


def test_a_very_hot_gradient_matches_logits():
    z, v = (targets.scores(4, 6, seed=seed).double() for seed in (3, 4))
    z, v = z - z.mean(-1, keepdim=True), v - v.mean(-1, keepdim=True)
    found = gradient.soft_gradient(z, (v / 1e4).softmax(-1), 1e4)
    torch.testing.assert_close(found, (z - v) / (4 * 6), atol=1e-4, rtol=1e-3)


# --- every known mistake is told by its own hint ---------------------------------------------------------------------


def complaint(test, answer) -> str:
    with pytest.raises(Mistake) as said:
        test(guard(answer))
    return str(said.value)


def known_targets():
    return targets.mistakes(targets.scores(3, 4, 6, seed=502), 2.5)


@pytest.mark.parametrize("place", range(len(known_targets())))
def test_every_wrong_target_is_recognised(place):
    hint = known_targets()[place][0]

    def answer(z, T):
        return targets.mistakes(z.double(), T)[place][1].float()

    assert complaint(targets.targets_random, answer).startswith(hint)


@pytest.mark.parametrize("place", range(len(known_targets())))
def test_a_square_case_rejects_them_too(place):
    with pytest.raises(Mistake):
        targets.targets_square(guard(lambda z, T: targets.mistakes(z.double(), T)[place][1].float()))


S, Z, LABELS = loss.task(3, 5, 7, seed=508)  # those of the first test of the loss
T, ALPHA = 4.0, 0.7
KNOWN = [hint for hint, _ in loss_mistakes.losses(S, Z, LABELS, T, ALPHA)]
PARTS = [loss_mistakes._factors(T), loss_mistakes._weights(ALPHA)]
PARTS += [loss_mistakes.soft(S, Z, T), loss_mistakes.hard(S, Z, LABELS, T)]
SINGLES = sum(len(part) - 1 for part in PARTS)


def wrong_loss(place):
    def answer(student_logits, teacher_logits, labels, T, alpha):
        inputs = student_logits.double(), teacher_logits.double(), labels
        return list(loss_mistakes.losses(*inputs, T, alpha))[place][1]

    return answer


@pytest.mark.parametrize("place", range(SINGLES))
def test_every_wrong_loss_is_recognised(place):
    assert complaint(loss.loss_random, wrong_loss(place)).startswith(f"{KNOWN[place]} (Yours is")


@pytest.mark.parametrize("place", range(SINGLES, len(KNOWN), 53))
def test_two_mistakes_at_once_are_recognised(place):
    """Both are told, or the one that makes the other invisible (what is left out cannot be wrong)."""
    said = complaint(loss.loss_random, wrong_loss(place))
    assert "Print your two parts" not in said and any(said.startswith(hint) for hint in KNOWN)


def test_no_two_wrong_losses_are_equal():
    values = list(loss_mistakes.losses(S.double(), Z.double(), LABELS, T, ALPHA))[:SINGLES]
    right = kd_loss(S.double(), Z.double(), LABELS, T, ALPHA).item()
    for place, (hint, value) in enumerate(values):
        assert not math.isclose(value, right, rel_tol=1e-3), hint
        for other, also in values[:place]:
            assert hint == other or not math.isclose(value, also, rel_tol=1e-3), (hint, other)


def known_directions():
    return gradient.directions(targets.scores(5, 7, seed=521), gradient.made_at(3.0, 5, 7, seed=522), 3.0)


@pytest.mark.parametrize("place", range(len(known_directions())))
@pytest.mark.parametrize("scale", [1.0, -1.0, 3 / 5])
def test_every_wrong_gradient_is_recognised_at_any_scale(place, scale):
    hint = known_directions()[place][0]

    def answer(z, p, T):
        return scale * gradient.directions(z, p, T)[place][1]

    assert complaint(gradient.gradient_random, answer).startswith(hint)


@pytest.mark.parametrize("powers", gradient.FACTORS)
@pytest.mark.parametrize("sign", [1, -1])
def test_every_wrong_factor_is_named(powers, sign):
    def answer(z, p, T):
        t, b, c = powers
        return sign * T**t * len(z) ** b * z.shape[-1] ** c * gradient.soft_gradient(z, p, T)

    said = complaint(gradient.gradient_random, answer)
    assert gradient.FACTORS[powers] in said and (gradient.SIGN in said) == (sign < 0)


SETTINGS = [(None, None), (sequence.REFERENCES, None)]
SETTINGS += [(sequence.REFERENCES, sequence.overlap), (sequence.REFERENCES, sequence.minus_error_rate)]
ONLY_TWICE = {sequence_mistakes.INDEX, sequence_mistakes.DROPPED, sequence_mistakes.ANY_REFERENCE}


@pytest.mark.parametrize("references, formula", SETTINGS)
def test_no_two_misconceptions_choose_the_same(references, formula):
    sources = list(sequence.BEAMS)
    right = sequence.sequence_kd_data(sequence.BEAMS.__getitem__, sources, references, formula)
    seen = {tuple(sorted(right)): "right"}
    for hint, pairs in sequence_mistakes.variants(sequence.BEAMS, sources, references, formula):
        if hint not in ONLY_TWICE:
            assert seen.setdefault(tuple(sorted(pairs)), hint) == hint


def variant(place):
    """An answer that makes the mistake number `place`."""

    def answer(beam_search, sources, references=None, similarity=None):
        formula = similarity.formula if similarity else None
        return list(sequence_mistakes.variants(sequence.BEAMS, sources, references, formula))[place][1]

    return answer


def known_choices(formula):
    return list(sequence_mistakes.variants(sequence.BEAMS, list(sequence.BEAMS), sequence.REFERENCES, formula))


@pytest.mark.parametrize("place", range(len(known_choices(None))))
def test_every_wrong_choice_is_recognised(place):
    hint = known_choices(None)[place][0]
    test = sequence.sequence_twice if hint in ONLY_TWICE else sequence.sequence_highest
    assert complaint(test, variant(place)) == hint


@pytest.mark.parametrize("place", range(len(known_choices(sequence.overlap))))
def test_every_wrong_choice_by_similarity_is_recognised(place):
    hint = known_choices(sequence.overlap)[place][0]

    def answer(beam_search, sources, references=None, similarity=None):
        make = variant(place) if similarity else data_in_one_line
        return make(beam_search, sources, references, similarity)

    test = sequence.sequence_twice if hint in ONLY_TWICE else sequence.sequence_similar
    assert complaint(test, answer) == hint


# --- wrong in a way that nobody foresaw ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "test, answer, says",
    [
        (targets.targets_random, lambda z, T: ensemble_targets(z, T) ** 1.3, "Your result is"),
        (targets.targets_random, lambda z, T: ensemble_targets(z, T).numpy(), "Stay in torch"),
        (targets.targets_random, lambda z, T: ensemble_targets(z, T).T, "should be (B, C)"),
        (targets.targets_random, lambda z, T: ensemble_targets(z, T) / 0, "Your result"),
        (targets.targets_random, lambda z, T: (z / T).softmax(-1) @ z, "The shapes do not line up"),
        (targets.targets_detached, lambda z, T: torch.tensor((z / T).softmax(-1).mean(0).numpy()), "Stay in torch"),
        (loss.loss_random, lambda *a: kd_loss(*a) + 0.01, "the soft part, T^2 KL(p_T || q_T), is"),
        (loss.loss_random, lambda *a: kd_loss(*a) * 0 + math.inf, "The loss is inf"),
        (loss.loss_random, lambda *a: (kd_loss(*a), 0), "the loss should be a number"),
        (loss.loss_random, lambda *a: kd_loss(*a).expand(3), "one loss for each teacher"),
        (loss.loss_ends, lambda *a: kd_loss(*a) + (a[4] == 1.0) * (len(a[1]) == 1), "The student agrees with the"),
        (loss.loss_gradient, lambda *a: kd_loss(*a) + a[0].sum() - a[0].sum().item(), "the gradient of the loss"),
        (loss.loss_gradient, lambda *a: 2 * kd_loss(*a) - kd_loss(*a).detach(), "the gradient of the loss"),
        (loss.loss_gradient, lambda *a: kd_loss(*a).detach(), "no gradient reaches the student"),
        (gradient.gradient_random, lambda z, p, T: z, "there the student has q ="),
        (gradient.gradient_random, lambda z, p, T: (z / T).softmax(-1).log().T, "The gradient has shape (7, 5)"),
        (gradient.gradient_random, lambda z, p, T: z / 0 - z / 0, "holds nan"),
        (gradient.gradient_perfect, lambda z, p, T: 0 * z + 1, "The student is perfect here"),
        (gradient.gradient_hot, lambda z, p, T: z * 0, "The gradient is 0 at index"),
        (sequence.sequence_highest, lambda b, s, r=None, f=None: [], "The list is empty"),
        (sequence.sequence_highest, lambda b, s, r=None, f=None: "texts", "you return a str"),
        (sequence.sequence_highest, lambda b, s, r=None, f=None: [(x, "no") for x in s], "which is no candidate"),
        (sequence.sequence_highest, lambda b, s, r=None, f=None: [(x, b) for x in s], "One of your texts is a"),
        (sequence.sequence_highest, lambda b, s, r=None, f=None: [(x, "no") for x in s][1:], "3 pairs for 4 sources"),
        (sequence.sequence_highest, lambda b, s, r=None, f=None: set(zip(s, r)), "You return a set"),
        (sequence.sequence_highest, lambda b, s, r=None, f=None: [(x[::-1], x) for x in s], "Pair 0 begins with"),
        (sequence.sequence_similar, lambda b, s, r=None, f=None: f(s[0], 3), "It got a int"),
    ],
)
def test_unknown_answers_are_told_where_they_differ(test, answer, says):
    said = complaint(test, answer)
    assert says.lower() in said.lower(), said


def test_a_mistake_is_named_only_if_it_explains_a_second_task():
    """The right loss times a factor that makes it, on these inputs alone, the loss without T^2."""
    values = list(loss_mistakes.losses(S.double(), Z.double(), LABELS, T, ALPHA))
    factor = values[0][1] / kd_loss(S, Z, LABELS, T, ALPHA).item()
    said = complaint(loss.loss_random, lambda *inputs: factor * kd_loss(*inputs))
    assert loss_mistakes.NO_T2 not in said and "Print your two parts" in said


def test_another_error_is_handed_on():
    def answer(*inputs):
        raise KeyError("not today")

    for name in ("ensemble_targets", "kd_loss", "soft_gradient", "sequence_kd_data"):
        report = run_check(f"distillation.{name}", answer)
        assert report.status == WRONG and "not today" in report.text


# --- the references, the hints, the quiz -----------------------------------------------------------------------------


def test_the_similarities_are_not_symmetric():
    for formula in (sequence.overlap, sequence.minus_error_rate):
        assert formula("el gato", "el gato duerme") != formula("el gato duerme", "el gato")
    assert sequence.overlap("el gato", "el gato") == 1 and sequence.minus_error_rate("gato", "pato") == -0.25


def test_the_last_hint_of_each_exercise_is_nearly_the_code():
    parts = {"ensemble_targets": ".mean(dim=0)", "kd_loss": "T**2", "soft_gradient": "softmax", "sequence_kd_data": "max("}
    for name, part in parts.items():
        hints = find(f"distillation.{name}").hints
        assert len(hints) == 3 and part in hints[-1] and part not in hints[0]


def test_every_exercise_has_many_wrong_answers_and_they_are_all_different():
    codes = Counter((wrong.exercise, wrong.code) for wrong in WRONG_ANSWERS)
    assert max(codes.values()) == 1
    assert min(Counter(wrong.exercise for wrong in WRONG_ANSWERS).values()) >= 20


def test_the_quiz_has_five_questions_of_four_answers():
    assert [len(question["answers"]) for question in QUIZZES["distillation.quiz"]] == [4] * 5
