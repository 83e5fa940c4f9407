"""Rebuild data/self_refine.parquet, self_refine_times.parquet and self_refine_code.parquet: what SmolLM2 answers, round
by round, when it refines its own answers.

    python data/recipes/self_refine.py words:32 rewriting:7 times code:8     # the committed files; NAME alone does all
    tasks it has

words       lists of 3 or 4 everyday words, to be put into one sentence; right: all are there (40; the files have 32)
variants    the same lists with the methods that are marked * (not in the files)
rewriting   unkind sentences of held-out reviews (rating <= -1.5), to be made kind; right: VADER calls it positive and
            half of the content words are still there (23; the files have 7)
times       the products a times b of the numbers from 2 to 12, a <= b; right: the last number of the answer is the
            product (66)
code        Python functions with tests, run only in the sandbox (14; the files have 8)

Methods, each a row for each answer. All but `sample` start from the greedy first answer, round 0
    self              the model's own feedback, whole history, up to 3 rounds (rewriting: 2), greedy; ends when it says
                      "It is correct."
    self, plain *     the same with chat.PROMPTS
    self, sampled *   greedy feedback, new answers drawn at temperature 0.8
    self, last *      only the last answer and its feedback are shown
    verifier          feedback by the program that measures, which also ends it; also `verifier, sampled` and `verifier,
                      last` *
    generic           "Try again, make it better.", which never ends it (words only)
    sample            independent draws at temperature 0.8 (times: 0.5), as many as `self` makes calls (7; rewriting:
                      5), for best-of-n and for a vote
`calls` counts the model's calls up to and with the feedback on this answer; the verifier is none, and `sample` counts
its draws.
Code: 4 draws a problem (temperature 0.8), and up to two rounds of repair with the error message for the first 2 of
them.

Prompts are in course_utils.shelf.chat and course_utils.refinement.tasks; they were written on eight other lists of
words and six training snippets. Every call is kept (data/.training/self_refine.jsonl): a run that was cut off goes on.
Draws depend on their own seed only; which prompts share a batch can move a log-probability in its last digits. Needs
MiniLM, see tiers.py.
"""

import argparse
import json
import os
import re
import zlib
from collections.abc import Callable, Sequence
from functools import partial

import pandas as pd
import torch
from tiers import DATA, SCRATCH, MiniLM
from torch import Tensor

from course_utils.ensembling.decoding import CachedLM
from course_utils.refinement import Refined, self_refine, tasks
from course_utils.shelf import corpora
from course_utils.shelf.chat import PROMPTS, roles
from course_utils.shelf.models import LanguageModel, load

TEMPERATURE, BATCH = 0.8, 64
TEMPERATURES = {"times": 0.5}  # of an experiment with another one: at 0.8 few of the products are right
TOKENS = {"words": 48, "rewriting": 48, "times": 24, "code": 128}  # of an answer or of feedback
ROUNDS = {"words": 3, "rewriting": 2, "times": 3}
SNIPPETS, DRAWS, CHAINS, REPAIRS = 30, 4, 2, 2

OATHS = re.compile("fuck|shit", re.IGNORECASE)


class Missing(LookupError):
    """A call that the model has not answered yet."""


class Calls:
    """All calls of the model by (prompt, temperature, seed, max_new_tokens). Experiments run on what is there; `all_of`
    runs them again and again and lets the model answer, in batches, what was missing, until nothing is. So
    `self_refine` runs as it is."""

    def __init__(self, lm: LanguageModel) -> None:
        self.lm, self.path, self.known, self.wanted = lm, SCRATCH / "self_refine.jsonl", {}, {}
        SCRATCH.mkdir(exist_ok=True)
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True) if self.path.exists() else []
        whole = [line for line in lines if line.endswith("\n")]  # the last one may have been cut off
        if len(whole) < len(lines):
            self.path.with_suffix(".partial").write_text("".join(whole), encoding="utf-8")
            self.path.with_suffix(".partial").replace(self.path)
        for key, found in map(json.loads, whole):
            self.known[tuple(key)] = found

    def ask(self, tokens: int, prompt: str, temperature: float = 0.0, seeds: Sequence[int] = (0,)) -> list[dict]:
        """{"answer", "log_prob", "tokens"} for each seed, or Missing."""
        keys = [(prompt, temperature, seed, tokens) for seed in seeds]
        if lacking := [key for key in keys if key not in self.known]:
            self.wanted |= dict.fromkeys(lacking)
            raise Missing
        return [self.known[key] for key in keys]

    def all_of(self, experiments: list[Callable[[], list[dict]]]) -> list[dict]:
        """The rows of all experiments, each a function that may raise Missing."""
        while True:
            rows = []
            for experiment in experiments:
                try:
                    rows += experiment()
                except Missing:
                    pass
            if not self.wanted:
                return rows
            wanted = sorted(self.wanted, key=lambda key: len(key[0]))
            print(f"{len(self.known)} calls so far, {len(wanted)} more", flush=True)
            for start in range(0, len(wanted), BATCH):
                batch = wanted[start : start + BATCH]
                with open(self.path, "a", encoding="utf-8") as file:
                    for key, found in zip(batch, answers(self.lm, batch)):
                        self.known[key] = found
                        file.write(json.dumps([key, found], ensure_ascii=False) + "\n")
            self.wanted = {}


