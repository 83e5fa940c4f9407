"""The lecture's seven merging methods, Model Stock and DELLA: ``(base, models, **params)``, state dict in and out.

    merged = METHODS["ties"](base, [fine_tuned_1, fine_tuned_2], density=0.2)           # as in the paper
    merged = METHODS["ties"](base, models, density=0.5, **MERGEKIT["ties"])              # as mergekit does it

Inputs are never changed; floats are computed in float32 (float64 if they are) and come back in the dtype of the base,
or of the first model where no base is used. A difference is taken in the models' common dtype, as in mergekit: close
numbers lose nothing by it. Whole numbers and booleans have to be equal in all models. Names that share one tensor
(tied weights) are merged once and stay tied. ValueError names the tensor if names, shapes or whole numbers differ.

Each method is a generator over pieces of ONE tensor, given as the same stretch of every model, so that a tensor that is
larger than memory can be merged too (``merging.command`` does that). Where a method differs from mergekit's, an option
says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial, reduce

import torch
from torch import Tensor

from course_utils.merging.checkpoints import stack_layers
from course_utils.merging.task_vectors import (
    Largest,
    Mask,
    RandomShare,
    RankedShare,
    StateDict,
    check_choice,
    check_whole_numbers,
    check_window,
    disjoint_mean,
    elect_sign,
    float_dtype,
    in_whole_rows,
    keep_count,
    matching_states,
    normalised,
    ratio_from_products,
    seed_for,
    slerp_coefficients,
)

State = Mapping[str, Tensor]
Models = Sequence[State]
PerModel = float | Iterable[float]  # one number for all models, or one for each
Pieces = Callable[..., Iterator[list[Tensor]]]  # pieces(): stretches of all models; pieces(0, 2): of these two only
TauPieces = Callable[[], Iterator[Tensor]]  # those of one task vector
Sparsify = Callable[[int, TauPieces], Callable[[Tensor], Tensor]]

# Options that turn a method into mergekit's variant of it.
MERGEKIT = {
    "ties": {"scope": "tensor", "zero": "plus"},
    "dare_ties": {"scope": "tensor", "zero": "plus", "rescale": "l1", "normalize": False},
    "dare_linear": {"scope": "tensor", "rescale": "l1"},
    "della": {"zero": "plus", "rescale": "l1"},
    "della_linear": {"rescale": "l1"},
}


# ---------------------------------------------------------------- one tensor, piece by piece


def linear_pieces(pieces: Pieces, weights: Sequence[float], normalize: bool = True) -> Iterator[Tensor]:
    """sum_i w_i theta_i, divided by sum_i w_i if normalised."""
    weights = normalised(weights) if normalize else weights
    for tensors in pieces():
        total = torch.zeros_like(tensors[0], dtype=float_dtype(*tensors))
        for weight, tensor in zip(weights, tensors, strict=True):
            total.add_(tensor, alpha=weight)
        yield total


def slerp_pieces(pieces: Pieces, t: float) -> Iterator[Tensor]:
    """``slerp_tensors`` of two models."""
    dot = square_a = square_b = 0.0
    for a, b in pieces():
        a, b = a.to(float_dtype(a)), b.to(float_dtype(b))
        dot += torch.dot(a, b).item()
        square_a += torch.dot(a, a).item()
        square_b += torch.dot(b, b).item()
    from_a, from_b = slerp_coefficients(dot, math.sqrt(square_a), math.sqrt(square_b), t)
    for a, b in pieces():
        yield (a.to(float_dtype(a)) * from_a).add_(b, alpha=from_b)


def stock_pieces(pieces: Pieces, width: int | None = None) -> Iterator[Tensor]:
    """theta_0 + t · mean of the tau_i, t by ``stock_ratio`` of the whole tensor, or of each row of `width` entries."""

    def differences(base: Tensor, models: list[Tensor]) -> Tensor:
        tau = torch.stack([model - base for model in models]).to(float_dtype(base))
        return tau.unflatten(1, (-1, width)) if width else tau.unsqueeze(1)  # (n, rows, entries)

    def products(tau: Tensor) -> Tensor:
        return torch.einsum("ire,jre->rij", tau.double(), tau.double())

    whole = None if width else ratio_from_products(sum(products(differences(b, models)) for b, *models in pieces()))
    for base, *models in in_whole_rows(pieces, width)() if width else pieces():
        tau = differences(base, models)
        t = ratio_from_products(products(tau)) if whole is None else whole  # (rows,)
        yield (tau.mean(0) * t.to(tau.dtype).unsqueeze(1)).flatten().add_(base)


def arithmetic_pieces(
    pieces: Pieces,
    weights: Sequence[float],
    lam: float = 1.0,
    normalize: bool = False,
    sparsify: Sparsify | None = None,
    elect: Mapping[str, str] | None = None,
) -> Iterator[Tensor]:
    """theta_0 + lam · f(w_1 tau_1, …): the base is the first of the pieces.

    sparsify(i, pieces of tau_i) -> the function that masks each piece of tau_i; elect: options of ``elect_sign``;
    without an election f is the sum, divided by the sum of the weights if normalised.
    """
    masks: list[Callable[[Tensor], Tensor]] = [lambda tau: tau] * len(weights)
    if sparsify:
        masks = [sparsify(i, partial(_differences, pieces, i)) for i in range(len(weights))]
    for base, *models in pieces():
        dtype = float_dtype(base)
        factors = torch.tensor(weights, dtype=dtype)  # (n,)
        tau = torch.stack([mask(model - base).to(dtype) for mask, model in zip(masks, models, strict=True)])
        tau.mul_(factors.unsqueeze(1))  # (n, d)
        if elect is None:
            change = tau.sum(0)
            if normalize and abs(sum(weights)) >= 1e-8:
                change /= sum(weights)
        elif normalize:
            change = disjoint_mean(tau, elect_sign(tau, **elect), factors)
        else:
            change = (tau * (tau * elect_sign(tau, **elect) > 0)).sum(0)
        yield change.mul_(lam).add_(base)


def _differences(pieces: Pieces, i: int) -> Iterator[Tensor]:
    for base, model in pieces(0, i + 1):
        yield model - base


# ---------------------------------------------------------------- state dicts


def linear(base: State | None, models: Models, weights: PerModel = 1.0, normalize: bool = True) -> StateDict:
    """sum_i w_i theta_i / sum_i w_i; without `normalize` the sum as it is. The base is not used and may be None.

    Source: Wortsman et al. (2022), section 2; mergekit's `linear` (normalize: true by default).
    Raises ValueError as the module says; also weights that sum to 0, or another number of weights than of models.
    """
    weights = _per_model("weights", weights, models)
    return _merge(None, models, lambda name, pieces: linear_pieces(pieces, weights, normalize))


def slerp(base: State, models: Models, t: float = 0.5, scope: str = "tensor") -> StateDict:
    """From the base (t = 0) along the arc to the one other model (t = 1); formula in ``task_vectors.slerp_tensors``.

    scope="tensor" takes each tensor as one vector, as mergekit does; "model" the whole model. Source: Shoemake (1985).
    """
    if len(models) != 1:
        raise ValueError(f"slerp goes from the base to exactly one model, not to {len(models)}")
    return _merge(base, models, lambda name, pieces: slerp_pieces(pieces, t), scope)


def task_arithmetic(
    base: State, models: Models, weights: PerModel = 1.0, lam: float = 1.0, normalize: bool = False
) -> StateDict:
    """theta_0 + lam · sum_i w_i tau_i, tau_i = theta_i - theta_0; `normalize` divides by sum_i w_i, to a mean.

    Source: Ilharco et al. (2023), section 2 (all w_i = 1, one lam tuned on held-out data); w_i, `normalize`: mergekit.
    """
    return _arithmetic(base, models, weights, lam, normalize)


def ties(
    base: State,
    models: Models,
    density: PerModel = 0.2,
    weights: PerModel = 1.0,
    lam: float = 1.0,
    normalize: bool = True,
    scope: str = "model",
    elect: str = "mass",
    zero: str = "majority",
) -> StateDict:
    """Trim each task vector, elect a sign for each coordinate, average those who agree: theta_0 + lam · tau_merged.

    density: share that stays; scope="model" ranks the whole task vector at once and keeps ceil(density · d) entries, as
    the paper; "tensor" ranks each tensor by itself and keeps max(1, floor(density · d)) of it, as mergekit. elect,
    zero: see ``elect_sign`` (mergekit: "mass", "plus"). normalize=False adds those who agree instead of averaging them.
    Source: Yadav et al. (2023), algorithm 1; weights: mergekit's `ties`.
    """
    largest = keep_largest(_shares(density, models), scope)
    elect = {"by": elect, "zero": zero}
    return _arithmetic(base, models, weights, lam, normalize, scope, lambda name: largest, elect)


def dare_ties(
    base: State,
    models: Models,
    density: PerModel = 0.5,
    weights: PerModel = 1.0,
    lam: float = 1.0,
    normalize: bool = True,
    scope: str = "model",
    elect: str = "mass",
    zero: str = "majority",
    rescale: str | None = "inverse",
    seed: int = 0,
) -> StateDict:
    """Drop at random and rescale (``dare`` with p = 1 - density), then elect and average as ``ties``, untrimmed.

    rescale="inverse" divides by the density, as the paper; "l1" restores the sum of magnitudes, of each tensor if
    scope="tensor", as mergekit, which also adds instead of averaging (normalize: false). seed: for what is dropped.
    Source: Yu et al. (2024), section 3.2; mergekit's `dare_ties`.
    """
    random, elect = partial(keep_random, _shares(density, models), rescale, seed), {"by": elect, "zero": zero}
    return _arithmetic(base, models, weights, lam, normalize, scope, random, elect)


def dare_linear(
    base: State,
    models: Models,
    density: PerModel = 0.5,
    weights: PerModel = 1.0,
    lam: float = 1.0,
    normalize: bool = False,
    scope: str = "model",
    rescale: str | None = "inverse",
    seed: int = 0,
) -> StateDict:
    """Drop at random and rescale, then ``task_arithmetic``. Options as ``dare_ties``. Source: Yu et al. (2024)."""
    random = partial(keep_random, _shares(density, models), rescale, seed)
    return _arithmetic(base, models, weights, lam, normalize, scope, random)


def model_stock(base: State, models: Models, filter_wise: bool = False) -> StateDict:
    """t times the mean of the models plus 1 - t times the base, t from the angle between the task vectors alone.

    theta_0 + t · mean_i tau_i with ``stock_ratio`` for each tensor, or for each of its rows if filter_wise (a tensor of
    one dimension is one row). No data and no setting to tune; made for fine-tunes of one task from one base.
    Source: Jang, Yun & Han (2024) (layer-wise; the paper also merges during training, which is not here);
    filter_wise, the mean over the pairs' cosines: mergekit's `model_stock`. Raises ValueError also for one model.
    """
    if len(models) == 1:
        raise ValueError("model_stock needs the angle between at least two models, not 1")
    widths = row_widths(base) if filter_wise else {}
    return _merge(base, models, lambda name, pieces: stock_pieces(pieces, widths.get(name)))


def della(
    base: State,
    models: Models,
    density: PerModel = 0.5,
    epsilon: PerModel = 0.15,
    weights: PerModel = 1.0,
    lam: float = 1.0,
    normalize: bool = True,
    elect: str = "mass",
    zero: str = "majority",
    rescale: str | None = "inverse",
    seed: int = 0,
) -> StateDict:
    """Drop at random, small entries more often (``magprune``), then elect and average as ``ties``, untrimmed.

    Each row of a tensor is ranked by itself. rescale="inverse" divides each entry by its own probability to stay, as
    the paper; "l1" restores the sum of magnitudes of each tensor, as mergekit. seed: for what is dropped.
    Source: Deep, Bhardwaj & Poria (2024), DELLA-Merging: drop, elect, fuse; mergekit's `della`, which ranks along the
    second dimension where a tensor has more than two (here always along the last).
    """
    elect = {"by": elect, "zero": zero}
    sparsify, cut = _ranked(base, models, density, epsilon, rescale, seed)
    return _arithmetic(base, models, weights, lam, normalize, sparsify=sparsify, elect=elect, cut=cut)


def della_linear(
    base: State,
    models: Models,
    density: PerModel = 0.5,
    epsilon: PerModel = 0.15,
    weights: PerModel = 1.0,
    lam: float = 1.0,
    normalize: bool = False,
    rescale: str | None = "inverse",
    seed: int = 0,
) -> StateDict:
    """Drop as ``della``, then ``task_arithmetic``. Source: mergekit's `della_linear`; the paper elects."""
    sparsify, cut = _ranked(base, models, density, epsilon, rescale, seed)
    return _arithmetic(base, models, weights, lam, normalize, sparsify=sparsify, cut=cut)


