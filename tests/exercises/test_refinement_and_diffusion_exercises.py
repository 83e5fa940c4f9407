"""The checks of notebook 10 on answers that are right in another way, and on wrong ones that nobody foresaw."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from course_utils import diffusion
from course_utils.diffusion import discrete
from course_utils.exercises.engine import PASSED, alike, find, run_check
from course_utils.exercises.refinement_and_diffusion import chain
from course_utils.exercises.refinement_and_diffusion import ddpm_step as ddpm
from course_utils.exercises.refinement_and_diffusion import masked_loss as loss
from course_utils.exercises.refinement_and_diffusion import posterior as bayes
from course_utils.exercises.refinement_and_diffusion import q_sample as jump
from course_utils.refinement import remask

torch.set_num_threads(1)

ARGUMENTS = {
    "remask": "probabilities, t, T",
    "q_sample": "x0, t, T, mask, u",
    "cumulative": "Qs",
    "posterior": "x_t, x0, Q, Qbar_before",
    "masked_loss": "log_probs, x0, x_t, share, mask",
    "ddpm_step": "x_t, eps, t, betas, noise",
    "ddim_step": "x_t, eps, abar_t, abar_s, noise, eta",
    "unmask_most_confident": "tokens, drawn, confidence, n, mask",
}
NAMES = list(ARGUMENTS)

# --- right in another way --------------------------------------------------------------------------------------------


def remask_in_a_loop(probabilities, t, T):
    B, N = probabilities.shape
    out = torch.zeros(B, N, dtype=torch.bool)
    for row, p in zip(out, probabilities.tolist(), strict=True):
        for place in sorted(range(N), key=p.__getitem__)[: max(N * (T - t) // T, 1)]:
            row[place] = True
    return out


def remask_by_topk(probabilities, t, T):
    n = max(1, int(probabilities.shape[-1] * (T - t) / T))
    return torch.zeros_like(probabilities).scatter_(1, probabilities.topk(n, largest=False).indices, 1.0).bool()


def remask_last_of_equals(probabilities, t, T):
    return remask(probabilities.double().flip(1), t, T).flip(1)


def remask_by_rank(probabilities, t, T):
    n = max(1, math.floor(probabilities.shape[1] * (T - t) / T))
    return probabilities.argsort(dim=1).argsort(dim=1) < n


def sample_by_masked_fill(x0, t, T, mask, u):
    return x0.masked_fill(u < t / T, mask)


def sample_in_place_of_a_copy(x0, t, T, mask, u):
    x_t = x0.clone()
    x_t[u < t / T] = mask
    return x_t


def sample_by_products(x0, t, T, mask, u):
    lost = (u < t / T).long()
    return x0 * (1 - lost) + mask * lost


def sample_token_by_token(x0, t, T, mask, u):
    rows = zip(x0.tolist(), u.tolist(), strict=True)
    return torch.tensor([[mask if draw < t / T else token for token, draw in zip(*row, strict=True)] for row in rows])


def products_in_place_of_a_copy(Qs):
    out = Qs.clone()
    for t in range(1, len(Qs)):
        out[t] = out[t - 1] @ Qs[t]
    return out


def products_from_the_identity(Qs):
    P, out = torch.eye(Qs.shape[-1], dtype=Qs.dtype), []
    for Q in Qs:
        P = P @ Q
        out += [P]
    return torch.stack(out, dim=0)


def products_by_accumulate(Qs):
    return torch.stack(list(itertools.accumulate(Qs.double(), torch.matmul)))


def products_each_anew(Qs):
    steps = range(1, len(Qs) + 1)
    return torch.from_numpy(np.stack([np.linalg.multi_dot(Qs[:t].numpy()) if t > 1 else Qs[0].numpy() for t in steps]))


def products_of_transposes(Qs):
    out = [Qs[0].T]
    for Q in Qs[1:]:
        out.append(Q.T @ out[-1])
    return torch.stack(out).mT


def posterior_one_hot(x_t, x0, Q, Qbar_before):
    K = len(Q)
    p = (F.one_hot(x_t, K).to(Q) @ Q.T) * (F.one_hot(x0, K).to(Q) @ Qbar_before)
    return p / p.sum(1, keepdim=True)


def posterior_divided_by_the_marginal(x_t, x0, Q, Qbar_before):
    return Q[:, x_t].T * Qbar_before[x0] / (Qbar_before @ Q)[x0, x_t, None]


def posterior_by_logarithms(x_t, x0, Q, Qbar_before):
    return (Q.T[x_t].log() + Qbar_before[x0].log()).softmax(dim=-1)


def posterior_in_loops(x_t, x0, Q, Qbar_before):
    rows = []
    for end, start in zip(x_t.tolist(), x0.tolist(), strict=True):
        joint = torch.stack([Qbar_before[start, j] * Q[j, end] for j in range(len(Q))])
        rows.append(joint / joint.sum())
    return torch.stack(rows)


def posterior_in_doubles(x_t, x0, Q, Qbar_before):
    p = torch.einsum("jb,bj->bj", Q.double()[:, x_t], Qbar_before.double()[x0])
    return F.normalize(p, p=1, dim=1)


def loss_by_index(log_probs, x0, x_t, share, mask):
    masked = x_t == mask
    nats = -log_probs[masked].gather(1, x0[masked][:, None])[:, 0]
    return (nats / share[:, None].expand(x0.shape)[masked]).sum() / x0.numel()


def loss_by_cross_entropy(log_probs, x0, x_t, share, mask):
    y = x0.masked_fill(x_t != mask, -100)
    nats = F.nll_loss(log_probs.transpose(1, 2), y, reduction="none", ignore_index=-100)
    return (nats.sum(dim=1) / share).mean() / x0.shape[1]


def loss_text_by_text(log_probs, x0, x_t, share, mask):
    total = log_probs.new_zeros(())
    for b in range(len(x0)):
        for n in range(x0.shape[1]):
            if x_t[b, n] == mask:
                total = total - log_probs[b, n, x0[b, n]] / share[b]
    return total / len(x0) / x0.shape[1]


def loss_in_doubles(log_probs, x0, x_t, share, mask):
    nats = -log_probs.double().take_along_dim(x0.unsqueeze(-1), -1).squeeze(-1)
    return nats.masked_fill(x_t != mask, 0).div(share.view(-1, 1)).mean()


def step_with_alphas(x_t, eps, t, betas, noise):
    alphas = 1.0 - betas
    bars = torch.cumprod(alphas, dim=0)
    mean = 1 / alphas[t - 1].sqrt() * (x_t - (1 - alphas[t - 1]) / (1 - bars[t - 1]).sqrt() * eps)
    z = noise if t > 1 else torch.zeros_like(noise)
    return mean + betas[t - 1].sqrt() * z


def step_in_plain_numbers(x_t, eps, t, betas, noise):
    b = betas.tolist()
    bar = math.prod(1 - beta for beta in b[:t])
    mean = (x_t.double() - b[t - 1] / math.sqrt(1 - bar) * eps) / math.sqrt(1 - b[t - 1])
    return mean if t <= 1 else mean + math.sqrt(b[t - 1]) * noise


def step_through_x0(x_t, eps, t, betas, noise):
    """The posterior's mean at the x_0 that eps stands for."""
    beta, bar, before = betas[t - 1], (1 - betas[:t]).prod(), (1 - betas[: t - 1]).prod()
    x0 = (x_t - (1 - bar).sqrt() * eps) / bar.sqrt()
    mean = (before.sqrt() * beta * x0 + (1 - beta).sqrt() * (1 - before) * x_t) / (1 - bar)
    return mean + (t > 1) * beta.sqrt() * noise