class Padded(CachedLM):
    """Prompts of different lengths in one batch, padded on the left."""

    def __init__(self, model: torch.nn.Module, pads: Tensor) -> None:
        super().__init__(model)
        self.pads = pads

    def _logits(self, new: Tensor, **inputs: object) -> Tensor:
        mask = torch.arange(self._cache.get_seq_length() + new.shape[1]) >= self.pads[:, None]
        positions = (mask.long().cumsum(1) - 1).clamp(min=0)[:, -new.shape[1] :]
        return super()._logits(new, attention_mask=mask.long(), position_ids=positions)

    def reorder(self, rows: Tensor) -> None:
        super().reorder(rows)
        self.pads = self.pads[rows]


@torch.inference_mode()
def answers(lm: LanguageModel, batch: list[tuple]) -> list[dict]:
    """What `local_chat` answers to each key (prompt, temperature, seed, max_new_tokens), with the answer's
    log-probability, its end of turn included, and its number of tokens. Rows that have ended leave the batch; a row
    draws by argmax(log p / T + Gumbel noise)."""
    turns = [
        lm.tokenizer.apply_chat_template(
            [{"role": "user", "content": key[0]}], tokenize=False, add_generation_prompt=True
        )
        for key in batch
    ]
    prompts, eos = [lm.encode(turn) for turn in turns], lm.tokenizer.eos_token_id
    longest = max(map(len, prompts))
    pads = torch.tensor([longest - len(ids) for ids in prompts])
    ids = torch.stack([torch.nn.functional.pad(row, (longest - len(row), 0), value=eos) for row in prompts])
    generators = [torch.Generator().manual_seed(key[2]) for key in batch]
    member, open_rows = Padded(lm.model, pads), list(range(len(batch)))
    said, total = [[] for _ in batch], [0.0] * len(batch)
    for _ in range(batch[0][3]):
        log_probs = member(ids)
        tokens = log_probs.argmax(1)
        for i, row in enumerate(open_rows):
            if batch[row][1] > 0:
                noise = -torch.empty(log_probs.shape[1]).exponential_(generator=generators[row]).log()
                tokens[i] = (log_probs[i] / batch[row][1] + noise).argmax()
            said[row].append(int(tokens[i]))
            total[row] += float(log_probs[i, tokens[i]])
        stay = (tokens != eos).nonzero()[:, 0]
        if not len(stay):
            break
        open_rows, ids = [open_rows[i] for i in stay], torch.cat([ids, tokens[:, None]], dim=1)[stay]
        if len(stay) < len(tokens):
            member.reorder(stay)
    return [
        {
            "answer": lm.tokenizer.decode(row, skip_special_tokens=True).strip(),
            "log_prob": round(value, 3),
            "tokens": len(row),
        }
        for row, value in zip(said, total)
    ]


def seed_of(*name: object) -> int:
    return zlib.crc32("/".join(map(str, name)).encode())


