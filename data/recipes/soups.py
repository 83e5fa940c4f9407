"""Rebuild data/models/soup: twelve fine-tunes of `base` that tell positive movie snippets from negative ones.

    python data/recipes/soups.py            # about twelve minutes; goes on where it was cut off

All start from the same weights: `base` and one head, a linear probe on its frozen features (so that the fine-tunes stay
in one basin: Wortsman et al., 2022, section 3.1). To keep the file small, `soup/ingredients.safetensors` holds
differences: `<number>.<tensor name>` is 256 (theta - theta_0) in float8_e4m3fn, and `0.score.weight` is the head that
all start with. The figures are those of the models as they are read back. `soup/training.json` has each one's
hyper-parameters and accuracies: the mean over the two classes of the share of texts that are recognised
(balanced accuracy; by chance 0.5).
"""

import argparse
import json
import random
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from language_models import MODELS, SCRATCH, descend, load_tokenizer
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy
from transformers import LlamaForSequenceClassification

from course_utils.merging import average
from course_utils.shelf.classifiers import Ingredients, balanced_accuracy, logits_of, pad
from course_utils.shelf.deltas import difference, restored

DATA = Path(__file__).parents[1]
BATCH, INGREDIENTS = 32, 12
DOMAINS = ["movies", "nyt", "amazon", "tweets"]


def snippets(domain: str, split: str) -> tuple[list[str], torch.Tensor]:
    """Texts that people rated clearly (|rating| >= 1), and 1 for the positive ones."""
    frame = pd.read_parquet(DATA / "snippets.parquet")
    frame = frame[(frame.domain == domain) & (frame.split == split) & (frame.rating.abs() >= 1)]
    return frame.text.tolist(), torch.tensor((frame.rating > 0).to_numpy()).long()


def encode(texts: list[str], tokenizer) -> list[torch.Tensor]:
    return Ingredients({}, [], [], None, tokenizer).encode(texts)


