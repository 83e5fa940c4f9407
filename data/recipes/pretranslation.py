"""Rebuild the translators that read Apertium's rule-based translation: pre-translation, Niehues et al. (2016).

    python data/recipes/pretranslation.py nmt-stacked     # source: the English verse, then Apertium's Spanish
                                                          ("mixed input")
    python data/recipes/pretranslation.py nmt-post-edit   # source: Apertium's Spanish alone
    python data/recipes/pretranslation.py table           # data/stacked.parquet: five systems' translations of all test
                                                          prose

Verses, size, seed, epochs, learning rate and the rule that makes batches (verses of similar length) are those of nmt-0
(translation.py): only what the encoder reads differs. A run that is cut off goes on from its last epoch.
"""

import argparse
import os
import time

import pandas as pd
import sacrebleu
import torch
from distillation import BEAMS, TEACHERS, translate
from language_models import MODELS
from translation import DATA, HELD_OUT, LONGEST, fit, load_tokenizer, pairs, sources, translation_loss, verses

# Columns of verses.parquet. The first system must not have learnt from the verses that the second is trained on: it
# would translate them better than new ones, and the second would trust it too much
# (the leak that Wolpert's out-of-fold predictions prevent). Apertium is rules and dictionaries, not trained on the
# verses, so its output of the training verses can be used as it is.
SOURCES = {"nmt-stacked": ["web", "apertium"], "nmt-post-edit": ["apertium"]}


def train(name: str) -> None:
    examples = pairs(verses(prose=True, longest=LONGEST), load_tokenizer(), SOURCES[name])
    fit(
        name,
        0,
        examples,
        lambda model, batch: translation_loss(model, [examples[j] for j in batch], 0.1),
        source=SOURCES[name],
    )


def scores(found: list[str], references: list[str]) -> dict[str, float]:
    return {
        "bleu": round(sacrebleu.corpus_bleu(found, [references]).score, 2),
        "chrf": round(sacrebleu.corpus_chrf(found, [references]).score, 2),
    }


def table() -> None:
    """data/stacked.parquet: the translations with 5 beams, a row for each test verse of prose; prints BLEU and chrF,
    greedy too."""
    frame = verses(HELD_OUT["prose"]["test"], longest=32)
    references = frame.es.tolist()
    systems = {
        "nmt": (["nmt-0"], ["web"]),
        "ensemble": (TEACHERS, ["web"]),
        **{
            name.removeprefix("nmt-").replace("-", "_"): ([name], columns)
            for name, columns in reversed(SOURCES.items())
        },
    }
    found = pd.DataFrame({"ref": frame.ref.to_numpy(), "apertium": frame.apertium.to_numpy()})
    print("apertium", scores(found.apertium.tolist(), references), flush=True)
    for system, (names, columns) in systems.items():
        if missing := [name for name in names if not (MODELS / name).exists()]:
            raise SystemExit(
                f"{missing[0]} is not there: train it first (python data/recipes/pretranslation.py {missing[0]})"
            )
        for search in (
            {"strategy": "greedy"},
            {"strategy": "beam", "num_beams": BEAMS},
        ):  # beam last: its translations are kept
            if search["strategy"] == "greedy" and columns == ["web"]:
                continue  # translation_scores.parquet has them
            started = time.perf_counter()
            found[system] = translate(names, sources(frame, columns), **search)
            seconds = time.perf_counter() - started
            print(
                system, search["strategy"], scores(found[system].tolist(), references), f"{seconds:.0f} s", flush=True
            )
    found.to_parquet(DATA / "stacked.parquet.partial", index=False, compression="zstd")
    (DATA / "stacked.parquet.partial").replace(DATA / "stacked.parquet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="+", choices=[*SOURCES, "table"])
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    os.environ["MANY_MODELS_THREADS"] = str(options.threads)  # what load_translator obeys
    torch.set_num_threads(options.threads)
    for what in options.what:
        table() if what == "table" else train(what)


if __name__ == "__main__":
    main()