def step_of_the_library(x_t, eps, t, betas, noise):
    return diffusion.ddpm_step(x_t, eps, t, diffusion.schedule_of(betas), noise)


def jump_of_the_library(x_t, eps, abar_t, abar_s, noise, eta):
    """A schedule of two steps whose alphas_bar are the two; a jump to the data starts from a schedule of one."""
    betas = [1 - abar_t] if abar_s == 1 else [1 - abar_s, 1 - abar_t / abar_s]
    return diffusion.ddim_step(x_t, eps, len(betas), len(betas) - 1, diffusion.schedule_of(betas), noise, eta)


def jump_in_factors(x_t, eps, abar_t, abar_s, noise, eta):
    ratio = abar_t / abar_s
    variance = max(eta * eta * (1 - abar_s) * (1 - ratio) / (1 - abar_t), 0)
    of_x = 1 / math.sqrt(ratio)
    of_eps = math.sqrt(max(1 - abar_s - variance, 0)) - math.sqrt((1 - abar_t) / ratio)
    return of_x * x_t + of_eps * eps + math.sqrt(variance) * noise


def unmask_in_a_loop(tokens, drawn, confidence, n, mask):
    out = tokens.clone()
    for row, new, sure in zip(out, drawn, confidence, strict=True):
        places = [i for i in range(len(row)) if row[i] == mask]
        for i in sorted(places, key=lambda i: -sure[i].item())[:n]:
            row[i] = new[i]
    return out


