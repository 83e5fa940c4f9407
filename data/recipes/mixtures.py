"""Rebuild data/models/moe and data/mixtures.parquet: one small language model with and without a mixture of experts.

    python data/recipes/mixtures.py dense-active moe dense-total moe-unbalanced    # 17 to 25 minutes each, one thread
    python data/recipes/mixtures.py table    # then: data/models/moe and data/mixtures.parquet

Four models on the same windows in the same order, seed 0 (add `--seed 1` for another run, which only enters the table,
beside the runs that it already holds):

    dense-active      feed-forward layers as wide as the two experts that a token uses: equal active parameters
    moe               eight experts, two for each token, with the balance loss of Fedus et al. (2022)
    moe-unbalanced    the same without that loss
    dense-total       feed-forward layers as wide as all eight experts together: equal total parameters

A run that is cut off goes on from its last checkpoint (data/.training). `moe` is saved as transformers' Mixtral.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import pandas as pd
import torch
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
from language_models import (  # noqa: E402
    BATCH,
    DATA,
    DOMAINS,
    PAD,
    SCRATCH,
    VOCAB,
    WINDOW,
    descend,
    load_tokenizer,
    pad,
    resume,
    save,
    save_checkpoint,
    set_rate,
    texts,
    windows,
)

from course_utils.moe import MixtureOfExperts, cv_squared, switch_balance_loss  # noqa: E402

EXPERTS, TOP_K, D_FF = 8, 2, 128
PASSES, STEPS, PEAK, WARMUP, BALANCE = 3, 3600, 6e-3, 40, 0.01
SHAPE = dict(
    vocab_size=VOCAB,
    hidden_size=128,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=4,
    max_position_embeddings=256,
    tie_word_embeddings=True,
    bos_token_id=0,
    eos_token_id=1,
    pad_token_id=PAD,
)
RUNS = {  # name -> (width of the feed-forward layers, weight of the balance loss or None for a dense model)
    "dense-active": (TOP_K * D_FF, None),
    "moe": (D_FF, BALANCE),
    "moe-unbalanced": (D_FF, 0.0),
    "dense-total": (EXPERTS * D_FF, None),
}


def build(name: str) -> torch.nn.Module:
    width, balance = RUNS[name]
    if balance is None:
        return LlamaForCausalLM(LlamaConfig(intermediate_size=width, **SHAPE))
    model = MixtralForCausalLM(
        MixtralConfig(
            intermediate_size=width,
            num_local_experts=EXPERTS,
            num_experts_per_tok=TOP_K,
            sliding_window=None,
            rope_theta=10000.0,
            **SHAPE,
        )
    )
    for layer in model.model.layers:  # the course's layer in place of transformers': same names, same numbers, faster
        ours = MixtureOfExperts(SHAPE["hidden_size"], width, EXPERTS, TOP_K)
        ours.load_state_dict(layer.mlp.state_dict())
        layer.mlp = ours
    return model


class Router:
    """Collects the router logits (N, E) of every layer during a forward pass."""

    def __init__(self, model: torch.nn.Module):
        self.logits: list[torch.Tensor] = []
        for layer in model.model.layers:
            if isinstance(layer.mlp, MixtureOfExperts):
                layer.mlp.gate.register_forward_hook(lambda module, inputs, output: self.logits.append(output))

    def take(self) -> list[torch.Tensor]:
        logits, self.logits = self.logits, []
        return logits


def heldout(tokenizer, split: str, count: int) -> dict[str, torch.Tensor]:
    """For each domain its first `count` texts of the split, padded: (count, at most 129)."""
    documents = {domain: tokenizer(texts(domain, split)[:count])["input_ids"] for domain in DOMAINS}
    return {domain: pad([(ids + [1])[: WINDOW + 1] for ids in rows]) for domain, rows in documents.items()}


@torch.inference_mode()
def measure(
    model: torch.nn.Module, router: Router, documents: dict[str, torch.Tensor]
) -> tuple[list[dict], list[dict]]:
    """The loss in nats a token for each domain, and how many choices fell on each expert of each layer in each
    domain."""
    losses, loads = [], []
    for domain, ids in documents.items():
        router.take()
        labels = ids[:, 1:].masked_fill(ids[:, 1:] == PAD, -100)
        loss = cross_entropy(model(input_ids=ids[:, :-1]).logits.flatten(0, 1), labels.flatten())
        losses.append({"domain": domain, "loss": loss.item(), "tokens": int((labels != -100).sum())})
        real = (labels != -100).flatten()
        for layer, logits in enumerate(router.take()):
            counts = torch.bincount(logits[real].topk(TOP_K, dim=-1).indices.flatten(), minlength=EXPERTS)
            loads += [
                {"domain": domain, "layer": layer, "expert": i, "choices": n} for i, n in enumerate(counts.tolist())
            ]
    return losses, loads


def mean_loss(losses: list[dict]) -> float:
    return sum(row["loss"] for row in losses) / len(losses)  # domains count alike


def worst_load(loads: list[dict]) -> tuple[float, float]:
    """(CV^2, largest / mean) of the experts' loads over all domains, mean over the layers."""
    counts = pd.DataFrame(loads).groupby(["layer", "expert"]).choices.sum().unstack().to_numpy()
    rows = [torch.tensor(row, dtype=torch.float64) for row in counts]
    return (
        sum(cv_squared(row).item() for row in rows) / len(rows),
        sum((row.max() / row.mean()).item() for row in rows) / len(rows),
    )