def passthrough(
    base: State | None,
    models: Models,
    slices: Sequence[tuple[int, int, int]] | None = None,
    scale: float | None = None,
    copy: bool = True,
) -> StateDict:
    """No arithmetic: a taller model from ranges of layers, slices = [(number of the model, first layer, end layer), …].

    What stands before the layers (embeddings) comes from the first slice's model, what stands behind them (last norm,
    head) from the last one's. Without slices: the one model as it is. scale multiplies every float. The base is not
    used. copy=False takes what is not scaled as it is: a taller model to be run, not trained, without own memory.
    Raises ValueError: no such model or layer, layers of one model in several stacks. Source: mergekit's `passthrough`.
    """
    if not models:
        raise ValueError("there is nothing to merge: give at least one model")
    if slices is None and len(models) > 1:
        raise ValueError("passthrough computes nothing: say which layers of which model to stack (slices)")
    chosen = models[0]
    if slices is not None:
        stacked = stack_layers([list(model) for model in models], slices)
        chosen = {name: models[i][source] for name, i, source in stacked}

    def taken(tensor: Tensor) -> Tensor:
        if scale is not None and tensor.is_floating_point():
            return (tensor * scale).to(tensor.dtype)
        return tensor.clone() if copy else tensor

    return {name: taken(tensor) for name, tensor in chosen.items()}


