"""Small character models of verses, all of one network: two denoisers, a left-to-right model, an editor.

A text is a row of ids of ALPHABET, as in the benchmark text8: 26 lower-case letters and the space, K = 27, and nothing
else. The absorbing process has one id more, MASK. They differ in what they may look at, a denoiser at the whole row,
the left-to-right model at what came before, and the editor in its output: a tag for each character. Recipe:
data/recipes/denoisers.py.
"""

from __future__ import annotations

import functools
import json
import math
import re
import unicodedata
from collections.abc import Sequence

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import gelu, pad

from course_utils.diffusion.edits import INSERT, KEEP, TAGS, WRITES
from course_utils.shelf.assets import brief
from course_utils.shelf.device import on_device
from course_utils.shelf.models import ModelError, data_dir, set_threads

ALPHABET = "abcdefghijklmnopqrstuvwxyz "
K, MASK, ROW = len(ALPHABET), len(ALPHABET), 128  # MASK: the id after the last character; ROW: the longest row
NAMES = ("uniform", "absorbing", "left-to-right", "edits")


def plain(text: str) -> str:
    """The text in ALPHABET: accents dropped, lower case, everything else between two words one space."""
    letters = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower().replace("'", "")
    return re.sub("[^a-z]+", " ", letters).strip()


def encode(text: str) -> Tensor:
    """Ids (N,) of a text in ALPHABET; "_" is MASK. Raises ValueError: another character (see `plain`)."""
    if strange := set(text) - set(ALPHABET) - {"_"}:
        raise ValueError(
            f"only a-z, the space and _ for the mask have ids, got {''.join(sorted(strange))!r}: see plain()"
        )
    return torch.tensor([MASK if c == "_" else ALPHABET.index(c) for c in text], dtype=torch.long)


def decode(ids: Tensor | Sequence[int]) -> str:
    """The text of ids (N,); MASK becomes "_"."""
    return "".join((ALPHABET + "_")[i] for i in torch.as_tensor(ids).tolist())


def rows(texts: Sequence[str], length: int = ROW) -> Tensor:
    """All texts in ALPHABET, joined by spaces and cut into rows: (rows, length); what is left at the end is dropped."""
    ids = encode(" ".join(plain(text) for text in texts))
    return ids[: len(ids) // length * length].view(-1, length)


class CharNetwork(nn.Module):
    """Ids (B, N) and a share (B,) in [0, 1] of what is lost -> logits (B, N, outputs), by default one for each id of
    the vocabulary.

    Residual blocks of a convolution over 5 places, `dilations` apart, so that the six see 141 characters; the share is
    told to every place by eight sines and cosines of it. `causal`: place i sees places 0..i only, and its logits are
    those of character i + 1. Source: van den Oord et al. (2016), WaveNet, section 2.1.
    """

    def __init__(
        self,
        vocabulary: int,
        outputs: int | None = None,
        causal: bool = False,
        width: int = 112,
        dilations: Sequence[int] = (1, 2, 4, 8, 16, 4),
    ):
        super().__init__()
        self.causal = causal
        self.characters, self.share = nn.Embedding(vocabulary, width), nn.Linear(16, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in dilations)
        ends = [0 if causal else 2 * d for d in dilations]  # zeros that the convolution itself puts at both ends
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, width, 5, dilation=d, padding=end) for d, end in zip(dilations, ends)
        )
        self.mixers = nn.ModuleList(nn.Linear(width, width) for _ in dilations)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, outputs or vocabulary))

    def forward(self, ids: Tensor, share: Tensor) -> Tensor:
        angles = share[:, None].to(self.share.weight) * math.pi * 2.0 ** torch.arange(8, device=share.device)
        told = self.share(torch.cat([angles.sin(), angles.cos()], dim=1))[:, None]  # (B, 1, width)
        h = self.characters(ids)  # (B, N, width)
        for norm, convolution, mixer in zip(self.norms, self.convolutions, self.mixers):
            seen = (norm(h) + told).transpose(1, 2)  # (B, width, N)
            if self.causal:
                seen = pad(seen, (4 * convolution.dilation[0], 0))
            h = h + mixer(gelu(convolution(seen)).transpose(1, 2))
        return self.head(h)


