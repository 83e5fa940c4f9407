"""Rebuild the character models of verses: two denoisers of discrete diffusion, a left-to-right model and an editor of
their size.

    python data/recipes/denoisers.py verse-absorbing verse-uniform verse-left-to-right verse-edits

The text is the training split of the World English Bible in 27 characters, rows of 128. Network, steps, batches,
learning rate and seed are the same for all; the loss differs: MDLM's for the absorbing process, L_vb (T = 1000) for the
uniform one, the cross-entropy for the left-to-right model. The editor reads rows that were spoiled by single edits, of
which a random share of up to NOISE is no KEEP, and learns the tags that undo them and the first character of each span.
A run that is cut off goes on from its last checkpoint.
"""

import argparse
import time

import torch
from language_models import SCRATCH, descend, publish, resume, save_checkpoint, set_rate
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy

from course_utils.diffusion import discrete as dd
from course_utils.diffusion import discrete as dp
from course_utils.diffusion.edits import TAGS, WRITES, corrupt
from course_utils.shelf import corpora, denoisers
from course_utils.shelf.denoisers import MASK, ROW, K

BATCH, STEPS, WARMUP, PEAK, T, SEED = 32, 4000, 100, 2e-3, 1000, 0
NETWORKS = {
    "verse-uniform": {"vocabulary": K},
    "verse-absorbing": {"vocabulary": K + 1},
    "verse-left-to-right": {"vocabulary": K + 1, "causal": True},
    "verse-edits": {"vocabulary": K + 1, "outputs": len(TAGS) + K},
}
NOISE = 0.4
UNIFORM = dp.uniform_process(dp.even_schedule(T), K)


def training_text() -> torch.Tensor:
    return denoisers.encode(" ".join(denoisers.plain(text) for text in corpora.domain_texts("web")))


def loss_of(name: str, model: denoisers.CharNetwork, x0: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Nats a character on one batch, x0 (B, N); for the denoisers a random draw whose mean is the bound."""
    if name == "verse-left-to-right":
        return cross_entropy(denoisers.left_to_right_log_probs(model, x0).flatten(0, 1), x0.flatten())
    share = dd.even_shares(len(x0), generator)
    if name == "verse-edits":
        return edits_loss(model, x0, share * NOISE, generator)
    if name == "verse-absorbing":
        x_t = dp.mask_tokens(x0, share, MASK, generator)
        return dd.masked_loss(model(x_t, share), x0, x_t, share, MASK)
    t = (share * T).ceil().long().clamp(1, T)
    return dd.vlb_loss(lambda x_t, t: model(x_t, t / T), x0, t, UNIFORM, generator=generator)


def edits_loss(
    model: denoisers.CharNetwork, x0: torch.Tensor, noise: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Nats of the tags a place, and of the characters to be written a place that is written, added."""
    spoiled = [
        corrupt(row, range(K), generator, 1 - s, s / 2, s / 4, s / 4, span=0)
        for row, s in zip(x0.tolist(), noise.tolist())
    ]
    longest = max(len(one.tokens) for one in spoiled)
    drafts, tags = torch.full((len(x0), longest), MASK), torch.full((len(x0), longest + 1), -100)
    written = torch.full((len(x0), longest + 1), -100)
    for i, one in enumerate(spoiled):
        n = len(one.tokens)
        drafts[i, :n] = torch.tensor(one.tokens)
        tags[i, : n + 1] = torch.tensor([TAGS.index(tag) for tag in one.tags])
        places = [j for j, tag in enumerate(one.tags) if tag in WRITES]
        written[i, places] = torch.tensor([span[0] for span in one.replacements], dtype=torch.long)
    tag_log_probs, characters = denoisers.edit_log_probs(model, drafts)
    return sum(cross_entropy(a.flatten(0, 1), b.flatten()) for a, b in ((tag_log_probs, tags), (characters, written)))


@torch.inference_mode()
def bits(name: str, model: denoisers.CharNetwork, split: str, draws: int = 8) -> float:
    """Bits a character on all rows of a split (the mean of several draws of the bound); for the editor its loss in
    bits."""
    data, generator = denoisers.rows(corpora.domain_texts("web", split)), torch.Generator().manual_seed(1)
    draws = 1 if name == "verse-left-to-right" else draws
    losses = [loss_of(name, model, batch, generator) * len(batch) for _ in range(draws) for batch in data.split(64)]
    return dd.bits_per_character(sum(losses).item() / (draws * len(data)), 1, 1)


def train(name: str) -> None:
    torch.manual_seed(SEED)
    model = denoisers.CharNetwork(**NETWORKS[name])
    text = training_text()
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK, betas=(0.9, 0.98), weight_decay=0.01)
    done, seconds = resume(name, model, optimizer)
    started, total = time.perf_counter() - seconds, []
    for step in range(done, STEPS):
        set_rate(optimizer, step, STEPS, WARMUP, PEAK)
        generator = torch.Generator().manual_seed(
            100_000 * SEED + step
        )  # batch and noise of a step: the same after a break
        starts = torch.randint(len(text) - ROW, (BATCH, 1), generator=generator)
        loss = loss_of(name, model, text[starts + torch.arange(ROW)], generator)
        descend(optimizer, loss)
        total.append(loss.item())
        if (step + 1) % 100 == 0 or step + 1 == STEPS:
            seconds = time.perf_counter() - started
            now = dd.bits_per_character(sum(total) / len(total), 1, 1)
            print(f"{name} step {step + 1}/{STEPS} bits {now:.3f} {seconds / 60:.1f} min", flush=True)
            total = []
            save_checkpoint(SCRATCH / f"{name}.pt", model.state_dict(), optimizer, step + 1, seconds)
    model.eval()
    report = {
        "what": "character model of verses",
        "network": NETWORKS[name],
        "parameters": sum(p.numel() for p in model.parameters()),
        "domains": ["web"],
        "seed": SEED,
        "steps": STEPS,
        "characters": STEPS * BATCH * ROW,
        "peak_learning_rate": PEAK,
        "minutes": round((time.perf_counter() - started) / 60, 1),
        "licence": "MIT (text: public domain)",
        "bits_per_character": {split: round(bits(name, model, split), 3) for split in ("validation", "test")},
    }
    partial = SCRATCH / f"{name}.partial"
    partial.mkdir(exist_ok=True)
    save_file({key: value.half() for key, value in model.state_dict().items()}, partial / "model.safetensors")
    publish(partial, name, report)
    (SCRATCH / f"{name}.pt").unlink()
    print(name, report["bits_per_character"], flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="+", choices=NETWORKS)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in options.what:
        train(name)


if __name__ == "__main__":
    main()
