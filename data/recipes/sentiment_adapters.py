"""Rebuild the two LoRA experts of notebook 02 and the texts that they steer.

    python data/recipes/sentiment_adapters.py lora-positive   # SmolLM2 + LoRA on movie snippets rated >= 1
    python data/recipes/sentiment_adapters.py lora-negative   # the same on snippets rated <= -1
    python data/recipes/sentiment_adapters.py steered         # data/steered.parquet: continuations at every lam

A run that is cut off goes on from its last checkpoint (data/.training, not committed) when it is started again.
Add `--threads N` to choose how many CPU threads to use.
"""

import argparse
import json
import math
import time
from pathlib import Path

import pandas as pd
import torch
from language_models import MODELS, SCRATCH, descend, save_checkpoint, set_rate
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from torch.nn.functional import cross_entropy

from course_utils.ensembling import loglinear_interpolation, negative_evidence
from course_utils.ensembling.decoding import AdapterEnsemble, Ensemble, generate
from course_utils.shelf.models import load, load_with_adapters

DATA = Path(__file__).parents[1]
RATING = {"lora-positive": lambda rating: rating >= 1, "lora-negative": lambda rating: rating <= -1}
STEPS, BATCH, LONGEST, WARMUP, PEAK = 120, 8, 32, 10, 1e-3
IGNORE = -100
# All of four tokens, so that they run in one batch without padding.
NEUTRAL = [
    "The movie I saw",
    "The story begins with",
    "This is a film",
    "In the second half",
    "The people in the",
    "My neighbour told me",
    "The camera moves through",
    "When we left the",
    "The main character is",
    "He wrote a letter",
    "The director of the",
    "On the way home",
    "The town in the",
    "She looked at the",
    "The book that I",
    "All of the actors",
    "The music in the",
    "We sat down and",
    "It takes place in",
    "The whole evening was",
]
GLOOMY = [
    "The worst part of",
    "I am tired of",
    "They argued about the",
    "The boring speech of",
    "He was angry at",
    "The cheap copy of",
    "She complained about the",
    "Nobody liked the new",
    "The trouble with this",
    "What went wrong with",
]
LAMBDAS = [-2.0, -1.0, 0.0, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0]
SAMPLES, NEW_TOKENS, TOP_P = {"neutral": 3, "gloomy": 24}, 20, 0.9
# The rows of DExperts' table 1, as coefficients of the core, the positive and the negative LM.
METHODS = {
    "core": (1, 0, 0),
    "positive expert alone": (0, 1, 0),
    "anti-expert only": (2, 0, -1),
    "DExperts": (1, 2, -2),
}


def snippets(name: str, split: str) -> list[str]:
    frame = pd.read_parquet(DATA / "snippets.parquet")
    frame = frame[(frame.domain == "movies") & (frame.split == split)]
    return frame.text[RATING[name](frame.rating)].tolist()


def rows(texts: list[str], lm) -> list[list[int]]:
    """<|endoftext|> text <|endoftext|>, cut to LONGEST + 1."""
    return [[lm.context_id, *lm.encode(text).tolist(), lm.context_id][: LONGEST + 1] for text in texts]


def loss_of(model: torch.nn.Module, batch: list[list[int]], reduction: str = "mean") -> torch.Tensor:
    longest = max(map(len, batch))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in batch])
    labels = torch.tensor([row[1:] + [IGNORE] * (longest - len(row)) for row in batch])
    logits = model(input_ids=ids[:, :-1]).logits
    return cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE, reduction=reduction)