METHODS: dict[str, Callable[..., StateDict]] = {
    method.__name__: method
    for method in (
        linear,
        slerp,
        task_arithmetic,
        ties,
        dare_ties,
        dare_linear,
        passthrough,
        model_stock,
        della,
        della_linear,
    )
}


# ---------------------------------------------------------------- helpers


def keep_largest(density: Sequence[float], scope: str, l1: bool = False) -> Sparsify:
    """The `sparsify` of TIES; how many stay is counted as in the paper (scope="model") or in mergekit ("tensor")."""
    how_many = keep_count if scope == "model" else _keep_count_of_mergekit
    return _sparsify(density, lambda i, pieces: Largest(pieces, partial(how_many, density[i])), l1)


def _keep_count_of_mergekit(density: float, d: int) -> int:
    return min(d, max(1, int(density * d))) if density > 0 else 0


def keep_random(density: Sequence[float], rescale: str | None, seed: int, name: str) -> Sparsify:
    """The `sparsify` of DARE."""
    check_choice("rescale", rescale, ("inverse", "l1", None))
    inverse = rescale == "inverse"
    return _sparsify(
        density, lambda i, pieces: RandomShare(density[i], seed_for(seed, i, name), inverse), rescale == "l1"
    )


def keep_ranked(
    density: Sequence[float], epsilon: Sequence[float], rescale: str | None, seed: int, width: int, name: str
) -> Sparsify:
    """The `sparsify` of DELLA, for a tensor whose rows have `width` entries. Its pieces have to hold whole rows.

    Of a density of 0 nothing stays and of 1 everything, whatever epsilon is. Raises ValueError as ``check_window``.
    """
    check_choice("rescale", rescale, ("inverse", "l1", None))
    for share, window in zip(density, epsilon, strict=True):
        if 0 < share < 1:
            check_window(share, window)

    def mask_of(i: int, pieces: TauPieces) -> Mask:
        number = seed_for(seed, i, name)
        if density[i] <= 0:
            return RandomShare(0.0, number)
        return RankedShare(density[i], epsilon[i], width, number, rescale == "inverse")

    return _sparsify(density, mask_of, rescale == "l1")


