"""Rebuild data/models/: the shared BPE tokenizer and the family of small Llama language models.

    python data/recipes/language_models.py tokenizer           # data/models/tokenizer, half a minute
    python data/recipes/language_models.py base                # general base, seed 0
    python data/recipes/language_models.py base-b              # the same recipe from seed 1
    python data/recipes/language_models.py web kjv movies nyt amazon tweets    # children of `base`
    python data/recipes/language_models.py table               # prints the held-out perplexity table

A run that is cut off goes on from its last checkpoint (data/.training/NAME.pt, not committed) when it is
started again; the order of the training windows is fixed by the seed, so the result is the same.
Add `--threads N` to choose how many CPU threads to use.
"""

import argparse
import json
import math
import time
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

DATA = Path(__file__).parents[1]
MODELS, SCRATCH = DATA / "models", DATA / ".training"
VOCAB, WINDOW, BATCH, PAD = 4096, 128, 16, 2
DOMAINS = ["web", "kjv", "movies", "nyt", "amazon", "tweets"]
# name -> (parent, domains, seed, passes over the training text, peak learning rate, most steps)
RUNS = {
    "base": (None, DOMAINS, 0, 1, 6e-3, 1200),
    "base-b": (None, DOMAINS, 1, 1, 6e-3, 1200),
    **{domain: ("base", [domain], 0, 3, 1.5e-3, 150) for domain in DOMAINS},
}


def texts(domain: str, split: str) -> list[str]:
    if domain in ("web", "kjv"):
        frame = pd.read_parquet(DATA / "verses.parquet")
        return frame.loc[frame.split == split, domain].tolist()
    frame = pd.read_parquet(DATA / "snippets.parquet")
    return frame.loc[(frame.split == split) & (frame.domain == domain), "text"].tolist()


def train_bpe(texts: Iterable[str], name: str) -> None:
    """Byte-level BPE with 4,096 entries; `<s>` stands before every text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=["<s>", "</s>", "<pad>"],
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", model_max_length=256
    ).save_pretrained(MODELS / name)


def train_tokenizer() -> None:
    """The family's tokenizer, trained on the training split of all six domains."""
    train_bpe((t for domain in DOMAINS for t in texts(domain, "train")), "tokenizer")


def load_tokenizer() -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast.from_pretrained(MODELS / "tokenizer")


def windows(domains: list[str], tokenizer: PreTrainedTokenizerFast, passes: int, seed: int) -> torch.Tensor:
    """All documents, shuffled anew in each pass, joined as `<s> text </s> <s> text </s> ...` -> (windows, 129)."""
    documents = [ids + [1] for domain in domains for ids in tokenizer(texts(domain, "train"))["input_ids"]]
    generator = torch.Generator().manual_seed(seed)
    stream = [
        token
        for _ in range(passes)
        for i in torch.randperm(len(documents), generator=generator).tolist()
        for token in documents[i]
    ]
    n = (len(stream) - 1) // WINDOW
    return torch.tensor(stream[: n * WINDOW + 1]).unfold(0, WINDOW + 1, WINDOW)


def pad(rows: list[list[int]]) -> torch.Tensor:
    longest = max(map(len, rows))
    return torch.tensor([row + [PAD] * (longest - len(row)) for row in rows])


@torch.inference_mode()
def perplexity(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, domain: str, split: str) -> float:
    """exp of the mean negative log-likelihood a token, `</s>` included, over the first 300 documents."""
    documents = sorted((ids + [1] for ids in tokenizer(texts(domain, split)[:300])["input_ids"]), key=len)
    total = count = 0
    for i in range(0, len(documents), 32):
        ids = pad([d[:256] for d in documents[i : i + 32]])
        logits = model(input_ids=ids[:, :-1]).logits
        labels = ids[:, 1:].masked_fill(ids[:, 1:] == PAD, -100)
        total += torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum").item()
        count += (labels != -100).sum().item()
    return math.exp(total / count)


def save_checkpoint(
    path: Path, weights: dict[str, torch.Tensor], optimizer: torch.optim.Optimizer, step: int, seconds: float
) -> None:
    torch.save(
        {"model": weights, "optimizer": optimizer.state_dict(), "step": step, "seconds": seconds},
        path.with_suffix(".partial"),
    )
    path.with_suffix(".partial").replace(path)


