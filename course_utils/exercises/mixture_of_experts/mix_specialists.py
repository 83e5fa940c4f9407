"""Several specialists become one mixture: their feed-forward layers are stacked, the rest is averaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from course_utils.exercises.engine import Exercise, Mistake, case, draw
from course_utils.merging.averaging import average

Weights = dict[str, Tensor]
EXPERT = ("gate_proj", "up_proj", "down_proj")


def mix_specialists(blocks: Sequence[Weights]) -> Weights:
    """One block of a mixture from the same block of E models.

    blocks: E dicts with gate_proj (h, d), up_proj (h, d), down_proj (d, h) and any other names, the same in each.
    Returns gate_up_proj (E, 2h, d), the rows of gate_proj above those of up_proj, down_proj (E, d, h), and the mean of
    every other tensor under its name.
    Raises ValueError: no blocks, names or shapes that differ. Source: Sukhbaatar et al. (2024), Branch-Train-MiX.
    """
    mixed = {name: tensor for name, tensor in average(blocks).items() if name not in EXPERT}
    mixed["gate_up_proj"] = torch.stack([torch.cat([block["gate_proj"], block["up_proj"]]) for block in blocks])
    mixed["down_proj"] = torch.stack([block["down_proj"] for block in blocks])
    return mixed


def _blocks(seed: int, experts: int = 3, d: int = 4, h: int = 4, **others: tuple[int, ...]) -> list[Weights]:
    shapes = {"gate_proj": (h, d), "up_proj": (h, d), "down_proj": (d, h), **others}
    return [
        {name: draw(*shape, seed=seed + 10 * i + j) for j, (name, shape) in enumerate(shapes.items())}
        for i in range(experts)
    ]


def _changed(**wrong: Callable) -> Callable:
    """An answer with other values under some names: wrong gets the list of blocks; None leaves the name out."""

    def answer(blocks: Sequence[Weights]) -> Weights:
        made = {**mix_specialists(blocks), **{name: find and find(blocks) for name, find in wrong.items()}}
        return {name: value for name, value in made.items() if value is not None}

    return answer


def _rest(find: Callable) -> Callable:
    """An answer that makes something else than the mean of all that is no expert: find(E tensors, stacked)."""

    def answer(blocks: Sequence[Weights]) -> Weights:
        made = mix_specialists(blocks)
        others = [name for name in made if name not in ("gate_up_proj", "down_proj")]
        return {**made, **{name: find(torch.stack([block[name] for block in blocks])) for name in others}}

    return answer


def _experts(blocks: Sequence[Weights], make: Callable) -> Tensor:
    """make(gate_proj, up_proj) of each block, stacked."""
    return torch.stack([make(block["gate_proj"], block["up_proj"]) for block in blocks])


def _down(blocks: Sequence[Weights]) -> Tensor:
    return torch.stack([block["down_proj"] for block in blocks])


def _averaged(blocks: Sequence[Weights]) -> Weights:
    """Experts that are all the mean."""
    made = mix_specialists(blocks)
    return {**made, **{n: made[n].mean(0, keepdim=True).expand_as(made[n]) for n in ("gate_up_proj", "down_proj")}}


def _explain(got: Any, expected: Weights, blocks: Sequence[Weights]) -> str:
    if not isinstance(got, dict):
        return ""
    kept = [name for name in EXPERT[:2] if name in got]
    if kept and "gate_up_proj" not in got:
        raise Mistake("gate_proj and up_proj stand apart: the mixture has one tensor for both, gate_up_proj.", ABOVE)
    if kept:
        raise Mistake(f"{kept[0]} is in the result too, but it is no part of the mixture any more.", ABOVE)
    if missing := [name for name in expected if name not in got]:
        raise Mistake(f"{missing[0]} is missing: whatever is no expert is averaged, under any name.", ANY_NAME)
    return ""


ABOVE = "gate_up_proj[i] is (2h, d): the rows of gate_proj of model i, below them those of up_proj."
ANY_NAME = "Loop over the names of the first block, and leave out the three of the feed-forward layer."
STACK = "torch.stack gives the experts an axis of their own, in front; torch.cat would make them one."

EXERCISE = Exercise(
    "mixture_of_experts.mix_specialists",
    reference=mix_specialists,
    what="your result",
    right="Experts are stacked, (E, ...), gate_proj above up_proj; everything else is the mean of the models.",
    explain=_explain,
    cases=[
        case("three models whose layer is as wide as the model", _blocks(801, norm=(4,), attention=(4, 4))),
        case("two models of other sizes", _blocks(841, 2, d=3, h=5, norm=(3,), attention=(3, 3))),
        case("four models, and other names for the rest", _blocks(881, 4, d=2, h=3, q_proj=(2, 2), embedding=(7, 2))),
        case("one model: its layer is the only expert", _blocks(901, 1, d=3, h=2, norm=(3,))),
        case("nothing but the feed-forward layers", _blocks(921, 2, d=3, h=2)),
    ],
    errors={
        r"KeyError.*(norm|attention|q_proj|embedding)": ANY_NAME,
        "shapes": "The shapes do not line up: gate_proj and up_proj are (h, d), down_proj is (d, h).",
    },
    mistakes={
        f"The experts are averaged too: that is one dense model, the soup, E times.\n{STACK}": [
            _averaged,
            _changed(gate_up_proj=lambda b: _experts(b, lambda g, u: torch.cat([g, u])).mean(0)),
            _changed(
                gate_up_proj=lambda b: _experts(b, lambda g, u: torch.cat([g, u])).mean(0),
                down_proj=lambda b: _down(b).mean(0),
            ),
        ],
        "down_proj is averaged: it is a part of the expert, as gate_proj and up_proj are.": [
            _changed(down_proj=lambda b: _down(b).mean(0)),
            _changed(down_proj=lambda b: _down(b).mean(0, keepdim=True).expand(len(b), -1, -1)),
        ],
        "The rows of up_proj stand above those of gate_proj: silu would be taken of the wrong half.\n"
        "The order is gate_proj, up_proj.": _changed(
            gate_up_proj=lambda b: _experts(b, lambda g, u: torch.cat([u, g]))
        ),
        "down_proj is transposed: it stays (d, h), and the stack is (E, d, h).": _changed(
            down_proj=lambda b: _down(b).transpose(1, 2)
        ),
        "gate_up_proj is transposed: it is (E, 2h, d), as a layer's weight, which has a row for each output.": _changed(
            gate_up_proj=lambda b: _experts(b, lambda g, u: torch.cat([g, u]).T)
        ),
        f"gate_proj and up_proj stand side by side: join their rows, dim 0.\n{ABOVE}": _changed(
            gate_up_proj=lambda b: _experts(b, lambda g, u: torch.cat([g, u], dim=1))
        ),
        f"gate_proj and up_proj have an axis of their own: they are joined, not stacked.\n{ABOVE}": _changed(
            gate_up_proj=lambda b: _experts(b, lambda g, u: torch.stack([g, u]))
        ),
        "The rows of gate_proj and up_proj take turns: first come all of gate_proj, then all of up_proj.": _changed(
            gate_up_proj=lambda b: _experts(b, lambda g, u: torch.stack([g, u], 1).flatten(0, 1))
        ),
        f"The experts of all models are joined to one wide layer.\n{STACK}": [
            _changed(gate_up_proj=lambda b: _experts(b, lambda g, u: torch.cat([g, u])).flatten(0, 1)),
            _changed(
                gate_up_proj=lambda b: _experts(b, lambda g, u: torch.cat([g, u])).flatten(0, 1),
                down_proj=lambda b: _down(b).flatten(0, 1),
            ),
            _changed(
                gate_up_proj=lambda b: _experts(b, lambda g, u: torch.cat([g, u])).flatten(0, 1),
                down_proj=lambda b: torch.cat(list(_down(b)), dim=1),
            ),
        ],
        "The axis of the experts is not the first one: stack along dim 0.": [
            _changed(gate_up_proj=lambda b, at=at: _experts(b, lambda g, u: torch.cat([g, u])).movedim(0, at))
            for at in (1, 2)
        ],
        "up_proj is missing: each expert needs both halves.": _changed(
            gate_up_proj=lambda b: _experts(b, lambda g, u: g)
        ),
        "The rest is the first model's: it is the mean of all of them.": _rest(lambda tensors: tensors[0]),
        "The rest is the last model's: it is the mean of all of them.": _rest(lambda tensors: tensors[-1]),
        "The rest is added up: a mean is divided by the number of models.": _rest(lambda tensors: tensors.sum(0)),
        "The rest is stacked too: only the feed-forward layers become experts, all else is averaged.": _rest(
            lambda tensors: tensors
        ),
        "The rest is the median of the models: it is their mean.": _rest(lambda tensors: tensors.median(0).values),
        "The experts stand in the reverse order: expert i is model i.": _changed(
            gate_up_proj=lambda b: _experts(b, lambda g, u: torch.cat([g, u])).flip(0),
            down_proj=lambda b: _down(b).flip(0),
        ),
    },
    hints=[
        "Which of the tensors make an expert? What becomes of all others?",
        "Two torch.stack over the models, one of torch.cat([gate_proj, up_proj]), one of down_proj. For each other "
        "name the mean of the models' tensors.",
        'mixed["gate_up_proj"] = torch.stack([torch.cat([b["gate_proj"], b["up_proj"]]) for b in blocks]); down_proj '
        "likewise; for each other name torch.stack([b[name] for b in blocks]).mean(0)",
    ],
)
