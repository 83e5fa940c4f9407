"""What the checks of 10_refinement_and_diffusion share: compare an answer with the right one, and name what went wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from course_utils.exercises.engine import Mistake, close
from course_utils.exercises.engine.calls import same
from course_utils.exercises.mistakes import Mistakes, recognise
from course_utils.exercises.task_vectors_checks import Complaints, tried

OWN = "Two calls with the same input give two results: you draw random numbers of your own. All that is random is given here."


def uniform(*shape: int, seed: int) -> Tensor:
    """Random numbers in [0, 1)."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def ids(n: int, *shape: int, seed: int) -> Tensor:
    """Random token ids from 0 to n - 1."""
    return torch.randint(n, shape, generator=torch.Generator().manual_seed(seed))


def compare(
    answer: Callable,
    case: tuple,
    reference: Callable,
    cases: Sequence[tuple],
    mistakes: Mistakes,
    right: str,
    clash: str,
    complaints: Complaints = (),
    told: Mapping[tuple[int, ...], str] | None = None,
    look: Callable[[Any, Tensor], None] | None = None,
) -> None:
    """Raise the Mistake that explains why answer(*case) is not reference(*case); return None if it is.

    cases, mistakes: as in `recognise`. right: the sentence that follows "... is 3, expected 4". clash, complaints: what is said of the
    errors that torch raises (`tried`). told: hints by the shape of a result that should have another one. look: what is told
    from the result itself, with the expected one, before anything else.
    """
    expected, got = reference(*case), tried(answer, *case, clash=clash, complaints=complaints)
    if look is not None:
        look(got, expected)
    if isinstance(got, Tensor) and got.shape != expected.shape and tuple(got.shape) in (told or {}):
        raise Mistake(
            f"{told[tuple(got.shape)]} (Yours has shape {tuple(got.shape)}, it should be {tuple(expected.shape)}.)"
        )
    try:
        close(got, expected, what="your result", atol=1e-5)
    except Mistake as mistake:
        recognise(answer, cases, mistakes)
        if not same(got, answer(*case)):
            raise Mistake(OWN) from None
        raise Mistake(f"{mistake} {right}") from None