def linear_probe(model: LlamaForSequenceClassification, rows: list[torch.Tensor], labels: torch.Tensor) -> None:
    """Fit the head alone on the frozen features, by L-BFGS with a little weight decay."""
    head, features = model.score, []
    hook = head.register_forward_pre_hook(lambda module, args: features.append(args[0]))
    with torch.inference_mode():
        for row in rows:
            model(input_ids=row[None])
    hook.remove()
    x = torch.stack([f[0, -1] for f in features]).clone()
    weight = torch.zeros_like(head.weight, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = cross_entropy(x @ weight.T, labels) + 1e-3 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        head.weight.copy_(weight)


def settings(number: int) -> dict:
    """Random search, as in the paper's appendix: learning rate, length, weight decay, label smoothing, order of the
    data."""
    rng = random.Random(number)
    return {
        "learning_rate": round(10 ** rng.uniform(-3.6, -2.7), 5),
        "steps": rng.choice([150, 300, 450]),
        "weight_decay": rng.choice([0.0, 0.1]),
        "label_smoothing": rng.choice([0.0, 0.1]),
        "seed": number,
    }


def labelled(labels: torch.Tensor, options: dict) -> Callable:
    return lambda logits, batch: cross_entropy(logits, labels[batch], label_smoothing=options["label_smoothing"])


def fine_tune(
    model: LlamaForSequenceClassification, rows: list[torch.Tensor], loss_of: Callable, options: dict
) -> None:
    """Train on loss_of(logits (32, 2), numbers of the texts in the batch)."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=options["learning_rate"], weight_decay=options["weight_decay"])
    generator, steps = torch.Generator().manual_seed(options["seed"]), options["steps"]
    order = torch.cat(
        [torch.randperm(len(rows), generator=generator) for _ in range(1 + steps * BATCH // len(rows))]
    ).tolist()
    for step in range(steps):
        for group in optimizer.param_groups:  # linear warm-up, then linear decay to zero
            group["lr"] = options["learning_rate"] * min((step + 1) / 10, (steps - step) / (steps - 10))
        batch = order[step * BATCH : (step + 1) * BATCH]
        loss = loss_of(model(input_ids=pad([rows[i] for i in batch])).logits, batch)
        descend(optimizer, loss)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    torch.set_num_threads(parser.parse_args().threads)
    started, tokenizer = time.perf_counter(), load_tokenizer()
    SCRATCH.mkdir(exist_ok=True)
    texts, labels = snippets("movies", "train")
    rows = encode(texts, tokenizer)
    held_out = {(domain, split): snippets(domain, split) for domain in DOMAINS for split in ("validation", "test")}

    def fresh() -> LlamaForSequenceClassification:
        return LlamaForSequenceClassification.from_pretrained(MODELS / "base", dtype=torch.float32, num_labels=2).eval()

    torch.manual_seed(0)
    start = fresh()
    linear_probe(start, rows, labels)
    theta = {name: tensor.clone() for name, tensor in start.state_dict().items()}
    theta["score.weight"] = theta["score.weight"].half().float()
    merged, reports = {"0.score.weight": theta["score.weight"].half()}, []
    for number in range(1, INGREDIENTS + 1):
        part = SCRATCH / f"soup-{number}.safetensors"
        if not part.exists():
            model, options = fresh(), settings(number)
            model.load_state_dict(theta)
            fine_tune(model, rows, labelled(labels, options), options)
            saved = difference(theta, model.state_dict())
            model.load_state_dict(restored(theta, saved))
            accuracy = {
                f"{domain} {split}": balanced_accuracy(logits_of(model, encode(texts, tokenizer)), wanted)
                for (domain, split), (texts, wanted) in held_out.items()
            }
            accuracy = {key: round(value, 4) for key, value in accuracy.items()}
            save_file(saved, part.with_suffix(".partial"), {"report": json.dumps(options | {"accuracy": accuracy})})
            part.with_suffix(".partial").replace(part)
            print(number, options, accuracy, f"{(time.perf_counter() - started) / 60:.1f} min", flush=True)
        with safe_open(part, "pt") as file:
            reports.append(json.loads(file.metadata()["report"]))
        merged |= {f"{number}.{name}": tensor for name, tensor in load_file(part).items()}
    folder = MODELS / "soup"
    folder.mkdir(exist_ok=True)
    save_file(merged, folder / "ingredients.partial")
    (folder / "ingredients.partial").replace(folder / "ingredients.safetensors")
    report = {
        "what": "fine-tunes of base as classifiers of movie snippets",
        "parent": "base",
        "domains": ["movies"],
        "minutes": round((time.perf_counter() - started) / 60, 1),
        "licence": "MIT (text: MIT snippets)",
        "ingredients": reports,
    }
    (folder / "training.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    states = [restored(theta, load_file(SCRATCH / f"soup-{n}.safetensors")) for n in range(1, INGREDIENTS + 1)]
    pairs(start, states, held_out, tokenizer)
    for n in range(1, INGREDIENTS + 1):
        (SCRATCH / f"soup-{n}.safetensors").unlink()


def pairs(
    model: LlamaForSequenceClassification, states: list[dict[str, torch.Tensor]], held_out: dict, tokenizer
) -> None:
    """data/soup_pairs.parquet: for each pair of ingredients the accuracy of their soup and of their ensemble on test
    texts; data/soup_logits.parquet: z_positive - z_negative of each ingredient for each of these texts.

    The ensemble averages the two models' logits, as Wortsman et al. (2022, section 4) do."""
    tests = {
        domain: (encode(texts, tokenizer), labels)
        for (domain, split), (texts, labels) in held_out.items()
        if split == "test"
    }

    def logits(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        model.load_state_dict(state)
        return {domain: logits_of(model, rows) for domain, (rows, _) in tests.items()}

    alone, table = [logits(state) for state in states], []
    for i in range(INGREDIENTS):
        for j in range(i + 1, INGREDIENTS):
            soup = logits(average([states[i], states[j]]))
            for domain, (_, labels) in tests.items():
                both = (alone[i][domain] + alone[j][domain]) / 2
                table.append(
                    {
                        "i": i + 1,
                        "j": j + 1,
                        "domain": domain,
                        "soup": balanced_accuracy(soup[domain], labels),
                        "ensemble": balanced_accuracy(both, labels),
                    }
                )
    write(pd.DataFrame(table), "soup_pairs.parquet")
    parts = []
    for domain, (_, labels) in tests.items():
        scores = {f"ingredient_{i}": (z[domain][:, 1] - z[domain][:, 0]).half().numpy() for i, z in enumerate(alone, 1)}
        parts.append(pd.DataFrame({"domain": domain, "positive": labels.bool().numpy(), **scores}))
    write(pd.concat(parts, ignore_index=True), "soup_logits.parquet")


def write(table: pd.DataFrame, name: str) -> None:
    table.to_parquet(DATA / f"{name}.partial", index=False)
    (DATA / f"{name}.partial").replace(DATA / name)


if __name__ == "__main__":
    main()
