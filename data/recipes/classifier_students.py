"""Rebuild data/teacher_logits.parquet, data/classifier_students.parquet and data/student_logits.parquet: what the
classifiers of movie snippets teach a student.

    python data/recipes/classifier_students.py logits      # the twelve on all movie snippets of the training split
    python data/recipes/classifier_students.py students    # five seeds: a student of the best four, and two twins who
                                                           see labels alone: one plain, one with smoothed labels

The student has the first two of the teachers' four layers: half their depth, so that no average of parameters could
make it. A student and its twin have the same start, batches, steps and learning rate, and differ in the loss alone. The
four teachers are the best on validation texts; T, alpha, the smoothing and the student's training were set beforehand,
not searched.
"""

import argparse
import copy
import time

import numpy as np
import pandas as pd
import torch
from soups import DATA, fine_tune, snippets, write
from torch.nn.functional import cross_entropy, nll_loss

from course_utils.distillation import ensemble_targets, kd_loss
from course_utils.shelf.classifiers import Ingredients, balanced_accuracy, load_ingredients, logits_of

T, ALPHA, SMOOTHING, LAYERS, TEACHERS = 2.0, 0.9, 0.1, 2, 4
TRAINING = {"learning_rate": 1e-3, "steps": 300, "weight_decay": 0.1}


def scores(logits: torch.Tensor, labels: torch.Tensor, members: bool = False) -> dict[str, float]:
    """Balanced accuracy and negative log-likelihood (nats a text) of one model (N, 2), or of the mean of M,
    (M, N, 2)."""
    log_probs = ensemble_targets(logits, 1.0).log() if members else logits.log_softmax(-1)
    return {"accuracy": balanced_accuracy(log_probs, labels), "nll": nll_loss(log_probs, labels).item()}


def difference(logits: torch.Tensor) -> np.ndarray:
    """z_positive - z_negative of (texts, 2): the softmax sees nothing else."""
    return (logits[:, 1] - logits[:, 0]).numpy()


def teachers() -> None:
    kitchen = load_ingredients()
    rows = kitchen.encode(snippets("movies", "train")[0])
    columns = {}
    for number, state in enumerate(kitchen.states, 1):
        columns[f"teacher_{number}"] = difference(kitchen.logits(state, rows)).astype("float16")
        print(f"teacher {number} of {len(kitchen.states)}", flush=True)
    write(pd.DataFrame(columns), "teacher_logits.parquet")


def taught() -> torch.Tensor:
    """(12, texts, 2): the softmax sees only differences. The file holds z_positive - z_negative; z_negative gets 0."""
    table = torch.tensor(pd.read_parquet(DATA / "teacher_logits.parquet").to_numpy()).float().T
    return torch.stack([torch.zeros_like(table), table], dim=-1)


def best_teachers(reports: list[dict]) -> list[int]:
    """The numbers (from 0) of the four with the best accuracy on validation texts."""
    return sorted(range(len(reports)), key=lambda i: -reports[i]["accuracy"]["movies validation"])[:TEACHERS]


def student_of(kitchen: Ingredients) -> torch.nn.Module:
    """The start of all fine-tunes, cut to its first layers."""
    model = copy.deepcopy(kitchen.model).requires_grad_(True)
    model.load_state_dict(kitchen.start)
    model.model.layers = model.model.layers[:LAYERS]
    model.config.num_hidden_layers = LAYERS
    return model


def students() -> None:
    kitchen, found, said = load_ingredients(), [], {}
    chosen = best_teachers(kitchen.reports)
    teacher_logits, (texts, labels) = taught()[chosen], snippets("movies", "train")
    rows = kitchen.encode(texts)
    held_out = {split: snippets("movies", split) for split in ("validation", "test")}
    tests = {split: (kitchen.encode(texts), labels) for split, (texts, labels) in held_out.items()}
    losses = {
        "teachers": lambda logits, batch: kd_loss(logits, teacher_logits[:, batch], labels[batch], T, ALPHA),
        "labels": lambda logits, batch: cross_entropy(logits, labels[batch]),
        "smoothed labels": lambda logits, batch: cross_entropy(logits, labels[batch], label_smoothing=SMOOTHING),
    }
    for seed in range(1, 6):
        for told, loss_of in losses.items():
            started, model = time.perf_counter(), student_of(kitchen)
            fine_tune(model, rows, loss_of, TRAINING | {"seed": seed})
            minutes = (time.perf_counter() - started) / 60
            for split, (encoded, wanted) in tests.items():
                logits = logits_of(model, encoded).detach()
                found.append({"seed": seed, "told": told, "split": split} | scores(logits, wanted))
                if split == "test":
                    said[f"{told} {seed}"] = difference(logits)
                print(found[-1], f"{minutes:.1f} min", flush=True)
    for split, (encoded, wanted) in tests.items():
        logits = torch.stack([kitchen.logits(kitchen.states[i], encoded) for i in chosen])
        for i, one in zip(chosen, logits):
            if split == "test":
                said[f"teacher {i}"] = difference(one)
            found.append({"seed": i, "told": "teacher", "split": split} | scores(one, wanted))
        found.append({"seed": 0, "told": "the four teachers", "split": split} | scores(logits, wanted, members=True))
        print(*found[-1 - TEACHERS :], sep="\n", flush=True)
    write(pd.DataFrame(found), "classifier_students.parquet")
    write(pd.DataFrame(said), "student_logits.parquet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["logits", "students"])
    {"logits": teachers, "students": students}[parser.parse_args().what]()


if __name__ == "__main__":
    main()
