"""Checkpoints kept as differences: the same parameters again, to within what float8 can say."""

from __future__ import annotations

import pytest
import torch

from course_utils.pipelines import load_translator
from course_utils.shelf.deltas import difference, restored


def test_a_difference_is_restored():
    generator = torch.Generator().manual_seed(0)
    start = {"w": torch.randn(64, 32, generator=generator), "b": torch.randn(32, generator=generator)}
    state = {name: tensor + 0.02 * torch.randn(tensor.shape, generator=generator) for name, tensor in start.items()}
    saved = difference(start, state)
    assert all(tensor.dtype == torch.float8_e4m3fn for tensor in saved.values())
    for name, tensor in restored(start, saved).items():
        step = (state[name] - start[name]).abs()
        assert ((tensor - state[name]).abs() <= step / 16 + 1e-5).all()  # three bits after the leading one
    assert all(torch.equal(restored(start, difference(start, start))[name], start[name]) for name in start)


def test_a_difference_that_is_too_large_is_refused():
    with pytest.raises(ValueError, match="w differs by 2, at most 1.75"):
        difference({"w": torch.zeros(3)}, {"w": torch.tensor([0.0, 2.0, 0.0])})


def test_the_epochs_of_the_translator_lie_on_a_path_to_its_last_one():
    last = load_translator("nmt-0").model.state_dict()
    epochs = [load_translator(f"nmt-0-epoch-{n}").model.state_dict() for n in (16, 17, 18, 19)]
    away = [sum((tensor - last[name]).square().sum() for name, tensor in epoch.items()) for epoch in epochs]
    assert away == sorted(away, reverse=True) and away[-1] > 0
