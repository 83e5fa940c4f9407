"""Rebuild data/weights_or_logits.parquet: the two LoRA experts of notebook 02, added to the weights or to the logits.

    python data/recipes/weights_or_logits.py      # about twenty minutes; goes on where it was cut off

Rows: two continuations of 24 tokens for each of 40 neutral prompts and each setting. `method`: "weights" samples from
theta + lam (tau_positive - tau_negative), "logits" from softmax(log P + lam (log P_positive - log P_negative)),
"random" from theta + lam times a random direction with the length of that difference in every tensor (the control),
"core" is lam = 0. `nucleus`: top_p = 0.9 of the "own" distribution, or of the "core", as DExperts filters.
"""

import argparse
import copy
import time

import pandas as pd
import torch
from language_models import DATA, SCRATCH
from sentiment_adapters import NEUTRAL, TOP_P

from course_utils.ensembling import negative_evidence
from course_utils.ensembling.decoding import AdapterEnsemble, CachedLM, Ensemble, generate
from course_utils.shelf.models import LanguageModel, load, load_with_adapters

# Of four tokens as well, so that all forty run in one batch without padding.
MORE = [
    "The last chapter of",
    "A man walks into",
    "The show on Friday",
    "My brother and his",
    "The song at the",
    "An old woman in",
    "The voice of the",
    "It was late when",
    "The children in the",
    "Two friends meet at",
    "The play we saw",
    "This book is about",
    "The final scene of",
    "Her new novel is",
    "Our teacher said that",
    "The dinner at the",
    "The game we played",
    "I opened the letter",
    "The ending of the",
    "The series is set",
]
LAMBDAS = (-4.0, -3.0, -2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 3.0, 4.0)
FEWER = (-4.0, -2.0, 2.0, 4.0)  # of the control and of the other filter
SAMPLES, NEW_TOKENS = 2, 24
State = dict[str, torch.Tensor]


def difference(lm: LanguageModel) -> State:
    """tau_positive - tau_negative of every weight that the adapters change: name in SmolLM2 -> tensor."""
    found = {}
    for name, module in lm.model.named_modules():
        if hasattr(module, "get_delta_weight"):
            delta = module.get_delta_weight("positive") - module.get_delta_weight("negative")
            found[name.removeprefix("base_model.model.") + ".weight"] = delta
    return found


def random_direction(tau: State, seed: int = 0) -> State:
    """A random tensor for each, with the same norm."""
    generator, found = torch.Generator().manual_seed(seed), {}
    for name, tensor in tau.items():
        noise = torch.randn(tensor.shape, generator=generator)
        found[name] = noise * (tensor.norm() / noise.norm())
    return found


def moved(core: torch.nn.Module, tau: State, lam: float) -> torch.nn.Module:
    """The model with the parameters theta + lam tau; all other weights are the core's own."""
    model = copy.deepcopy(core, {id(weight): weight for weight in core.parameters()})
    for name, delta in tau.items():
        weight = core.get_parameter(name)
        owner, last = name.rsplit(".", 1)
        setattr(model.get_submodule(owner), last, torch.nn.Parameter(weight + lam * delta, requires_grad=False))
    return model


def writer(method: str, nucleus: str, lam: float, core: LanguageModel, both: LanguageModel, tau: State) -> Ensemble:
    """Who says the next token: what it gives for one setting, before the nucleus of its own is taken."""
    kept = TOP_P if nucleus == "core" else None
    if method == "logits":
        adapters = ["__base__", "positive", "negative"]
        return AdapterEnsemble(both.model, adapters, lambda log_probs: negative_evidence(*log_probs, lam, kept))
    directions = {"core": {}, "weights": tau, "random": random_direction(tau)}
    model = CachedLM(moved(core.model, directions[method], lam))
    if nucleus == "own":
        return Ensemble([model], lambda log_probs: log_probs[0])

    def inside(log_probs: torch.Tensor) -> torch.Tensor:
        outside = negative_evidence(log_probs[0], None, None, 0.0, TOP_P).isneginf()
        return log_probs[1].masked_fill(outside, -torch.inf).log_softmax(-1)

    return Ensemble([CachedLM(core.model), model], inside)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    core, both = load("smollm2"), load_with_adapters("lora-positive", "lora-negative")
    tau = difference(both)
    prompts = [prompt for prompt in NEUTRAL + MORE for _ in range(SAMPLES)]
    ids = torch.stack([torch.cat([torch.tensor([core.context_id]), core.encode(prompt)]) for prompt in prompts])
    settings = [("core", "own", 0.0)]
    settings += [(method, "own", lam) for method in ("weights", "logits") for lam in LAMBDAS]
    settings += [("random", "own", lam) for lam in FEWER]
    settings += [(method, "core", lam) for method in ("weights", "logits") for lam in FEWER]
    SCRATCH.mkdir(exist_ok=True)
    frames = []
    for method, nucleus, lam in settings:
        part = SCRATCH / f"weights_or_logits-{method}-{nucleus}-{lam:g}.parquet"
        if not part.exists():
            started = time.perf_counter()
            members = writer(method, nucleus, lam, core, both, tau)
            own = TOP_P if nucleus == "own" else None
            drawn = torch.Generator().manual_seed(0)
            out = generate(members, ids, NEW_TOKENS, "sample", top_p=own, generator=drawn)
            rows = {"method": method, "nucleus": nucleus, "lam": lam, "prompt": prompts}
            rows["text"] = [core.tokenizer.decode(row[ids.shape[1] :]) for row in out]
            pd.DataFrame(rows).to_parquet(part.with_suffix(".partial"), index=False)
            part.with_suffix(".partial").replace(part)
            print(method, nucleus, lam, f"{time.perf_counter() - started:.0f} s", flush=True)
        frames.append(pd.read_parquet(part))
    partial = DATA / "weights_or_logits.parquet.partial"
    pd.concat(frames).to_parquet(partial, index=False, compression="zstd")
    partial.replace(DATA / "weights_or_logits.parquet")


if __name__ == "__main__":
    main()