def sentences(
    calls: Calls, experiment: str, task: str, number: int, target: str, prompts: dict, verify: Callable, method: str
) -> list[dict]:
    """One method on one task, a row for each answer."""
    kind, _, variant = method.partition(", ")
    if variant == "plain":
        prompts = PROMPTS
    asked = []  # every call of a new answer, in order

    def greedy(prompt: str) -> str:
        return calls.ask(TOKENS[experiment], prompt)[0]["answer"]

    def answer(prompt: str, sampled: bool = False) -> str:
        seed = seed_of(experiment, number, method, len(asked))
        asked.extend(calls.ask(TOKENS[experiment], prompt, *([TEMPERATURE, [seed]] if sampled else [])))
        return asked[-1]["answer"]

    _, own_feedback, _, stop = roles(greedy, prompts)
    rewrite = roles(partial(answer, sampled=variant == "sampled"), prompts)[2]
    if kind == "sample":
        seeds = [seed_of(experiment, number, method, draw) for draw in range(1 + 2 * ROUNDS[experiment])]
        temperature = TEMPERATURES.get(experiment, TEMPERATURE)
        asked += calls.ask(TOKENS[experiment], prompts["generate"].format(task=task), temperature, seeds)
        run = Refined([found["answer"] for found in asked], [], False)
    else:
        feedback = {"self": own_feedback, "verifier": lambda x, y: verify(y), "generic": lambda x, y: tasks.GENERIC}[
            kind
        ]
        run = self_refine(
            task,
            lambda x: answer(prompts["generate"].format(task=x)),
            feedback,
            lambda x, history: rewrite(x, history[-1:] if variant == "last" else history),
            stop,
            ROUNDS[experiment],
        )
    feedbacks = [*run.feedbacks, *[""] * (len(run.answers) - len(run.feedbacks))]
    return [
        {
            "experiment": experiment,
            "task_id": number,
            "method": method,
            "round": t,
            "task": task,
            "target": target,
            "answer": text,
            "feedback": said,
            "calls": 1 + t + (t + bool(said) if kind == "self" else 0),
            "log_prob": found["log_prob"],
            "tokens": found["tokens"],
        }
        for t, (text, said, found) in enumerate(zip(run.answers, feedbacks, asked))
    ]


def unkind() -> dict[int, str]:
    """Held-out sentences of reviews that people and VADER call negative, of 6 to 20 words, three of which or more
    should be kept. Position -> text. (An editorial on a war is not to be made cheerful, and an oath need not stand in a
    notebook.)"""
    frame = pd.concat([corpora.snippets()[split].to_pandas() for split in ("validation", "test")], ignore_index=True)
    frame = frame[
        (frame.rating <= -1.5) & frame.text.str.split().str.len().between(6, 20) & ~frame.text.str.contains("@")
    ]
    frame = frame[[tasks.tone(text) <= -tasks.KIND and len(tasks.content_words(text)) >= 3 for text in frame.text]]
    drawn = frame.sample(SNIPPETS, random_state=0)
    return {
        number: text
        for number, (text, domain) in enumerate(zip(drawn.text, drawn.domain))
        if domain in ("movies", "amazon") and not OATHS.search(text)
    }


def of_words(calls: Calls, n: int, methods: list[str]) -> pd.DataFrame:
    plan = [
        partial(
            sentences,
            calls,
            "words",
            tasks.words_task(row.split()),
            number,
            row,
            tasks.WORDS,
            partial(tasks.words_feedback, keywords=row.split()),
            method,
        )
        for number, row in enumerate(tasks.LISTS[:n])
        for method in methods
    ]
    frame = pd.DataFrame(calls.all_of(plan))
    frame["score"] = [tasks.coverage(answer, target.split()) for answer, target in zip(frame.answer, frame.target)]
    frame["right"] = frame.score == 1
    return frame


def times(calls: Calls, n: int) -> pd.DataFrame:
    products = [(a, b) for a in range(2, 13) for b in range(a, 13)][:n]
    plan = [
        partial(
            sentences,
            calls,
            "times",
            tasks.times_task(a, b),
            number,
            str(a * b),
            tasks.TIMES,
            partial(tasks.times_feedback, a=a, b=b),
            method,
        )
        for number, (a, b) in enumerate(products)
        for method in ("self", "verifier", "sample")
    ]
    frame = pd.DataFrame(calls.all_of(plan))
    frame["number"] = [tasks.number(answer) for answer in frame.answer]
    frame["right"] = frame.number == frame.target.astype(int)
    return frame.astype({"number": "Int64"})