def row_widths(state: State) -> dict[str, int]:
    """How many entries a row of each tensor has."""
    return {name: row_width(tensor.shape) for name, tensor in state.items()}


def row_width(shape: Sequence[int]) -> int:
    """The last dimension; 1 for a single number and for a tensor without entries."""
    return max(1, shape[-1]) if shape else 1


def _ranked(
    base: State, models: Models, density: PerModel, epsilon: PerModel, rescale: str | None, seed: int
) -> tuple[Callable[[str], Sparsify], Callable[[str], int]]:
    """For each tensor by its name the `sparsify` of DELLA, and how long its rows are."""
    shares, windows = _shares(density, models), _per_model("epsilons", epsilon, models)
    widths = row_widths(base)
    return lambda name: keep_ranked(shares, windows, rescale, seed, widths[name], name), widths.__getitem__


def _sparsify(density: Sequence[float], mask_of: Callable[[int, TauPieces], Mask], l1: bool) -> Sparsify:
    """The mask of each model's task vector, none where all stays; l1: with the sum of magnitudes restored."""

    def sparsify(i: int, pieces: TauPieces) -> Callable[[Tensor], Tensor]:
        if density[i] >= 1:
            return lambda tau: tau
        mask = mask_of(i, pieces)
        if l1:
            mask.restore_l1(pieces)
        return mask

    return sparsify


