"""Every place where a model of the course computes: `PLACES`, name -> a function; what comes out is on the CPU.

`tests/shelf/test_device.py` runs each with a pretended device, `tests/bench/gpu.py` with a real one. A search returns
the log-probabilities of what it found, which stay about the same where another token is chosen between equals.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from course_utils import merging, moe
from course_utils.diffusion import discrete
from course_utils.ensembling import linear_interpolation, negative_evidence
from course_utils.ensembling.decoding import AdapterEnsemble, CachedLM, Ensemble, generate
from course_utils.ensembling.speculative import CachedRows, speculate
from course_utils.pipelines import load_translator
from course_utils.shelf import classifiers, denoisers, device, models
from course_utils.shelf.chat import local_chat
from course_utils.shelf.polarity import hidden_means

TEXTS = ["In the beginning God created the heaven and the earth.", "And God said, Let there be light"]
PLACES: dict[str, Callable[[], Tensor]] = {}


def place(function: Callable[[], Tensor]) -> Callable[[], Tensor]:
    PLACES[function.__name__] = function
    return function


def forget() -> None:
    """Load every model anew when it is wanted next."""
    for loader in (models._load, classifiers.load_ingredients, denoisers.load_denoiser, load_translator):
        loader.cache_clear()


def prompt(lm: models.LanguageModel, text: str = TEXTS[0]) -> Tensor:
    """The ids of a text behind the context token, (1, T)."""
    return torch.cat([torch.tensor([lm.context_id]), lm.encode(text)])[None]


def scores(lm: models.LanguageModel, ids: Tensor) -> Tensor:
    return torch.cat([row for _, row in lm.batch_token_log_probs(list(ids[:, 1:]))])


def mean_of(log_probs: Tensor) -> Tensor:
    return linear_interpolation(log_probs, [1 / len(log_probs)] * len(log_probs))


@place
def log_probs_of_texts() -> Tensor:
    lm = models.load("base")
    rows = [row for _, row in lm.batch_log_probs(TEXTS)]
    return torch.cat([*rows, lm.log_probs(TEXTS[0])[1], lm.next_log_probs(TEXTS[1])[None]])


@place
def a_mixture_of_experts() -> Tensor:
    return models.load("moe").log_probs(TEXTS[0])[1]


@place
def our_layer_in_a_mixture_of_experts() -> Tensor:
    """As notebook 07 puts it in the place of transformers'."""
    lm = models.load("moe")
    lm = dataclasses.replace(lm, model=copy.deepcopy(lm.model))
    for layer in lm.model.model.layers:
        ours = moe.MixtureOfExperts(d_model=128, d_ff=128, n_experts=8, top_k=2)
        ours.load_state_dict(layer.mlp.state_dict())
        layer.mlp = ours.requires_grad_(False).to(lm.model.device)
    return lm.log_probs(TEXTS[0])[1]


@place
def a_layer_of_experts_with_gradients() -> Tensor:
    torch.manual_seed(0)
    layer, x = (
        moe.MixtureOfExperts(16, 24, 4, 2).to(device.device()),
        torch.randn(5, 16).to(device.device()).requires_grad_(),
    )
    y = layer(x)
    y.square().sum().backward()
    return torch.cat([part.detach().cpu().flatten() for part in (y, x.grad, *(p.grad for p in layer.parameters()))])


@place
def a_cache_that_is_reordered() -> Tensor:
    lm = models.load("base")
    step, ids = CachedLM(lm.model), prompt(lm)
    found = [step(ids[:, :4].expand(3, 4))]
    step.reorder(torch.tensor([2, 0]))
    found.append(step(ids[:, :6].expand(2, 6)))
    assert step.fed == 6
    return torch.cat(found)


@place
def beam_search_of_an_ensemble() -> Tensor:
    base, other = models.load("base"), models.load("kjv")

    def even(ids: Tensor) -> Tensor:
        return torch.zeros(len(ids), base.vocab_size).log_softmax(-1)

    members = Ensemble([CachedLM(base.model), CachedLM(other.model), even], mean_of)
    return scores(base, generate(members, prompt(base), 6, "beam", num_beams=3, eos_token_id=1))


@place
def adapters_in_one_pass() -> Tensor:
    lm = models.load_with_adapters("lora-positive", "lora-negative")
    names, ids, seen = ["__base__", "positive", "negative"], prompt(lm), []
    ensemble = AdapterEnsemble(lm.model, names, lambda lp: seen.append(lp) or negative_evidence(*lp, 2.0, 0.9))
    generate(ensemble, ids, 3, "sample", generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        logits = lm.model(input_ids=ids.repeat(3, 1), adapter_names=names).logits[:, -1]
    return torch.cat([seen[0].flatten(0, 1), logits.log_softmax(-1)])


@place
def a_model_called_by_itself() -> Tensor:
    lm = models.load("base")
    ids = prompt(lm)
    out = lm.model(ids, output_hidden_states=True, use_cache=False)
    theirs = lm.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=4, do_sample=False)
    return torch.cat([out.logits.flatten(), torch.cat(out.hidden_states).flatten(), scores(lm, theirs)])