def rewriting(calls: Calls, n: int) -> pd.DataFrame:
    plan = [
        partial(
            sentences,
            calls,
            "rewriting",
            tasks.rewriting_task(source),
            number,
            source,
            tasks.REWRITING,
            partial(tasks.kind_feedback, source=source),
            method,
        )
        for number, source in list(unkind().items())[:n]
        for method in ("self", "verifier", "sample", "verifier, sampled")
    ]
    frame = pd.DataFrame(calls.all_of(plan))
    frame["score"] = [tasks.tone(answer) for answer in frame.answer]
    frame["kept"] = [tasks.kept(answer, source) for answer, source in zip(frame.answer, frame.target)]
    frame["right"] = (frame.score >= tasks.KIND) & (frame.kept >= tasks.KEPT)
    texts = sorted({*frame.answer, *frame.target})
    encode = MiniLM()
    vectors = dict(
        zip(texts, (vector for start in range(0, len(texts), 32) for vector in encode(texts[start : start + 32])))
    )
    frame["cosine"] = [float(vectors[answer] @ vectors[source]) for answer, source in zip(frame.answer, frame.target)]
    return frame


def repairs(calls: Calls, number: int, draw: int) -> list[dict]:
    """One drawn program and, while its tests fail, its repairs; only drawn for draws from CHAINS up."""
    signature, what, cases = tasks.PROBLEMS[number]
    task, tests = tasks.code_task(signature, what), tasks.with_tests(cases)
    rows = []

    def write(prompt: str) -> str:
        found = calls.ask(TOKENS["code"], prompt, TEMPERATURE, [seed_of("code", number, draw, len(rows))])[0]
        code = tasks.program(found["answer"])
        ran = tasks.run_tests(code, tests)
        rows.append(
            {
                "problem": signature.split("(")[0],
                "draw": draw,
                "round": len(rows),
                "task": task,
                "tests": tests,
                "program": code,
                "status": ran.status,
                "message": ran.message,
                "right": ran.status == "ok",
                "calls": 1 + len(rows),
                "log_prob": found["log_prob"],
                "tokens": found["tokens"],
            }
        )
        return code

    first, _, refine, stop = roles(write, tasks.CODE)
    self_refine(
        task,
        first,
        lambda x, y: PROMPTS["done"] if rows[-1]["right"] else rows[-1]["message"],
        refine,
        stop,
        REPAIRS if draw < CHAINS else 0,
    )
    return rows


def code(calls: Calls, n: int) -> pd.DataFrame:
    frame = pd.DataFrame(
        calls.all_of(
            [partial(repairs, calls, i, draw) for i in range(len(tasks.PROBLEMS[:n])) for draw in range(DRAWS)]
        )
    )
    if (frame.status == "unavailable").any():
        raise SystemExit(f"nothing is written: {frame.message[frame.status == 'unavailable'].iloc[0]}")
    return frame


def write(frame: pd.DataFrame, name: str) -> None:
    types = {
        "task_id": "int8",
        "round": "int8",
        "calls": "int8",
        "tokens": "int16",
        "log_prob": "float32",
        "score": "float32",
        "kept": "float32",
        "cosine": "float32",
    }
    path = DATA / f"{name}.parquet"
    frame = frame.astype({column: kind for column, kind in types.items() if column in frame})
    frame.to_parquet(path.with_suffix(".partial"), index=False, compression="zstd", compression_level=19)
    path.with_suffix(".partial").replace(path)
    print(path.name, len(frame), "rows", f"{path.stat().st_size / 1e3:.0f} kB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "what", nargs="+", help="words, variants, rewriting, times, code; words:20 does the first 20 tasks only"
    )
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    sizes = {name: int(n or 99) for name, _, n in (what.partition(":") for what in options.what)}
    if unknown := sizes.keys() - EXPERIMENTS.keys():
        parser.error(f"no experiment {', '.join(sorted(unknown))}: choose of {', '.join(EXPERIMENTS)}")
    os.environ["MANY_MODELS_THREADS"] = str(options.threads)  # what load() obeys
    calls, found = Calls(load("smollm2")), []
    for name, n in sizes.items():
        frame = EXPERIMENTS[name](calls, n)
        if name in ("code", "times"):
            write(frame, f"self_refine_{name}")
        else:
            found.append(frame)
            write(pd.concat(found, ignore_index=True), "self_refine")


EXPERIMENTS = {
    "words": partial(of_words, methods=["self", "verifier", "generic", "sample", "verifier, sampled"]),
    "variants": partial(of_words, methods=["self, sampled", "self, last", "verifier, last", "self, plain"]),
    "rewriting": rewriting,
    "times": times,
    "code": code,
}

if __name__ == "__main__":
    main()