def unmask_by_topk(tokens, drawn, confidence, n, mask):
    masked = tokens == mask
    places = confidence.masked_fill(~masked, -math.inf).topk(min(n, tokens.shape[1]), dim=1).indices
    chosen = torch.zeros_like(masked).scatter(1, places, True) & masked
    return torch.where(chosen, drawn, tokens)


RIGHT = [
    ("ddim_step", jump_of_the_library),
    ("ddim_step", jump_in_factors),
    ("unmask_most_confident", unmask_in_a_loop),
    ("unmask_most_confident", unmask_by_topk),
    ("remask", remask_in_a_loop),
    ("remask", remask_by_topk),
    ("remask", remask_last_of_equals),
    ("remask", remask_by_rank),
    ("q_sample", sample_by_masked_fill),
    ("q_sample", sample_in_place_of_a_copy),
    ("q_sample", sample_by_products),
    ("q_sample", sample_token_by_token),
    ("cumulative", products_in_place_of_a_copy),
    ("cumulative", products_from_the_identity),
    ("cumulative", products_by_accumulate),
    ("cumulative", products_each_anew),
    ("cumulative", products_of_transposes),
    ("posterior", posterior_one_hot),
    ("posterior", posterior_divided_by_the_marginal),
    ("posterior", posterior_by_logarithms),
    ("posterior", posterior_in_loops),
    ("posterior", posterior_in_doubles),
    ("masked_loss", loss_by_index),
    ("masked_loss", loss_by_cross_entropy),
    ("masked_loss", loss_text_by_text),
    ("masked_loss", loss_in_doubles),
    ("ddpm_step", step_with_alphas),
    ("ddpm_step", step_in_plain_numbers),
    ("ddpm_step", step_of_the_library),
    ("ddpm_step", step_through_x0),
]


@pytest.mark.parametrize("name, answer", RIGHT, ids=lambda value: getattr(value, "__name__", value))
def test_another_right_answer_passes(name, answer):
    report = run_check(f"refinement_and_diffusion.{name}", answer)
    assert report.status == PASSED, report.text


@pytest.mark.parametrize("name", NAMES)
def test_the_code_of_the_last_hint_passes(name):
    *before, value = find(f"refinement_and_diffusion.{name}").hints[-1].split("; ")
    space = {"torch": torch}
    exec("\n    ".join([f"def answer({ARGUMENTS[name]}):", *before, f"return {value}"]), space)  # noqa: S102
    report = run_check(f"refinement_and_diffusion.{name}", space["answer"])
    assert report.status == PASSED, report.text