@place
def a_copy_that_learns() -> Tensor:
    lm = models.load("base")
    model, ids = copy.deepcopy(lm.model).requires_grad_(), prompt(lm)
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())  # no longer the embeddings
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=0.1), []
    for _ in range(2):
        loss = torch.nn.functional.cross_entropy(model(input_ids=ids[:, :-1]).logits.flatten(0, 1), ids[0, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    assert losses[1] < losses[0]
    return torch.stack(losses)


@place
def an_average_of_two_models() -> Tensor:
    """Averaged on the CPU from their state dicts, and read by a copy of one of them."""
    lm = models.load("base")
    states = [models.load(name).model.state_dict() for name in ("base", "kjv")]
    lm = dataclasses.replace(lm, model=copy.deepcopy(lm.model))
    averaged = merging.average(states)
    assert all(tensor.device.type == "cpu" for state in (*states, averaged) for tensor in state.values())
    lm.model.load_state_dict(averaged)
    return torch.cat([lm.log_probs(TEXTS[0])[1].flatten(), averaged["model.norm.weight"]])


@place
def classifiers_of_a_soup() -> Tensor:
    kitchen = classifiers.load_ingredients()
    rows = kitchen.encode(TEXTS)
    student = copy.deepcopy(kitchen.model).requires_grad_()
    student.load_state_dict(kitchen.start)
    logits = classifiers.logits_of(student, rows)
    logits.logsumexp(-1).sum().backward()
    return torch.cat([kitchen.logits(kitchen.states[0], rows), logits.detach(), student.score.weight.grad.cpu()[:, :2]])


@place
def hidden_states_as_features() -> Tensor:
    return torch.from_numpy(hidden_means(models.load("smollm2"), TEXTS))


@place
def denoisers_and_an_editor() -> Tensor:
    ids, found = denoisers.encode("in the beginning")[None], []
    for name in ("uniform", "absorbing"):
        found.append(denoisers.load_denoiser(name)(ids, torch.tensor([0.3]))[..., : denoisers.K])
    found.append(denoisers.left_to_right_log_probs(denoisers.load_denoiser("left-to-right"), ids))
    tags, characters = denoisers.edit_log_probs(denoisers.load_denoiser("edits"), ids)
    denoisers.edit_step(denoisers.load_denoiser("edits"), "in the beginnign")
    return torch.cat([part.exp().flatten() for part in (*found, tags, characters)])


@place
def diffusion_step_by_step() -> Tensor:
    network, mask = denoisers.load_denoiser("absorbing"), denoisers.MASK
    process = discrete.absorbing_process(discrete.even_schedule(20), denoisers.K + 1, mask)
    drawn = torch.Generator().manual_seed(0)
    texts = discrete.sample(lambda x, t: network(x, t / 20), (2, 16), process, 4, drawn)
    return network(texts, torch.full((2,), 0.2)).flatten()


@place
def translations() -> Tensor:
    nmt = load_translator("nmt-0")
    targets = ["En el principio creó Dios", "Y dijo Dios: Sea la luz"]
    step = nmt.next_log_probs(TEXTS)
    start = torch.stack([ids[:3] for ids in nmt.target_ids(targets)])
    found = [step(start[:, :2])]
    step.reorder(torch.tensor([1, 0]))
    found.append(step(start[[1, 0]]))
    written = nmt.translate(TEXTS, [load_translator("nmt-0")], mean_of, strategy="beam", num_beams=2)
    others = [*nmt.log_probs(TEXTS, targets).exp().flatten(0, 1), *torch.cat(found)]
    return torch.cat([torch.cat(nmt.token_log_probs(TEXTS, targets)), *others, *nmt.token_log_probs(TEXTS, written)])


@place
def speculation() -> Tensor:
    base, draft = models.load("base"), models.load("kjv")
    rows, ids = CachedRows(base.model), prompt(base)[0]
    found = [rows(ids[:6], 3), rows(torch.cat([ids[:4], ids[6:8]]), 2)]
    written = speculate(CachedRows(base.model), CachedRows(draft.model), ids, 6, gamma=2, temperature=0).ids
    return torch.cat([*found, scores(base, written[None])[:, None].expand(-1, base.vocab_size)])


@place
def a_chat() -> Tensor:
    lm = models.load("smollm2")
    return scores(lm, prompt(lm, local_chat(lm, max_new_tokens=4)("Hi") or "."))
