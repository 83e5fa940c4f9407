"""Gradients that pass from one process to the other: each side keeps its part of the graph, and is asked for it.

A result that comes over the wire is a number without history. Here it becomes a node of the graph on this side, whose
backward asks the other side for its gradients. This goes both ways: the judge calls the student's function, and that
function may call one of the judge's (an expert, for example).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

__all__ = ["Graphs", "through"]

Gradients = Sequence[torch.Tensor | None]


class Graphs:
    """The parts of the graph that lie on this side, by number."""

    def __init__(self) -> None:
        self.kept: list[tuple[list[torch.Tensor], list[torch.Tensor]]] = []

    def add(self, given: Sequence[torch.Tensor], made: Sequence[torch.Tensor]) -> int:
        """Keep that `made` was computed from `given`; the number by which the other side asks for it."""
        self.kept.append((list(given), list(made)))
        return len(self.kept) - 1

    def backward(self, number: int, gradients: Gradients) -> list[torch.Tensor | None]:
        """The gradients of `given`, from those of `made`."""
        given, made = self.kept[number]
        pairs = [(tensor, gradient) for tensor, gradient in zip(made, gradients) if gradient is not None]
        tensors, gradients = [tensor for tensor, _ in pairs], [gradient for _, gradient in pairs]
        return list(torch.autograd.grad(tensors, given, gradients, retain_graph=True, allow_unused=True))


def through(
    result: Any, made: Sequence[torch.Tensor], given: Sequence[torch.Tensor], ask: Callable[[Gradients], Gradients]
) -> Any:
    """The result, in which the tensors `made` depend on `given`; ask: their gradients -> those of `given`."""
    new = _Through.apply(ask, list(made), *given)
    return _exchanged(result, dict(zip(map(id, made), new)))


class _Through(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ask: Callable, made: list[torch.Tensor], *given: torch.Tensor) -> tuple:
        ctx.ask = ask
        ctx.set_materialize_grads(False)
        return tuple(tensor.detach().clone() for tensor in made)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor | None) -> tuple:
        return (None, None, *ctx.ask(gradients))


def _exchanged(value: Any, new: dict[int, torch.Tensor]) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_exchanged(item, new) for item in value)
    if isinstance(value, dict):
        return type(value)((key, _exchanged(item, new)) for key, item in value.items())
    return new.get(id(value), value)