# --- the references are those of the papers and of the library -------------------------------------------------------


def test_the_posterior_is_bayes_rule_on_all_paths_of_a_chain():
    """Every path x_0, ..., x_3 of a chain of three tokens, with its probability, one after the other."""
    Qs = chain(3, 3, seed=5).double()
    paths = torch.zeros(3, 3, 3, 3, dtype=torch.float64)
    for a, b, c, d in itertools.product(range(3), repeat=4):
        paths[a, b, c, d] = Qs[0, a, b] * Qs[1, b, c] * Qs[2, c, d]
    for x_t, x0 in itertools.product(range(3), repeat=2):
        right = paths[x0, :, :, x_t].sum(0) / paths[x0, :, :, x_t].sum()
        got = bayes.posterior(torch.tensor([x_t]), torch.tensor([x0]), Qs[2], Qs[0] @ Qs[1])
        assert got[0].tolist() == pytest.approx(right.tolist(), abs=1e-12)


def test_posterior_and_products_are_those_of_the_library():
    x_t, x0, Q, before = bayes.inputs(6, 4, 2, seed=9)
    assert alike(
        bayes.posterior(x_t, x0, Q, before), discrete.matrix_posterior(x_t, F.one_hot(x0, 4).float(), Q, before)
    )
    assert find("refinement_and_diffusion.cumulative").reference is discrete.cumulative
    assert find("refinement_and_diffusion.remask").reference is remask


def test_one_jump_has_the_law_of_the_single_steps():
    """20,000 tokens, step by step with beta_t = 1 / (T - t + 1), and in one jump: the shares agree within 4 standard
    errors."""
    T, n, generator = 5, 20_000, torch.Generator().manual_seed(3)
    x = torch.zeros(1, n, dtype=torch.long)
    for t in range(1, T + 1):
        hit = torch.rand(1, n, generator=generator) < 1 / (T - t + 1)
        x = x.masked_fill(hit, 9)
        once = jump.q_sample(torch.zeros_like(x), t, T, 9, torch.rand(1, n, generator=generator))
        error = math.sqrt(t / T * (1 - t / T) / n)
        assert all(abs((tokens == 9).double().mean().item() - t / T) <= 4 * error for tokens in (x, once))


def test_the_loss_is_the_librarys_for_log_probabilities():
    L, x0, x_t, share, mask = loss.inputs(4, 6, 5, seed=11)
    assert alike(loss.masked_loss(L, x0, x_t, share, mask), discrete.masked_loss(L, x0, x_t, share, mask))


def test_the_step_is_the_librarys():
    for t in (1, 3, 6):
        case = ddpm.inputs(4, 2, t=t, betas=ddpm.STEEP, seed=t)
        assert alike(ddpm.ddpm_step(*case), step_of_the_library(*case))
    x, eps, _, betas, noise = ddpm.inputs(4, 2, t=1, betas=ddpm.STEEP, seed=9)
    assert torch.equal(ddpm.ddpm_step(x, eps, 1, betas, noise), ddpm.ddpm_step(x, eps, 1, betas, 2 * noise))


@pytest.mark.parametrize("name", NAMES)
def test_a_result_that_differs_each_time_is_told_so(name):
    reference = find(f"refinement_and_diffusion.{name}").reference

    def answer(*args):
        right = reference(*args)
        return (
            torch.rand(right.shape).argsort(-1) < 1
            if right.dtype == torch.bool
            else right + torch.randint(0, 1000, right.shape)
        )

    text = run_check(f"refinement_and_diffusion.{name}", answer).text
    assert "you draw random numbers of your own" in text, text


def test_the_factors_of_an_unknown_step_are_shown():
    def answer(x_t, eps, t, betas, noise):
        return 2 * x_t - 0.5 * eps + 0.25 * noise

    assert (
        "Yours is 2 x_t - 0.5 eps + 0.25 noise, it should be"
        in run_check("refinement_and_diffusion.ddpm_step", answer).text
    )