def left_to_right_log_probs(model: CharNetwork, ids: Tensor) -> Tensor:
    """log P(character i | characters before it), (B, N, K), for ids (B, N); MASK stands before the first."""
    before = torch.cat([torch.full_like(ids[:, :1], MASK), ids[:, :-1]], dim=1)
    return model(before, torch.zeros(len(ids)))[..., :K].log_softmax(dim=-1)


def edit_log_probs(network: CharNetwork, drafts: Tensor) -> tuple[Tensor, Tensor]:
    """log P(tag), (B, N + 1, 4) in the order of `edits.TAGS`, and log P(character to write), (B, N + 1, K).

    drafts (B, N): for the start, which MASK stands for, and each character. What REPLACE and INSERT write is one
    character: longer spans take several steps, each with the last one already in place. Source: Reid et al. (2022),
    section 3, tagger and generator.
    """
    start = torch.full_like(drafts[:, :1], MASK)
    logits = network(torch.cat([start, drafts], dim=1), torch.zeros(len(drafts)))
    tags = logits[..., : len(TAGS)].clone()
    tags[:, 0, [i for i, tag in enumerate(TAGS) if tag not in (KEEP, INSERT)]] = -math.inf
    return tags.log_softmax(dim=-1), logits[..., len(TAGS) :].log_softmax(dim=-1)


@torch.no_grad()
def edit_step(network: CharNetwork, draft: str, share: float = 0.5) -> tuple[list[str], list[str], list[list[str]]]:
    """The draft's characters and the edits of one step: `edits.apply_tags(*edit_step(...))` is the next draft.

    Wanted is every edit more probable than KEEP; done is the most certain `share` of them, at least one, by the
    probability of the tag and of the character: what is done first helps to decide the rest. Nothing is wanted: all
    tags are KEEP.
    Raises ValueError: share outside (0, 1], as `encode`.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must be in (0, 1], got {share}")
    tag_log_probs, characters = edit_log_probs(network, encode(draft)[None])
    best, tags = tag_log_probs[0].max(dim=1)
    sure, written = characters[0].max(dim=1)
    writes = torch.tensor([TAGS[tag] in WRITES for tag in tags.tolist()])
    certainty = (best + torch.where(writes, sure, 0)).masked_fill(tags == TAGS.index(KEEP), -math.inf)
    wanted = int(certainty.isfinite().sum())
    chosen = set(certainty.argsort(descending=True, stable=True)[: math.ceil(share * wanted)].tolist())
    done = [TAGS[tag] if i in chosen else KEEP for i, tag in enumerate(tags.tolist())]
    return list(draft), done, [[ALPHABET[character]] for tag, character in zip(done, written.tolist()) if tag in WRITES]


@functools.cache
def load_denoiser(name: str) -> CharNetwork:
    """ "uniform", "absorbing", "left-to-right" or "edits", in float32, ready to be used.

    Raises ValueError: another name; ModelError, one line: a file is missing or damaged."""
    if name not in NAMES:
        raise ValueError(f"no denoiser {name!r}: choose one of {', '.join(NAMES)}")
    folder = data_dir() / "models" / f"verse-{name}"
    set_threads()
    try:
        sizes = json.loads((folder / "training.json").read_text(encoding="utf-8"))["network"]
        model = CharNetwork(**sizes)
        model.load_state_dict({key: value.float() for key, value in load_file(folder / "model.safetensors").items()})
    except Exception as error:  # a missing or damaged file: many classes
        raise ModelError(
            f"the denoiser cannot be loaded from {folder} ({brief(error, 150)}):"
            " restore it with `git checkout data/models` or rebuild it with data/recipes/denoisers.py"
        ) from error
    return on_device(model.eval().requires_grad_(False))