def _arithmetic(
    base: State,
    models: Models,
    weights: PerModel,
    lam: float,
    normalize: bool,
    scope: str = "tensor",
    sparsify: Callable[[str], Sparsify] = lambda name: None,
    elect: Mapping[str, str] | None = None,
    cut: Callable[[str], int] | None = None,
) -> StateDict:
    """``arithmetic_pieces`` of all tensors; sparsify: of the tensor with that name; cut: the length of its rows."""
    weights = _per_model("weights", weights, models)

    def method(name: str, pieces: Pieces) -> Iterator[Tensor]:
        pieces = in_whole_rows(pieces, cut(name)) if cut else pieces
        return arithmetic_pieces(pieces, weights, lam, normalize, sparsify(name), elect)

    return _merge(base, models, method, scope)


def _merge(
    base: State | None,
    models: Models,
    method: Callable[[str, Pieces], Iterator[Tensor]],
    scope: str = "tensor",
) -> StateDict:
    """Run a method over every tensor, or over all floats of the models as one long vector each (scope="model")."""
    check_choice("scope", scope, ("model", "tensor"))
    states = matching_states(models, base)
    leaders = _leaders(states)
    names = [name for name in states[0] if leaders[name] == name and _all_floats(name, states)]
    merged: StateDict = {}
    for group in [names] if scope == "model" and names else [[name] for name in names]:
        first = [states[0][name] for name in group]
        parts = _run(partial(method, group[0]), [[state[name] for name in group] for state in states])
        merged |= {name: part.reshape(old.shape).to(old.dtype).clone() for name, old, part in zip(group, first, parts)}
    return {name: merged[leaders[name]] if leaders[name] in merged else states[0][name].clone() for name in states[0]}


def _run(method: Callable[[Pieces], Iterator[Tensor]], states: Sequence[Sequence[Tensor]]) -> Sequence[Tensor]:
    """The merged tensors (flat) of one group: states holds the same tensors of each model."""
    dtype = reduce(torch.promote_types, [tensor.dtype for state in states for tensor in state])
    vectors = [torch.cat([tensor.detach().reshape(-1).to(dtype) for tensor in state]) for state in states]

    def pieces(*which: int) -> Iterator[list[Tensor]]:
        yield [vectors[i] for i in which or range(len(vectors))]

    (merged,) = method(pieces)
    return merged.split([tensor.numel() for tensor in states[0]])


def _leaders(states: Models) -> dict[str, str]:
    """Each name -> the first name that shares its memory in all of the models: itself, unless weights are tied."""
    seen: dict[tuple, str] = {}
    leaders = {}
    for name in states[0]:
        places = tuple((state[name].data_ptr(), state[name].shape, state[name].stride()) for state in states)
        leaders[name] = seen.setdefault(places, name) if states[0][name].numel() else name
    return leaders


def _all_floats(name: str, states: Models) -> bool:
    """False for whole numbers, which have to be equal in all models."""
    tensors = [state[name] for state in states]
    if all(tensor.is_floating_point() for tensor in tensors):
        return True
    check_whole_numbers(name, tensors)
    return False


def _per_model(what: str, values: PerModel, models: Models) -> list[float]:
    numbers = [float(value) for value in values] if isinstance(values, Iterable) else [float(values)] * len(models)
    if len(numbers) != len(models):
        raise ValueError(f"{len(numbers)} {what} for {len(models)} models: give one number, or one for each model")
    return numbers


def _shares(density: PerModel, models: Models) -> list[float]:
    shares = _per_model("densities", density, models)
    if bad := [share for share in shares if not 0 <= share <= 1]:
        raise ValueError(f"density is {bad[0]}: it is the share that stays, from 0 to 1")
    return shares
