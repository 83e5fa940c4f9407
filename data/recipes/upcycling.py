"""Rebuild data/upcycled.parquet and data/models/branch-train-mix: six specialists become one mixture.

    python data/recipes/upcycling.py router btx upcycled dense --seeds 0 1 2    # two to five minutes a run
    python data/recipes/upcycling.py dense-long    # twelve minutes; each run goes on where it was cut off
    python data/recipes/upcycling.py table         # then: data/upcycled.parquet and the router of seed 0

The specialists (data/models/web, kjv, movies, nyt, amazon, tweets) or six copies of their base are mixed by
`moe.mix_specialists`, top-2; then each run trains for the same 150 steps of 16 windows, 400 of each domain:

    router             only the routers are trained
    btx                everything is trained, with the balance loss of Fedus et al. (2022): Branch-Train-MiX
    upcycled           the same from six copies of base's feed-forward layers: sparse upcycling
    dense              base, as it is, on the same windows
    dense-long         base on these windows and on those of all six specialists (862 steps): 1,012 steps

The seed draws the routers and the windows. The rate of 1.5e-3 is the specialists' own; that of the routers alone was
the best of three (3e-3, 1e-2, 3e-2) on validation texts, with seed 0. Beside the runs the table has what needs no
training: base, soup (the mean of the six), specialist (that of the text's domain), untrained (the mixture with its
first, random router), by-domain (a gate of 1 for the domain's expert), equal-gates (1/6 for each of all six experts),
and ensemble (the mean of the six models' probabilities).
"""

import argparse
import copy
import dataclasses
import functools
import json
import math
import os
import sys
import time
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
from language_models import (  # noqa: E402
    BATCH,
    DATA,
    DOMAINS,
    RUNS,
    SCRATCH,
    WINDOW,
    load_tokenizer,
    publish,
    resume,
    set_rate,
    texts,
    train_step,
    windows,
)
from mixtures import Router  # noqa: E402

from course_utils import models, moe  # noqa: E402
from course_utils.evidence import sample  # noqa: E402
from course_utils.merging.averaging import average  # noqa: E402

TOP_K, STEPS, WARMUP, BALANCE, RATE = 2, 150, 10, 0.01, 1.5e-3
TRAINED = {  # name -> (what it starts from, weight of the balance loss, peak learning rate)
    "router": ("specialists", 0.0, 3e-2),
    "btx": ("specialists", BALANCE, RATE),
    "upcycled": ("copies of base", BALANCE, RATE),
    "dense": ("base", 0.0, RATE),
    "dense-long": ("base", 0.0, RATE),
}
COLUMNS = {name: "Int16" for name in ("seed", "text", "tokens", "step", "layer", "expert")} | {"choices": "Int32"}


def build(name: str, seed: int) -> torch.nn.Module:
    start, _, _ = TRAINED[name]
    torch.manual_seed(seed)
    if start == "base":
        return copy.deepcopy(models.load("base").model).requires_grad_()
    members = [models.load(domain if start == "specialists" else "base").model for domain in DOMAINS]
    mixture = moe.mix_specialists(members, TOP_K).requires_grad_(name != "router")
    for layer in mixture.model.layers:
        layer.mlp.gate.requires_grad_()
    return mixture


@functools.cache
def shared_windows(seed: int) -> torch.Tensor:
    """STEPS BATCH windows, as many of each domain, in random order: (2400, 129)."""
    tokenizer, generator = load_tokenizer(), torch.Generator().manual_seed(seed)
    parts = [windows([domain], tokenizer, 1, seed) for domain in DOMAINS]
    each = STEPS * BATCH // len(DOMAINS)
    drawn = torch.cat([part[torch.randperm(len(part), generator=generator)[:each]] for part in parts])
    return drawn[torch.randperm(len(drawn), generator=generator)]


