"""Permuting hidden units changes nothing, matching finds the permutation again, and the barrier is a barrier."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from course_utils.merging import average
from course_utils.merging.alignment import loss_barrier, match_weights, permute_units

LAYERS = ["0", "2", "4"]


def mlp(seed: int, sizes: tuple[int, ...] = (10, 16, 12, 4)) -> nn.Sequential:
    torch.manual_seed(seed)
    modules = [module for n, m in zip(sizes[:-1], sizes[1:]) for module in (nn.Linear(n, m), nn.ReLU())]
    return nn.Sequential(*modules[:-1])


def with_state(state: dict) -> nn.Sequential:
    model = mlp(0)
    model.load_state_dict(state)
    return model


def shuffled(state: dict, seed: int) -> dict:
    generator = torch.Generator().manual_seed(seed)
    for layer, following in zip(LAYERS[:-1], LAYERS[1:]):
        perm = torch.randperm(len(state[f"{layer}.weight"]), generator=generator)
        state = permute_units(state, layer, following, perm)
    return state


@pytest.mark.parametrize("seed", range(5))
def test_the_function_stays_and_the_weights_move(seed):
    model, x = mlp(seed), torch.randn(50, 10, generator=torch.Generator().manual_seed(seed))
    state = shuffled(model.state_dict(), seed)
    torch.testing.assert_close(with_state(state)(x), model(x), atol=1e-5, rtol=1e-5)
    assert not torch.equal(state["2.weight"], model.state_dict()["2.weight"])
    before, moved = model.state_dict(), torch.arange(1, 17) % 16
    assert torch.equal(permute_units(before, "0", "2", moved)["0.bias"], before["0.bias"][moved])


@pytest.mark.parametrize("seed", range(5))
def test_matching_finds_a_permutation_again(seed):
    """b is a with its units shuffled and a little noise: aligned, it must lie next to a again."""
    a = mlp(seed).state_dict()
    noise = {name: torch.randn(w.shape, generator=torch.Generator().manual_seed(9)) for name, w in a.items()}
    noisy = {name: tensor + 0.01 * noise[name] for name, tensor in a.items()}
    b = shuffled(noisy, seed + 100)
    aligned = match_weights(a, b, LAYERS)
    for name in a:
        torch.testing.assert_close(aligned[name], noisy[name])
    x = torch.randn(50, 10)
    torch.testing.assert_close(with_state(aligned)(x), with_state(b)(x), atol=1e-5, rtol=1e-5)


def test_matching_never_moves_two_networks_apart():
    a, b = mlp(1).state_dict(), mlp(2).state_dict()

    def distance(p: dict, q: dict) -> float:
        return sum((p[name] - q[name]).square().sum().item() for name in p)

    aligned = match_weights(a, b, LAYERS)
    assert distance(a, aligned) < distance(a, b)
    again = match_weights(a, aligned, LAYERS)
    assert all(torch.equal(again[name], aligned[name]) for name in a)  # nothing is left to gain


def test_average_of_a_network_and_its_own_permutation_fails_and_is_restored():
    """The same function twice: the plain average is another function, the aligned one is the function itself."""
    model, x = mlp(3), torch.randn(200, 10, generator=torch.Generator().manual_seed(0))
    other, target = shuffled(model.state_dict(), 7), model(x)

    def error(state: dict) -> float:
        return ((with_state(state)(x) - target).square().mean() / target.var(dim=0).mean()).item()

    assert error(average([model.state_dict(), other])) > 0.2
    assert error(average([model.state_dict(), match_weights(model.state_dict(), other, LAYERS)])) < 1e-8


def test_inputs_are_not_touched():
    a, b = mlp(0).state_dict(), mlp(1).state_dict()
    before = {name: tensor.clone() for name, tensor in b.items()}
    match_weights(a, b, LAYERS)
    permute_units(b, "0", "2", torch.arange(15, -1, -1))
    assert all(torch.equal(b[name], before[name]) for name in b)


def test_bad_permutations_are_one_line():
    state = mlp(0).state_dict()
    with pytest.raises(ValueError, match="each of 0 ... 15 once"):
        permute_units(state, "0", "2", torch.zeros(16, dtype=torch.long))
    with pytest.raises(ValueError, match="there is no 7.weight in the state dict: it has 0.weight"):
        permute_units(state, "0", "7", torch.arange(16))


@pytest.mark.parametrize(
    "losses, barrier",
    [
        ([1, 1, 1], 0),
        ([0, 2, 0], 2),
        ([0, 1, 2], 0),
        ([1, 3, 2], 1.5),
        ([2, 0, 1], 0),
        ([0, 0, 3, 1, 1], 2.5),
    ],
)
def test_loss_barrier(losses, barrier):
    for given in (losses, torch.tensor(losses, dtype=torch.float32)):
        assert loss_barrier(given) == pytest.approx(barrier)


def test_loss_barrier_needs_a_path():
    with pytest.raises(ValueError, match="three points"):
        loss_barrier([1.0, 2.0])