def descend(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    """One step down the loss, the norm of the gradient of all the optimizer's parameters at most 1."""
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_([one for group in optimizer.param_groups for one in group["params"]], 1.0)
    optimizer.step()


def train_step(
    name: str,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: torch.Tensor,
    step: int,
    steps: int,
    started: float,
) -> None:
    """`descend`, and at each 50th step and at the last a line and a checkpoint.

    started: when the run would have begun if it had never been cut off, on the clock of `time.perf_counter`.
    """
    descend(optimizer, loss)
    if (step + 1) % 50 == 0 or step + 1 == steps:
        seconds = time.perf_counter() - started
        print(f"{name} step {step + 1}/{steps} loss {loss.item():.3f} {seconds / 60:.1f} min", flush=True)
        save_checkpoint(SCRATCH / f"{name}.pt", model.state_dict(), optimizer, step + 1, seconds)


def resume(name: str, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, float]:
    """Steps done and seconds spent; model and optimizer as they were then."""
    SCRATCH.mkdir(exist_ok=True)
    if not (path := SCRATCH / f"{name}.pt").exists():
        return 0, 0.0
    saved = torch.load(path, weights_only=True)  # weights_only: nothing but tensors and numbers is read
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    return saved["step"], saved["seconds"]


def save(model: torch.nn.Module, name: str, report: dict, where: Path = MODELS) -> None:
    """Write data/models/NAME aside in float16 and rename it; no tokenizer, since models share one."""
    partial = SCRATCH / f"{name}.partial"
    model.to(torch.float16).save_pretrained(partial)
    model.float()
    publish(partial, name, report, where)


def publish(partial: Path, name: str, report: dict, where: Path = MODELS) -> None:
    """The folder, with its report, becomes data/models/NAME; the one that was there goes."""
    folder = where / name
    (partial / "training.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if folder.exists():
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    partial.rename(folder)


def set_rate(optimizer: torch.optim.Optimizer, step: int, steps: int, warmup: int, peak: float) -> None:
    """The learning rate after `step` of `steps` steps: linear warm-up, then linear decay to zero."""
    for group in optimizer.param_groups:
        group["lr"] = peak * min((step + 1) / warmup, (steps - step) / (steps - warmup))


def train(name: str) -> None:
    parent, domains, seed, passes, peak, most_steps = RUNS[name]
    tokenizer = load_tokenizer()
    torch.manual_seed(seed)
    if parent:
        model = LlamaForCausalLM.from_pretrained(MODELS / parent, dtype=torch.float32)
    else:
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=VOCAB,
                hidden_size=128,
                intermediate_size=352,
                num_hidden_layers=4,
                num_attention_heads=4,
                num_key_value_heads=4,
                max_position_embeddings=256,
                tie_word_embeddings=True,
                bos_token_id=0,
                eos_token_id=1,
                pad_token_id=2,
            )
        )
    data = windows(domains, tokenizer, passes, seed)
    steps, warmup = min(most_steps, len(data) // BATCH), 40 if parent is None else 10
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, betas=(0.9, 0.95), weight_decay=0.1)
    checkpoint = SCRATCH / f"{name}.pt"
    first, seconds = resume(name, model, optimizer)
    started = time.perf_counter() - seconds
    for step in range(first, steps):
        set_rate(optimizer, step, steps, warmup, peak)
        ids = data[order[step * BATCH : (step + 1) * BATCH]]
        logits = model(input_ids=ids[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        train_step(name, model, optimizer, loss, step, steps, started)
    model.eval()
    model.to(torch.float16).save_pretrained(MODELS / name)
    if (
        name == "base"
    ):  # the base of most merges, where mergekit looks for a tokenizer; the others share models/tokenizer
        tokenizer.save_pretrained(MODELS / name)
    model = LlamaForCausalLM.from_pretrained(MODELS / name, dtype=torch.float32)  # what the reader will load
    report = {
        "parent": parent,
        "domains": domains,
        "seed": seed,
        "steps": steps,
        "tokens": steps * BATCH * WINDOW,
        "peak_learning_rate": peak,
        "minutes": round((time.perf_counter() - started) / 60, 1),
        "licence": "MIT (text: public domain verses, MIT snippets)",
        "tokenizer": "tokenizer",
        "heldout_perplexity": {d: round(perplexity(model, tokenizer, d, "test"), 1) for d in DOMAINS},
    }
    (MODELS / name / "training.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    checkpoint.unlink()
    print(name, report["heldout_perplexity"], flush=True)


def table() -> None:
    print("| model | steps | minutes | " + " | ".join(DOMAINS) + " |\n|" + "---|" * (len(DOMAINS) + 3))
    for name in RUNS:
        report = json.loads((MODELS / name / "training.json").read_text(encoding="utf-8"))
        cells = [str(report["heldout_perplexity"][d]) for d in DOMAINS]
        print(f"| {name} | {report['steps']} | {report['minutes']} | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="+", choices=["tokenizer", "table", *RUNS])
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for what in options.what:
        if what == "tokenizer":
            train_tokenizer()
        elif what == "table":
            table()
        else:
            train(what)


if __name__ == "__main__":
    main()