@functools.cache
def specialists_windows() -> torch.Tensor:
    """What the six were trained on, as `language_models.train` draws it."""
    tokenizer, parts = load_tokenizer(), []
    for domain in DOMAINS:
        _, _, seed, passes, _, most_steps = RUNS[domain]
        data = windows([domain], tokenizer, passes, seed)
        order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
        parts.append(data[order[: min(most_steps, len(data) // BATCH) * BATCH]])
    return torch.cat(parts)


def heldout(split: str, count: int) -> list[tuple[str, int, list[int]]]:
    """(domain, number of the text, token ids), `count` texts of each domain drawn from the split."""
    tokenizer = load_tokenizer()
    found = []
    for domain in DOMAINS:
        for number, text in enumerate(sample(texts(domain, split), count)):
            found.append((domain, number, tokenizer(text, add_special_tokens=False)["input_ids"][:255]))
    return found


def scores(model: torch.nn.Module, held: list) -> list[torch.Tensor]:
    """log P of each token of each text."""
    lm = dataclasses.replace(models.load("base"), model=model)
    return [log_probs for _, log_probs in lm.batch_token_log_probs([ids for _, _, ids in held])]


def losses(network: torch.nn.Module, held: list, **facts: str | int) -> list[dict]:
    return rows_of(scores(network, held), held, **facts)


def rows_of(found: list[torch.Tensor], held: list, **facts: str | int) -> list[dict]:
    return [
        facts | {"domain": domain, "text": number, "nats": -log_probs.sum().item(), "tokens": len(ids)}
        for log_probs, (domain, number, ids) in zip(found, held, strict=True)
    ]


def loads(model: torch.nn.Module, held: list, **facts: str | int) -> list[dict]:
    """How many choices of each domain's tokens fell on each expert of each layer; nothing for a dense model."""
    router, found = Router(model), []
    for domain in DOMAINS:
        counts = torch.zeros(len(model.model.layers), len(DOMAINS), dtype=torch.long)
        for one in (one for one in held if one[0] == domain):
            scores(model, [one])
            for layer, logits in enumerate(router.take()):
                chosen = logits[1:].topk(TOP_K, dim=-1).indices.flatten()  # without the context token
                counts[layer] += torch.bincount(chosen, minlength=len(DOMAINS))
        for layer, row in enumerate(counts.tolist() if counts.any() else []):
            found += [facts | {"domain": domain, "layer": layer, "expert": i, "choices": n} for i, n in enumerate(row)]
    return found


def mean_loss(rows: list[dict], step: int) -> float:
    """Nats a token at a step, domains count alike."""
    each = pd.DataFrame(rows).query("step == @step").groupby("domain")[["nats", "tokens"]].sum()
    return (each.nats / each.tokens).mean()


def train(name: str, seed: int, rate: float | None) -> None:
    run = f"upcycling-{name}-seed-{seed}" + (f"-rate-{rate}" if rate else "")
    if (SCRATCH / f"{run}.report.json").exists():
        return
    _, balance, chosen = TRAINED[name]
    peak = rate or chosen
    data = shared_windows(seed)
    if name == "dense-long":
        data = torch.cat([specialists_windows(), data])
        data = data[torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))]
    steps = len(data) // BATCH
    model, validation = build(name, seed), heldout("validation", 20)
    router = Router(model)
    free = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(free, lr=peak, betas=(0.9, 0.95), weight_decay=0.1)
    first, seconds = resume(run, model, optimizer)
    curve_file = SCRATCH / f"{run}.curve.json"
    curve = json.loads(curve_file.read_text(encoding="utf-8")) if first else []
    curve = [row for row in curve if row["step"] < first]
    started = time.perf_counter() - seconds
    for step in range(first, steps):
        if step % math.ceil(steps / 6) == 0:
            curve += losses(model, validation, step=step)
            curve_file.write_text(json.dumps(curve), encoding="utf-8")
        set_rate(optimizer, step, steps, WARMUP, peak)
        ids = data[step * BATCH : (step + 1) * BATCH]
        router.take()
        loss = cross_entropy(model(input_ids=ids[:, :-1]).logits.flatten(0, 1), ids[:, 1:].flatten())
        if balance:
            loss = loss + sum(moe.switch_balance_loss(logits, TOP_K, balance) for logits in router.take())
        train_step(run, model, optimizer, loss, step, steps, started)
    curve += losses(model, validation, step=steps)
    minutes = round((time.perf_counter() - started) / 60, 1)
    print(run, minutes, "minutes, validation", round(mean_loss(curve, steps), 4), flush=True)
    test = heldout("test", 100)
    report = {"steps": steps, "tokens": steps * BATCH * WINDOW, "minutes": minutes, "peak_learning_rate": peak}
    report |= {"balance": balance, "curve": curve, "test": losses(model, test), "load": loads(model, test)}
    if name == "router":
        report["untrained"] = losses(build(name, seed), test)
    (SCRATCH / f"{run}.report.json").write_text(json.dumps(report), encoding="utf-8")


def gates_given(gates: torch.Tensor) -> torch.nn.Module:
    """The mixture of the six specialists with the same gates (6,) for every token."""
    mixture = moe.mix_specialists([models.load(domain).model for domain in DOMAINS], len(DOMAINS))
    for layer in mixture.model.layers:  # softmax(log gates) = gates, 0 where a gate is 0
        layer.mlp.gate.register_forward_hook(lambda module, inputs, output: gates.log().expand_as(output))
    return mixture


def untrained_rows(held: list) -> list[dict]:
    """What needs no training, on the test texts."""
    six = [models.load(domain).model for domain in DOMAINS]
    soup = copy.deepcopy(six[0])
    soup.load_state_dict(average([model.state_dict() for model in six]))
    equal = gates_given(torch.full((len(six),), 1 / len(six)))
    found = losses(models.load("base").model, held, model="base")
    found += losses(soup, held, model="soup") + losses(equal, held, model="equal-gates")
    for number, domain in enumerate(DOMAINS):
        own = [one for one in held if one[0] == domain]
        found += losses(six[number], own, model="specialist")
        found += losses(gates_given(torch.eye(len(six))[number]), own, model="by-domain")
    each = zip(*(scores(model, held) for model in six), strict=True)
    together = [torch.stack(log_probs).logsumexp(0) - math.log(len(six)) for log_probs in each]
    return found + rows_of(together, held, model="ensemble")


def table() -> None:
    """data/upcycled.parquet. kind: test (domain, text, nats, tokens), curve (the same for validation texts, step), load
    (domain, layer, expert, choices). And data/models/branch-train-mix: the routers of the run `router`, seed 0."""
    reports = {}
    for path in sorted(SCRATCH.glob("upcycling-*-seed-?.report.json")):
        name, seed = path.name.removeprefix("upcycling-").removesuffix(".report.json").split("-seed-")
        reports[name, int(seed)] = json.loads(path.read_text(encoding="utf-8"))
    rows = [{"kind": "test", "seed": 0, **row} for row in untrained_rows(heldout("test", 100))]
    for (name, seed), report in reports.items():
        for kind in ("test", "curve", "load"):
            rows += [{"kind": kind, "model": name, "seed": seed, **row} for row in report[kind]]
        rows += [{"kind": "test", "model": "untrained", "seed": seed, **row} for row in report.get("untrained", [])]
    frame = pd.DataFrame(rows).astype(COLUMNS | {"nats": "float32"})
    frame.to_parquet(SCRATCH / "upcycled.parquet", index=False, compression="zstd")
    (SCRATCH / "upcycled.parquet").replace(DATA / "upcycled.parquet")
    save_router(reports)
    tested = frame[frame.kind == "test"].groupby(["model", "seed", "domain"])[["nats", "tokens"]].sum()
    print((tested.nats / tested.tokens.astype(float)).unstack().assign(mean=lambda each: each.mean(axis=1)).round(3))


def save_router(reports: dict) -> None:
    weights = torch.load(SCRATCH / "upcycling-router-seed-0.pt", weights_only=True)["model"]
    partial = SCRATCH / "branch-train-mix.partial"
    partial.mkdir(exist_ok=True)
    save_file(
        {name: w for name, w in weights.items() if name.endswith("mlp.gate.weight")}, partial / "router.safetensors"
    )
    tried = sorted(SCRATCH.glob("upcycling-router-seed-0*.report.json"))
    found = [json.loads(path.read_text(encoding="utf-8")) for path in tried]
    facts = {key: value for key, value in reports["router", 0].items() if not isinstance(value, list)}
    facts |= {
        "what": "routers of a mixture of the six specialists, one for each layer, top-2 of 6",
        "parents": DOMAINS,
        "seed": 0,
        "licence": "MIT (text: public domain verses, MIT snippets)",
        "validation_loss_by_rate": {
            str(each["peak_learning_rate"]): round(mean_loss(each["curve"], each["steps"]), 4) for each in found
        },
        "minutes_of_all_runs": {f"{name}, seed {seed}": each["minutes"] for (name, seed), each in reports.items()},
    }
    publish(partial, "branch-train-mix", facts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="+", choices=["table", *TRAINED])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--rate", type=float, help="another peak learning rate, for the choice of one")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    os.environ["MANY_MODELS_THREADS"] = str(options.threads)
    for seed in options.seeds:
        for what in options.what:
            if what == "table":
                table()
            else:
                train(what, seed, options.rate)