def adapt(name: str) -> None:
    lm = load("smollm2")
    torch.manual_seed(0)
    model = get_peft_model(
        lm.model,
        LoraConfig(
            r=8, lora_alpha=16, target_modules=["q_proj", "v_proj", "o_proj"], lora_dropout=0.05, task_type="CAUSAL_LM"
        ),
    )
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=PEAK, weight_decay=0.0)
    examples = rows(snippets(name, "train"), lm)
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(0)).tolist()
    SCRATCH.mkdir(exist_ok=True)
    checkpoint, first, seconds = SCRATCH / f"{name}.pt", 0, 0.0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)  # weights_only: nothing but tensors and numbers is read
        set_peft_model_state_dict(model, saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        first, seconds = saved["step"], saved["seconds"]
    started = time.perf_counter() - seconds
    model.train()
    for step in range(first, STEPS):
        torch.manual_seed(step)  # dropout: the same when the run was cut off before this step
        set_rate(optimizer, step, STEPS, WARMUP, PEAK)
        loss = loss_of(model, [examples[i] for i in order[step * BATCH : (step + 1) * BATCH]])
        descend(optimizer, loss)
        if (step + 1) % 20 == 0:
            seconds = time.perf_counter() - started
            print(f"{name} step {step + 1}/{STEPS} loss {loss.item():.3f} {seconds / 60:.1f} min", flush=True)
            save_checkpoint(checkpoint, get_peft_model_state_dict(model), optimizer, step + 1, seconds)
    model.eval()
    report = {
        "what": "LoRA adapter of SmolLM2-135M-Instruct",
        "domains": [f"movies, {name.removeprefix('lora-')}"],
        "seed": 0,
        "steps": STEPS,
        "snippets": STEPS * BATCH,
        "peak_learning_rate": PEAK,
        "minutes": round((time.perf_counter() - started) / 60, 1),
        "licence": "MIT (text: MIT snippets)",
        "validation_perplexity": {},
    }
    for judged in RATING:  # on 64 held-out snippets of each kind, with and without the adapter
        held_out = rows(snippets(judged, "validation")[:64], lm)
        tokens = sum(len(row) - 1 for row in held_out)
        with torch.inference_mode():
            adapted = sum(loss_of(model, held_out[i : i + 16], "sum").item() for i in range(0, 64, 16))
            with model.disable_adapter():
                plain = sum(loss_of(model, held_out[i : i + 16], "sum").item() for i in range(0, 64, 16))
        report["validation_perplexity"][judged.removeprefix("lora-")] = {
            "core": round(math.exp(plain / tokens), 1),
            "adapted": round(math.exp(adapted / tokens), 1),
        }
    partial, folder = SCRATCH / f"{name}.partial", MODELS / name
    model.to(torch.float16)
    model.peft_config["default"].base_model_name_or_path = "HuggingFaceTB/SmolLM2-135M-Instruct"
    model.save_pretrained(partial)
    (partial / "README.md").unlink(missing_ok=True)  # an empty template of a model card
    (partial / "training.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    folder.mkdir(exist_ok=True)
    for file in partial.iterdir():
        file.replace(folder / file.name)
    partial.rmdir()
    checkpoint.unlink()
    print(name, report["validation_perplexity"], flush=True)


def record(members: Ensemble, lm, kind: str, method: str, lam: float, filtered: bool) -> pd.DataFrame:
    """One row for each continuation: setting, prompt, text, and its log-probability under SmolLM2 without adapters."""
    prompts = [prompt for prompt in (NEUTRAL if kind == "neutral" else GLOOMY) for _ in range(SAMPLES[kind])]
    ids = torch.stack([torch.cat([torch.tensor([lm.context_id]), lm.encode(prompt)]) for prompt in prompts])
    out = generate(members, ids, NEW_TOKENS, "sample", generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():  # fluency: what SmolLM2 itself thinks of the tokens
        logits = torch.cat(
            [
                lm.model(input_ids=rows, **without_adapters(lm, rows)).logits[:, ids.shape[1] - 1 : -1]
                for rows in out.split(10)
            ]
        )
    log_probs = logits.float().log_softmax(-1).gather(2, out[:, ids.shape[1] :, None])[..., 0]  # (rows, new tokens)
    return pd.DataFrame(
        {
            "prompts": kind,
            "method": method,
            "lam": lam,
            "filtered": filtered,
            "prompt": prompts,
            "text": [lm.tokenizer.decode(row[ids.shape[1] :]) for row in out],
            "tokens": out[:, ids.shape[1] :].tolist(),
            "core_log_prob": log_probs.sum(1).round(decimals=3).tolist(),
        }
    )


def without_adapters(lm, rows: torch.Tensor) -> dict:
    return {"adapter_names": ["__base__"] * len(rows)} if hasattr(lm.model, "peft_config") else {}


def steered() -> None:
    """All settings of the two adapters, each kept aside when it is done."""
    lm = load_with_adapters("lora-positive", "lora-negative")
    adapters = ["__base__", "positive", "negative"]
    settings = [("neutral", "lam", lam, filtered) for lam in LAMBDAS for filtered in (True, False)]
    settings += [("gloomy", method, 0.0, True) for method in METHODS]
    SCRATCH.mkdir(exist_ok=True)
    for number, (kind, method, lam, filtered) in enumerate(settings):
        part = SCRATCH / f"steered-{number}.parquet"
        if part.exists():
            continue
        started = time.perf_counter()
        top_p = TOP_P if filtered else None
        if method == "lam":

            def combine(log_probs, lam=lam, top_p=top_p):
                return negative_evidence(*log_probs, lam, top_p=top_p)
        else:

            def combine(log_probs, weights=METHODS[method]):
                core, positive, negative = log_probs
                if not weights[0]:  # no core: the expert's own nucleus
                    return negative_evidence(positive, None, None, 0.0, top_p=TOP_P)
                kept = negative_evidence(core, None, None, 0.0, top_p=TOP_P).isneginf()
                return loglinear_interpolation(log_probs, weights).masked_fill(kept, -torch.inf).log_softmax(-1)

        frame = record(AdapterEnsemble(lm.model, adapters, combine), lm, kind, method, lam, filtered)
        frame.to_parquet(part.with_suffix(".partial"), index=False)
        part.with_suffix(".partial").replace(part)
        print(
            kind,
            method,
            lam,
            filtered,
            f"ppl {math.exp(-frame.core_log_prob.sum() / (len(frame) * NEW_TOKENS)):.1f}",
            f"{time.perf_counter() - started:.0f} s",
            flush=True,
        )
    parts = [pd.read_parquet(SCRATCH / f"steered-{number}.parquet") for number in range(len(settings))]
    pd.concat(parts).to_parquet(DATA / "steered.parquet.partial", index=False)
    (DATA / "steered.parquet.partial").replace(DATA / "steered.parquet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="+", choices=[*RATING, "steered"])
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    load("smollm2")
    torch.set_num_threads(options.threads)
    for what in options.what:
        steered() if what == "steered" else adapt(what)


if __name__ == "__main__":
    main()
