"""Rebuild the distilled translators in data/models/: one student each, taught by the ensemble of nmt-0, nmt-1 and
nmt-2.

    python data/recipes/distillation.py targets       # data/distilled.parquet: the ensemble's beam translations of its
                                                      training verses
    python data/recipes/distillation.py nmt-seq-kd    # student that was trained on those, and saw no reference
    python data/recipes/distillation.py nmt-word-kd   # student of the ensemble's distribution at every token of the
                                                      references
    python data/recipes/distillation.py table         # all of them on all test prose: data/translations.parquet, and
                                                      # data/translation_scores.parquet

Size, seed, batches, epochs and learning rate are those of nmt-0 (translation.py): only what the student is told
differs. Everything goes on where it was cut off. nmt-word-kd keeps the teachers' distributions in memory (about 4 GB).
"""

import argparse
import os
import time
from collections.abc import Sequence

import pandas as pd
import sacrebleu
import torch
from translation import (
    BATCH,
    DATA,
    HELD_OUT,
    LONGEST,
    PAD,
    SCRATCH,
    fit,
    load_tokenizer,
    pad,
    pairs,
    translation_loss,
    verses,
)

from course_utils.distillation import ensemble_targets, soft_target_loss
from course_utils.ensembling import linear_interpolation
from course_utils.pipelines import load_translator

TEACHERS = ["nmt-0", "nmt-1", "nmt-2"]
BEAMS, ALPHA, CHUNK = 5, 0.5, 1000  # beams and alpha as in Kim & Rush (2016), section 4


def translate(names: Sequence[str], sources: Sequence[str], **options) -> list[str]:
    """Translations by one translator, or by several together: at each step the mean of their probabilities."""
    first, *others = (load_translator(name) for name in names)
    if not others:
        return first.translate(sources, **options)
    return first.translate(
        sources, members=others, combine=lambda lp: linear_interpolation(lp, [1 / len(names)] * len(names)), **options
    )


def targets() -> None:
    """Translate the training verses, a thousand at a time (of similar length, so that no batch waits for one long
    verse)."""
    frame = verses(prose=True, longest=LONGEST).sort_values("web", key=lambda column: column.str.len())
    SCRATCH.mkdir(exist_ok=True)
    started, parts = time.perf_counter(), []
    for start in range(0, len(frame), CHUNK):
        part, chunk = SCRATCH / f"targets-{start}.parquet", frame.iloc[start : start + CHUNK]
        if not part.exists():
            found = translate(TEACHERS, chunk.web.tolist(), strategy="beam", num_beams=BEAMS)
            table = pd.DataFrame({"ref": chunk.ref, "ensemble": found})
            table.to_parquet(part.with_suffix(".partial"), index=False)
            part.with_suffix(".partial").replace(part)
            print(
                f"{start + len(chunk)} of {len(frame)} verses {(time.perf_counter() - started) / 60:.1f} min",
                flush=True,
            )
        parts.append(part)
    table = (
        pd.concat(map(pd.read_parquet, parts))
        .set_index("ref")
        .loc[verses(prose=True, longest=LONGEST).ref]
        .reset_index()
    )
    table.to_parquet(DATA / "distilled.parquet.partial", index=False)
    (DATA / "distilled.parquet.partial").replace(DATA / "distilled.parquet")
    for part in parts:
        part.unlink()


def sequence_student() -> None:
    frame = verses(prose=True, longest=LONGEST)
    taught = pd.read_parquet(DATA / "distilled.parquet").set_index("ref").ensemble
    examples = pairs(frame.assign(es=taught.loc[frame.ref].to_numpy()), load_tokenizer())
    fit(
        "nmt-seq-kd",
        0,
        examples,
        lambda model, batch: translation_loss(model, [examples[j] for j in batch], 0.1),
        teachers=TEACHERS,
        level="sequence",
        beams=BEAMS,
    )


@torch.inference_mode()
def teachers_probs(examples: list[tuple[list[int], list[int]]]) -> list[torch.Tensor]:
    """For each example (T, V) in float16: the ensemble's distribution at each token of the reference."""
    found, order = {}, sorted(range(len(examples)), key=lambda i: len(examples[i][1]))
    models = [load_translator(name).model for name in TEACHERS]
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        source, target = (pad([examples[i][side] for i in batch]) for side in (0, 1))
        logits = torch.stack(
            [
                model(input_ids=source, attention_mask=(source != PAD).long(), decoder_input_ids=target[:, :-1]).logits
                for model in models
            ]
        )
        probs = ensemble_targets(logits, T=1.0).half()
        found |= {i: row[: len(examples[i][1]) - 1].clone() for i, row in zip(batch, probs)}
    return [found[i] for i in range(len(examples))]


def word_student() -> None:
    examples = pairs(verses(prose=True, longest=LONGEST), load_tokenizer())
    taught = teachers_probs(examples)
    print("the teachers' distributions are ready", flush=True)

    def loss_of(model: torch.nn.Module, batch: list[int]) -> torch.Tensor:
        """(1 - alpha) times the loss of nmt-0 (smoothed labels) + alpha KL to the teachers, at T = 1: Kim & Rush,
        section 3.1."""
        source, target = (pad([examples[i][side] for i in batch]) for side in (0, 1))
        logits = model(input_ids=source, attention_mask=(source != PAD).long(), decoder_input_ids=target[:, :-1]).logits
        real = target[:, 1:] != PAD
        hard = torch.nn.functional.cross_entropy(logits[real], target[:, 1:][real], label_smoothing=0.1)
        soft = soft_target_loss(logits[real], torch.cat([taught[i] for i in batch]).float(), T=1.0)
        return (1 - ALPHA) * hard + ALPHA * soft

    fit("nmt-word-kd", 0, examples, loss_of, teachers=TEACHERS, level="word", alpha=ALPHA, temperature=1.0)


STUDENTS = {"nmt-word-kd": word_student, "nmt-seq-kd": sequence_student}


def table() -> None:
    """The teachers, their ensemble and the students on all test prose: data/translations.parquet, a column a system and
    search, and data/translation_scores.parquet, their BLEU and chrF."""
    frame, rows = verses(HELD_OUT["prose"]["test"], longest=32), []
    translations = {"ref": frame.ref.to_numpy()}
    sources, references = frame.web.tolist(), [frame.es.tolist()]
    for search in ({"strategy": "greedy"}, {"strategy": "beam", "num_beams": BEAMS}):
        for names in (*([name] for name in TEACHERS), TEACHERS, *([name] for name in STUDENTS)):
            started = time.perf_counter()
            found = translate(names, sources, **search)
            seconds = time.perf_counter() - started
            system = "ensemble" if names is TEACHERS else names[0]
            translations[f"{system} {search['strategy']}"] = found
            rows.append(
                {
                    "system": system,
                    "search": search["strategy"],
                    "verses": len(sources),
                    "bleu": round(sacrebleu.corpus_bleu(found, references).score, 2),
                    "chrf": round(sacrebleu.corpus_chrf(found, references).score, 2),
                }
            )
            print(rows[-1], f"{seconds:.0f} s", flush=True)
    for name, found in (("translations.parquet", translations), ("translation_scores.parquet", rows)):
        pd.DataFrame(found).to_parquet(DATA / f"{name}.partial", index=False)
        (DATA / f"{name}.partial").replace(DATA / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["targets", "table", *STUDENTS])
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    os.environ["MANY_MODELS_THREADS"] = str(options.threads)  # what load_translator obeys
    torch.set_num_threads(options.threads)
    {"targets": targets, "table": table, **STUDENTS}[options.what]()


if __name__ == "__main__":
    main()