def train(name: str, seed: int) -> None:
    run, balance = f"{name}-seed-{seed}", RUNS[name][1]
    tokenizer = load_tokenizer()
    torch.manual_seed(seed)
    model = build(name)
    router = Router(model)
    data = windows(DOMAINS, tokenizer, PASSES, seed)  # pass after pass, the documents in a new order each time
    validation = heldout(tokenizer, "validation", 24)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK, betas=(0.9, 0.95), weight_decay=0.1)
    checkpoint = SCRATCH / f"{run}.pt"
    first, seconds = resume(run, model, optimizer)
    curve = json.loads(checkpoint.with_suffix(".json").read_text(encoding="utf-8")) if first else []
    curve = [row for row in curve if row["step"] <= first]
    started = time.perf_counter() - seconds
    for step in range(first, STEPS):
        set_rate(optimizer, step, STEPS, WARMUP, PEAK)
        ids = data[step * BATCH : (step + 1) * BATCH]
        router.take()
        loss = cross_entropy(model(input_ids=ids[:, :-1]).logits.flatten(0, 1), ids[:, 1:].flatten())
        if balance:
            loss = loss + sum(switch_balance_loss(logits, TOP_K, balance) for logits in router.take())
        descend(optimizer, loss)
        if (step + 1) % 50 == 0 or step + 1 == STEPS:
            losses, loads = measure(model, router, validation)
            cv2, worst = worst_load(loads) if loads else (None, None)
            curve.append({"step": step + 1, "loss": mean_loss(losses), "cv2": cv2, "worst": worst})
            seconds = time.perf_counter() - started
            print(run, f"{step + 1}/{STEPS}", json.dumps(curve[-1]), f"{seconds / 60:.1f} min", flush=True)
            checkpoint.with_suffix(".json").write_text(json.dumps(curve), encoding="utf-8")
            save_checkpoint(checkpoint, model.state_dict(), optimizer, step + 1, seconds)
    losses, loads = measure(model, router, heldout(tokenizer, "test", 100))
    n = sum(p.numel() for p in model.parameters())
    idle = 0 if balance is None else SHAPE["num_hidden_layers"] * (EXPERTS - TOP_K) * 3 * SHAPE["hidden_size"] * D_FF
    report = {
        "model": name,
        "seed": seed,
        "steps": STEPS,
        "tokens": STEPS * BATCH * WINDOW,
        "minutes": round(seconds / 60, 1),
        "peak_learning_rate": PEAK,
        "balance": balance,
        "parameters": n,
        "active_parameters": n - idle,
        "test_loss": round(mean_loss(losses), 4),
        "curve": curve,
        "losses": losses,
        "loads": loads,
    }
    (SCRATCH / f"{run}.report.json").write_text(json.dumps(report), encoding="utf-8")
    print(run, report["test_loss"], report["minutes"], flush=True)


def save_mixture(seed: int = 0) -> None:
    """data/models/moe: the weights of the last checkpoint in half precision, as transformers' Mixtral."""
    report = json.loads((SCRATCH / f"moe-seed-{seed}.report.json").read_text(encoding="utf-8"))
    model = build("moe")
    model.load_state_dict(torch.load(SCRATCH / f"moe-seed-{seed}.pt", weights_only=True)["model"])
    mixtral = MixtralForCausalLM(model.config)
    mixtral.load_state_dict(model.state_dict())
    facts = {key: value for key, value in report.items() if not isinstance(value, list) and key != "model"}
    facts |= {
        "parent": None,
        "domains": DOMAINS,
        "licence": "MIT (text: public domain verses, MIT snippets)",
        "tokenizer": "tokenizer",
        "heldout_perplexity": None,
        "test_loss_by_domain": {row["domain"]: round(row["loss"], 3) for row in report["losses"]},
    }
    save(mixtral, "moe", facts)


def table() -> None:
    """data/mixtures.parquet. kind: curve (step, loss, cv2, worst), test (domain, loss, tokens), load
    (domain, layer, expert, choices)."""
    rows = []
    for path in sorted(SCRATCH.glob("*-seed-*.report.json")):
        report = json.loads(path.read_text(encoding="utf-8"))
        facts = {key: report[key] for key in ("model", "seed", "parameters", "active_parameters")}
        for kind, part in (("curve", "curve"), ("test", "losses"), ("load", "loads")):
            rows += [{**facts, "kind": kind, **row} for row in report[part]]
    frame = pd.DataFrame(rows)
    if (DATA / "mixtures.parquet").exists():  # runs of an earlier day, whose reports are gone, stay
        before, made = pd.read_parquet(DATA / "mixtures.parquet"), set(zip(frame.model, frame.seed))
        kept = [run not in made for run in zip(before.model, before.seed)]
        frame = pd.concat([before[kept], frame], ignore_index=True).sort_values(
            ["model", "seed"], kind="stable", ignore_index=True
        )
    frame = frame.astype({name: "Int32" for name in ("step", "tokens", "layer", "expert", "choices")})
    frame.to_parquet(DATA / "mixtures.parquet.partial", index=False, compression="zstd")
    (DATA / "mixtures.parquet.partial").replace(DATA / "mixtures.parquet")
    print(frame[frame.kind == "test"].groupby(["model", "seed"]).loss.mean().round(4))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="+", choices=["table", *RUNS])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for what in options.what:
        if what == "table":
            if (SCRATCH / "moe-seed-0.report.json").exists():
                save_mixture()
            table()
        else:
            train(what, options.seed)
