"""Rebuild the English-Spanish translator and the Spanish language models in data/models/.

    python data/recipes/translation.py tokenizer          # joint BPE of English and Spanish, half a minute
    python data/recipes/translation.py nmt-0 nmt-1 nmt-2  # three seeds of one translator, trained on prose
    python data/recipes/translation.py es-prose           # Spanish LM on the prose that the translator has seen
    python data/recipes/translation.py es-poetry          # its child, trained on Spanish poetry: no English needed
    python data/recipes/translation.py table              # prints the figures of data/README.md

A run that is cut off goes on from its last checkpoint (data/.training/NAME.pt, not committed) when it is started
again; the order of the batches is fixed by the seed. Add `--threads N` to choose how many CPU threads to use.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import sacrebleu
import torch
from language_models import MODELS, PAD, SCRATCH, descend, pad, resume, save, save_checkpoint, set_rate, train_bpe
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, MarianConfig, MarianMTModel, PreTrainedTokenizerFast

from course_utils.shelf.deltas import difference

DATA = Path(__file__).parents[1]
BOS, EOS = 0, 1
POETRY = ["Job", "Psalms", "Proverbs", "Isaiah", "Hosea", "Amos", "Obadiah", "Micah", "Nahum", "Zephaniah"]
NEITHER = ["Jeremiah", "Ezekiel", "Haggai", "Zechariah", "Malachi", "Revelation of John"]  # half prose, half poetry
LONGEST = 28  # words of a training verse, English or Spanish
BATCH, EPOCHS, WARMUP, PEAK, KEEP = 32, 20, 600, 2e-3, 5  # KEEP: the checkpoints of seed 0's last epochs
LM_RUNS = {"es-prose": (None, 3, 5e-3), "es-poetry": ("es-prose", 3, 1.5e-3)}  # parent, passes, peak learning rate
HELD_OUT = {
    "prose": {"validation": ["Ruth", "Daniel"], "test": ["Judges", "Esther", "Jonah"]},
    "poetry": {"validation": ["Ecclesiastes", "Joel"], "test": ["Song of Solomon", "Lamentations", "Habakkuk"]},
}


def verses(books: list[str] | None = None, prose: bool = False, longest: int | None = None) -> pd.DataFrame:
    frame = pd.read_parquet(DATA / "verses.parquet")
    if prose:
        frame = frame[(frame.split == "train") & ~frame.book.isin(POETRY + NEITHER)]
    if books:
        frame = frame[frame.book.isin(books)]
    if longest:
        words = pd.concat([frame.web.str.split().str.len(), frame.es.str.split().str.len()], axis=1).max(axis=1)
        frame = frame[words <= longest]
    return frame


def train_tokenizer() -> None:
    """Byte-level BPE with 4,096 entries, trained on the training split of both languages."""
    frame = verses()
    train_bpe(
        pd.concat([frame.web, frame.es])[pd.concat([frame.split, frame.split]) == "train"], "translation-tokenizer"
    )


def load_tokenizer() -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast.from_pretrained(MODELS / "translation-tokenizer")


def sources(frame: pd.DataFrame, columns: Sequence[str] = ("web",)) -> list[str]:
    """What the encoder reads: the text of one column, or of several with `</s>` (one token for the tokenizer) between
    them."""
    return ["</s>".join(texts) for texts in frame[list(columns)].itertuples(index=False)]


def pairs(
    frame: pd.DataFrame, tokenizer: PreTrainedTokenizerFast, columns: Sequence[str] = ("web",)
) -> list[tuple[list[int], list[int]]]:
    """Source ids (English, unless `columns` says otherwise) + </s>, and <s> + Spanish ids + </s>."""
    source, target = (tokenizer(texts).input_ids for texts in (sources(frame, columns), list(frame.es)))
    return [(s[1:] + [EOS], t + [EOS]) for s, t in zip(source, target)]


def epoch_batches(lengths: list[int], seed: int, epoch: int) -> list[list[int]]:
    """Every example once; a batch holds examples of similar length (sorted within pools of 32 batches)."""
    generator = torch.Generator().manual_seed(1000 * seed + epoch)
    order, batches = torch.randperm(len(lengths), generator=generator).tolist(), []
    for i in range(0, len(order), 32 * BATCH):
        pool = sorted(order[i : i + 32 * BATCH], key=lengths.__getitem__)
        batches += [pool[j : j + BATCH] for j in range(0, len(pool), BATCH)]
    return [batches[i] for i in torch.randperm(len(batches), generator=generator)]


def new_translator() -> MarianMTModel:
    return MarianMTModel(
        MarianConfig(
            vocab_size=4096,
            d_model=128,
            encoder_layers=3,
            decoder_layers=2,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=512,
            decoder_ffn_dim=512,
            max_position_embeddings=256,
            dropout=0.1,
            activation_function="relu",
            scale_embedding=True,
            share_encoder_decoder_embeddings=True,
            tie_word_embeddings=True,
            init_std=128**-0.5,
            bos_token_id=BOS,
            eos_token_id=EOS,
            pad_token_id=PAD,
            decoder_start_token_id=BOS,
            forced_eos_token_id=None,
        )
    )


def translation_loss(model: MarianMTModel, batch: list[tuple[list[int], list[int]]], smoothing: float) -> torch.Tensor:
    source, target = pad([s for s, _ in batch]), pad([t for _, t in batch])
    logits = model(input_ids=source, attention_mask=(source != PAD).long(), decoder_input_ids=target[:, :-1]).logits
    return cross_entropy(logits.flatten(0, 1), target[:, 1:].flatten(), ignore_index=PAD, label_smoothing=smoothing)


@torch.inference_mode()
def held_out(
    model: MarianMTModel,
    tokenizer: PreTrainedTokenizerFast,
    domain: str,
    split: str,
    decode: bool = True,
    columns: Sequence[str] = ("web",),
) -> dict[str, float]:
    """Negative log-likelihood a token, and BLEU and chrF of greedy translations, on verses of up to 32 words."""
    frame = verses(HELD_OUT[domain][split], longest=32)
    examples = sorted(pairs(frame, tokenizer, columns), key=lambda pair: len(pair[0]))
    loss = count = 0.0
    found, wanted = [], []
    for i in range(0, len(examples), BATCH):
        batch = examples[i : i + BATCH]
        tokens = sum(len(t) - 1 for _, t in batch)
        loss, count = loss + translation_loss(model, batch, 0.0).item() * tokens, count + tokens
        if decode:
            source = pad([s for s, _ in batch])
            out = model.generate(
                input_ids=source, attention_mask=(source != PAD).long(), max_length=100, num_beams=1, do_sample=False
            )
            found += tokenizer.batch_decode(out, skip_special_tokens=True)
            wanted += tokenizer.batch_decode([t for _, t in batch], skip_special_tokens=True)
    scores = {"loss": round(loss / count, 3)}
    if decode:
        scores |= {
            "bleu": round(sacrebleu.corpus_bleu(found, [wanted]).score, 2),
            "chrf": round(sacrebleu.corpus_chrf(found, [wanted]).score, 2),
        }
    return scores


def train_translator(name: str) -> None:
    examples = pairs(verses(prose=True, longest=LONGEST), load_tokenizer())
    fit(
        name,
        int(name.removeprefix("nmt-")),
        examples,
        lambda model, batch: translation_loss(model, [examples[j] for j in batch], 0.1),
    )


def fit(name: str, seed: int, examples: list[tuple[list[int], list[int]]], loss_of: Callable, **facts) -> None:
    """Train a translator on loss_of(model, numbers of the examples in a batch), and save it with its test scores.

    `facts` go into its report; `source`, if it is one of them, names the columns of verses.parquet that the encoder
    reads.
    """
    tokenizer, epochs, columns = load_tokenizer(), EPOCHS, facts.get("source", ("web",))
    torch.manual_seed(seed)
    model = new_translator()
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK, betas=(0.9, 0.98), weight_decay=0.01)
    lengths = [len(s) + len(t) for s, t in examples]
    a_epoch = len(epoch_batches(lengths, seed, 0))
    done, seconds = resume(name, model, optimizer)
    started = time.perf_counter() - seconds
    report = {
        "what": "English-Spanish translator",
        "domains": ["prose verses"],
        "seed": seed,
        "pairs": len(examples),
        "peak_learning_rate": PEAK,
        **facts,
        "licence": "MIT (text: public domain)",
    }
    for epoch in range(done // a_epoch, epochs):
        torch.manual_seed(1000 * seed + epoch)  # dropout: the same when the run was cut off before this epoch
        model.train()
        total = 0.0
        for i, batch in enumerate(epoch_batches(lengths, seed, epoch), epoch * a_epoch + 1):
            for (
                group
            ) in optimizer.param_groups:  # linear warm-up, then 1 / sqrt(step): Vaswani et al. (2017), section 5.3
                group["lr"] = PEAK * min(i / WARMUP, (WARMUP / i) ** 0.5)
            loss = loss_of(model, batch)
            descend(optimizer, loss)
            total += loss.item()
        model.eval()
        seconds = time.perf_counter() - started
        scores = held_out(model, tokenizer, "prose", "validation", columns=columns)
        print(
            f"{name} epoch {epoch + 1}/{epochs} loss {total / a_epoch:.3f} {scores} {seconds / 60:.1f} min", flush=True
        )
        save_checkpoint(SCRATCH / f"{name}.pt", model.state_dict(), optimizer, (epoch + 1) * a_epoch, seconds)
        report |= {"epochs": epoch + 1, "steps": (epoch + 1) * a_epoch, "minutes": round(seconds / 60, 1)}
        if name == "nmt-0" and epochs - KEEP <= epoch < epochs - 1:
            save(model, f"{name}-epoch-{epoch + 1}", report | {"validation": scores})
    scores = {domain: held_out(model, tokenizer, domain, "test", columns=columns) for domain in HELD_OUT}
    save(model, name, report | {"test": scores})  # the translators share data/models/translation-tokenizer
    keep_differences(name)
    (SCRATCH / f"{name}.pt").unlink()
    print(name, scores, flush=True)


def keep_differences(parent: str) -> None:
    """The run's earlier checkpoints become differences from its last one, half as large."""
    last = load_file(MODELS / parent / "model.safetensors")
    for path in sorted(MODELS.glob(f"{parent}-epoch-*/model.safetensors")):
        save_file(difference(last, load_file(path)), path.with_name("difference.partial"))
        report = path.with_name("training.json")
        said = {"parent": parent, **json.loads(report.read_text(encoding="utf-8"))}
        report.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
        path.with_name("difference.partial").replace(path.with_name("difference.safetensors"))
        path.unlink()


def spanish(name: str, split: str) -> pd.Series:
    """What a language model is trained on, and the held-out verses of its domain."""
    domain = name.removeprefix("es-")
    if split != "train":
        return verses(HELD_OUT[domain][split]).es
    return verses(prose=True).es if domain == "prose" else verses(POETRY).es


@torch.inference_mode()
def perplexity(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, texts: pd.Series) -> float:
    """exp of the mean negative log-likelihood a token, `</s>` included."""
    rows = sorted((ids[:200] + [EOS] for ids in tokenizer(list(texts)).input_ids), key=len)
    total = count = 0.0
    for i in range(0, len(rows), BATCH):
        ids = pad(rows[i : i + BATCH])
        logits = model(input_ids=ids[:, :-1]).logits
        total += cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), ignore_index=PAD, reduction="sum").item()
        count += (ids[:, 1:] != PAD).sum().item()
    return math.exp(total / count)


def train_lm(name: str) -> None:
    parent, passes, peak = LM_RUNS[name]
    tokenizer = load_tokenizer()
    torch.manual_seed(0)
    model = (
        LlamaForCausalLM.from_pretrained(MODELS / parent, dtype=torch.float32)
        if parent
        else LlamaForCausalLM(
            LlamaConfig(
                vocab_size=4096,
                hidden_size=128,
                intermediate_size=352,
                num_hidden_layers=3,
                num_attention_heads=4,
                num_key_value_heads=4,
                max_position_embeddings=256,
                tie_word_embeddings=True,
                bos_token_id=BOS,
                eos_token_id=EOS,
                pad_token_id=PAD,
            )
        )
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, betas=(0.9, 0.95), weight_decay=0.1)
    rows = [ids[:127] + [EOS] for ids in tokenizer(list(spanish(name, "train"))).input_ids]
    batches = [batch for epoch in range(passes) for batch in epoch_batches([len(row) for row in rows], 0, epoch)]
    first, seconds = resume(name, model, optimizer)
    started = time.perf_counter() - seconds
    warmup = len(batches) // 20
    for step, batch in enumerate(batches[first:], first + 1):
        set_rate(optimizer, step - 1, len(batches), warmup, peak)
        ids = pad([rows[j] for j in batch])
        loss = cross_entropy(model(input_ids=ids[:, :-1]).logits.flatten(0, 1), ids[:, 1:].flatten(), ignore_index=PAD)
        descend(optimizer, loss)
        if step % 100 == 0:
            seconds = time.perf_counter() - started
            print(f"{name} step {step}/{len(batches)} loss {loss.item():.3f} {seconds / 60:.1f} min", flush=True)
            save_checkpoint(SCRATCH / f"{name}.pt", model.state_dict(), optimizer, step, seconds)
    minutes = round((time.perf_counter() - started) / 60, 1)
    model.eval()
    report = {
        "what": "Spanish LM",
        "parent": parent,
        "domains": [name],
        "seed": 0,
        "steps": len(batches),
        "minutes": minutes,
        "peak_learning_rate": peak,
        "tokens": sum(len(rows[j]) for b in batches for j in b),
        "licence": "MIT (text: public domain)",
        "tokenizer": "translation-tokenizer",
        "perplexity": {d: round(perplexity(model, tokenizer, spanish(f"es-{d}", "test")), 1) for d in HELD_OUT},
    }
    save(model, name, report)
    (SCRATCH / f"{name}.pt").unlink()
    print(name, report["perplexity"], flush=True)


def table() -> None:
    for folder in sorted(MODELS.glob("nmt-*")) + sorted(MODELS.glob("es-*")):
        report = json.loads((folder / "training.json").read_text(encoding="utf-8"))
        print(
            folder.name,
            report["steps"],
            report["minutes"],
            report.get("test") or report.get("validation") or report["perplexity"],
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="+", choices=["tokenizer", "table", "nmt-0", "nmt-1", "nmt-2", *LM_RUNS])
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for what in options.what:
        if what in ("tokenizer", "table"):
            {"tokenizer": train_tokenizer, "table": table}[what]()
        else:
            (train_lm if what in LM_RUNS else train_translator)(what)


if __name__ == "__main__":
    main()
