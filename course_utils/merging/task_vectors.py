"""Task vectors: what fine-tuning added to a model, scaled, negated, added, trimmed, dropped out, and merged by vote.

    tau = theta_fine_tuned - theta_base                                     (Ilharco et al. 2023, section 2)

First the pieces on plain tensors, where a row of ``tau`` (n, d) is the task vector of one model; then the same
arithmetic on state dicts. Nothing changes its inputs. The merging methods that are made of these pieces are in
``merging.methods``.

At the end trimming and dropping for a vector that comes piece by piece. A tensor of a real model is read in pieces, so
that memory stays small; then the k-th largest magnitude, or the norm before and after dropping, takes a first pass over
the pieces, and the second pass masks each piece as it comes by. Both passes have to see the same pieces in the same
order.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import reduce

import torch
from torch import Generator, Tensor
from torch.nn.functional import hardshrink

StateDict = dict[str, Tensor]


def float_dtype(*tensors: Tensor) -> torch.dtype:
    """The type to compute in: float32, or float64 if one of the tensors is."""
    return reduce(torch.promote_types, [tensor.dtype for tensor in tensors], torch.float32)


# ---------------------------------------------------------------- plain tensors


def trim(tau: Tensor, density: float) -> Tensor:
    """Keep the ceil(density · d) entries of largest magnitude in each row; the others become 0.

    tau: (n, d) or (d,); density in [0, 1]. Each task has its own threshold: a model that moved little keeps as many
    entries as one that moved far. Of entries that are equal at the threshold only as many stay as there is room for.
    Raises ValueError: density outside [0, 1]. Source: Yadav et al. (2023), TIES-Merging, section 4, step 1, and
    algorithm 1 (their code keeps every entry >= the threshold, which is at least one more).
    """
    check_share("density", density)
    k = keep_count(density, tau.shape[-1])
    kept = tau.abs().topk(k, dim=-1).indices  # (n, k)
    return torch.zeros_like(tau).scatter(-1, kept, tau.gather(-1, kept))


def keep_count(density: float, d: int) -> int:
    """ceil(density · d), where a product that only rounding lifts above a whole number counts as that number."""
    return min(d, math.ceil(round(density * d, 6)))


def elect_sign(tau: Tensor, by: str = "mass", zero: str = "majority") -> Tensor:
    """One sign for each coordinate: sgn(sum_i tau_i), so that the larger total magnitude wins.

    tau: (n, d) -> (d,), values +1, -1. by="count" lets every non-zero entry have one vote instead, whatever its size.
    Where the total is exactly 0, zero="majority" takes the sign that most other coordinates have, and leaves 0 if as
    many are + as -, so that the disjoint mean is 0 there; zero="plus" takes +1. Raises ValueError: another `by` or
    `zero`.
    Source: Yadav et al. (2023), section 4, step 2; the majority is their code's `resolve_zero_signs`; "count" and
    "plus" are mergekit's `consensus_method` and its `>= 0`.
    """
    check_choice("by", by, ("mass", "count"))
    check_choice("zero", zero, ("majority", "plus"))
    votes = tau if by == "mass" else tau.sign()
    total = votes.sum(0)  # (d,)
    if zero == "plus":
        return torch.copysign(torch.ones((), dtype=total.dtype), total + 0.0)  # -0.0 + 0.0 is 0.0
    sign = total.sign()
    return sign + sign.sum().sign() * (sign == 0)


def disjoint_mean(tau: Tensor, sign: Tensor, weights: Tensor | None = None) -> Tensor:
    """The mean over those entries only that are not 0 and have the elected sign; 0 where there is none.

    tau: (n, d), sign: (d,) -> (d,). The divisor is the number of contributors at that coordinate, not n. With weights
    (n,) tau holds w_i tau_i already, and the divisor is the sum of the contributors' weights.
    Source: Yadav et al. (2023), section 4, step 3; the weights are mergekit's (`normalize: true`).
    """
    total, count, entry = torch.zeros_like(sign), torch.zeros_like(sign), torch.empty_like(sign)  # (d,)
    for row, weight in zip(tau, [1.0] * len(tau) if weights is None else weights.tolist()):
        torch.mul(row, sign, out=entry).clamp_(min=0)  # the magnitude where the entry counts, else 0
        total += entry
        count.add_(entry.sign_(), alpha=weight)  # signs, not booleans: passes over those take five times as long
    nobody = torch.sign(count, out=entry).abs_().neg_().add_(1)  # 1 where no entry counts
    return total.mul_(sign).div_(count.add_(nobody))


def dare(tau: Tensor, p: float, generator: Generator | None = None, rescale: str | None = "inverse") -> Tensor:
    """Drop each entry with probability p And REscale the rest, so that every entry keeps its expectation.

        m ~ Bernoulli(1 - p),   tau_hat = m tau / (1 - p)

    tau: (n, d) or (d,); p in [0, 1] (1 drops all: the result is 0). rescale="l1" instead gives each row the sum of
    magnitudes that it had before; None does not rescale. Raises ValueError: p outside [0, 1], another rescale.
    Source: Yu et al. (2024), "Language models are super Mario", section 3.1; "l1" is what mergekit does.
    """
    check_share("p", p)
    check_choice("rescale", rescale, ("inverse", "l1", None))
    kept = tau * (torch.rand(tau.shape, generator=generator, device=tau.device) >= p)
    if rescale == "inverse" and p < 1:
        return kept / (1 - p)
    if rescale == "l1":
        before, after = tau.abs().sum(-1, keepdim=True), kept.abs().sum(-1, keepdim=True)
        return kept * torch.where((before < 1e-7) | (after < 1e-7), 1, before / after)
    return kept


def keep_probabilities(tau: Tensor, density: float, epsilon: float) -> Tensor:
    """DELLA's probability to stay: from density - epsilon for the smallest entry of a row to density + epsilon.

        p_j = density - epsilon + 2 epsilon (r_j - 1) / (d - 1),   r_j = 1, …, d the rank of |tau_j| in its row

    tau: (..., d), each row ranked by itself; of equal entries the first has the lower rank. Returns (..., d) with the
    mean `density`; a row of one entry has the density itself. Raises ValueError: unless 0 < density - epsilon and
    density + epsilon < 1.
    Source: Deep, Bhardwaj & Poria (2024), DELLA-Merging, MagPrune, and its code (`rank_magnitude`); there p is the
    probability to drop.
    """
    check_window(density, epsilon)
    d = tau.shape[-1]
    ranks = tau.abs().argsort(dim=-1, stable=True).argsort(dim=-1)  # 0 for the smallest, d - 1 for the largest
    if d == 1:
        return torch.full_like(tau, density, dtype=float_dtype(tau))
    return density - epsilon + 2 * epsilon / (d - 1) * ranks.to(float_dtype(tau))


def check_window(density: float, epsilon: float) -> None:
    """Raise ValueError unless density - epsilon and density + epsilon are probabilities between 0 and 1."""
    if not (epsilon >= 0 and 0 < density - epsilon and density + epsilon < 1):
        raise ValueError(
            f"density {density:g} with epsilon {epsilon:g}: density - epsilon and density + epsilon must lie between "
            "0 and 1"
        )


def magprune(
    tau: Tensor,
    density: float,
    epsilon: float = 0.15,
    generator: Generator | None = None,
    rescale: str | None = "inverse",
) -> Tensor:
    """Drop at random, small entries more often, and rescale: DELLA's first step.

        m_j ~ Bernoulli(p_j),   tau_hat_j = m_j tau_j / p_j,   p_j: ``keep_probabilities``

    tau: (n, d) or (d,). Each entry is divided by its own p_j, so that its expectation stays. rescale="l1" multiplies
    what is left of a row by one number instead, so that the sum of magnitudes is what it was; None does not rescale.
    Raises ValueError: as ``keep_probabilities``, another rescale. Source: Deep, Bhardwaj & Poria (2024), the Drop step;
    "l1" is mergekit's `della`, which takes the sums over the whole tensor and is no unbiased estimate.
    """
    check_choice("rescale", rescale, ("inverse", "l1", None))
    p = keep_probabilities(tau, density, epsilon)
    kept = tau * (torch.rand(tau.shape, generator=generator, device=tau.device) < p)
    if rescale == "inverse":
        return kept / p
    if rescale == "l1":
        before, after = tau.abs().sum(-1, keepdim=True), kept.abs().sum(-1, keepdim=True)
        return kept * torch.where((before < 1e-7) | (after < 1e-7), 1, before / after)
    return kept


def stock_ratio(tau: Tensor) -> Tensor:
    """Model Stock's share of the way from the base to the mean of the fine-tuned models.

        t = n cos / (1 + (n - 1) cos),   cos: the mean cosine over all pairs of task vectors

    tau: (n, d), n >= 2, one task vector a row -> a tensor without dimensions; (n, rows, d) -> (rows,), a ratio for each
    row. Vectors at right angles give 0 (stay at the base), equal ones 1 (take the mean); below 0 the result leaves the
    mean's side of the base. Raises ValueError: fewer than two task vectors.
    Source: Jang, Yun & Han (2024), Model Stock: the point of the plane through the models that is nearest to
    their centre, if all have the same length and angle. The mean over pairs is mergekit's `model_stock`, and so is 0
    where the formula divides by 0.
    """
    if len(tau) < 2:
        raise ValueError(f"a ratio needs the angle between task vectors: at least two, not {len(tau)}")
    wide = tau.to(float_dtype(tau))
    return ratio_from_products(torch.einsum("i...d,j...d->...ij", wide, wide))


def ratio_from_products(products: Tensor) -> Tensor:
    """``stock_ratio`` from the inner products of the task vectors: (..., n, n) -> (...)."""
    n = products.shape[-1]
    norms = products.diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt()  # (..., n)
    cosines = (products / (norms.unsqueeze(-1) * norms.unsqueeze(-2)).clamp(min=1e-6)).clamp(-1, 1)
    i, j = torch.triu_indices(n, n, offset=1)
    cosine = cosines[..., i, j].mean(-1)
    divisor = 1 + (n - 1) * cosine
    singular = divisor.abs() < 1e-6  # the vectors cancel, and no multiple of their mean is the best
    return torch.where(singular, 0.0, n * cosine / divisor.masked_fill(singular, 1.0))


def slerp_tensors(a: Tensor, b: Tensor, t: float) -> Tensor:
    """The point t on the arc from a (t = 0) to b (t = 1); both are taken as one long vector.

        omega = arccos(<a, b> / |a||b|),    (sin((1 - t) omega) a + sin(t omega) b) / sin omega

    a, b: one shape, which the result has. If the directions nearly agree or are opposite (|cos omega| > 0.9995) there
    is no arc to divide by, and the straight line is taken. Raises ValueError: shapes that differ.
    Source: Shoemake (1985), section 3.3; threshold and un-normalised a, b: mergekit's `slerp`.
    """
    if a.shape != b.shape:
        raise ValueError(f"the two ends have shapes {tuple(a.shape)} and {tuple(b.shape)}: slerp needs one shape")
    dtype = float_dtype(a, b)
    x, y = a.to(dtype), b.to(dtype)
    dot, norm_a, norm_b = ((u * v).double().sum().item() for u, v in ((x, y), (x, x), (y, y)))
    from_a, from_b = slerp_coefficients(dot, math.sqrt(norm_a), math.sqrt(norm_b), t)
    return (from_a * x + from_b * y).to(a.dtype)


def slerp_coefficients(dot: float, norm_a: float, norm_b: float, t: float) -> tuple[float, float]:
    """What a and b are multiplied with, from <a, b>, |a|, |b|. A vector without length is at 90 degrees to all."""
    cosine = dot / ((norm_a if norm_a > 1e-8 else 1.0) * (norm_b if norm_b > 1e-8 else 1.0))
    if abs(cosine) > 0.9995 or math.isnan(cosine):
        return 1 - t, t
    omega = math.acos(cosine)
    return math.sin((1 - t) * omega) / math.sin(omega), math.sin(t * omega) / math.sin(omega)


def apply_task_vectors(theta: Tensor, tau: Tensor, lam: float = 1.0) -> Tensor:
    """theta + lam · sum_i tau_i: a SUM with one lam for all, not a mean. lam = 1/n gives the average of the models.

    theta: (d,) or any shape; tau: (n, *shape). Source: Ilharco et al. (2023), section 2.
    """
    dtype = float_dtype(theta, tau)
    return (theta.to(dtype) + lam * tau.to(dtype).sum(0)).to(theta.dtype)


# ---------------------------------------------------------------- state dicts


def task_vector(base: Mapping[str, Tensor], fine_tuned: Mapping[str, Tensor]) -> StateDict:
    """tau = theta_fine_tuned - theta_base, tensor by tensor, in float32 (float64 if they are).

    Whole numbers and booleans (counters, masks) are no direction to go in: tau leaves them out.
    Raises ValueError, naming the tensor: names or shapes that differ. Source: Ilharco et al. (2023), section 2.
    """
    check_alike([base, fine_tuned], ["the base", "the fine-tuned model"])
    difference = {}
    for name, start in base.items():
        if start.is_floating_point():
            dtype = float_dtype(start, fine_tuned[name])
            difference[name] = fine_tuned[name].to(dtype) - start.to(dtype)
    return difference


def negate(tau: Mapping[str, Tensor]) -> StateDict:
    """-tau: applied to the base, it takes a skill away. Source: Ilharco et al. (2023), section 3."""
    return {name: -value for name, value in tau.items()}


def add(taus: Sequence[Mapping[str, Tensor]]) -> StateDict:
    """sum_i tau_i: one direction for several tasks. Errors as ``task_vector``. Ilharco et al. (2023), section 4.

    With ``negate`` also the analogy: A is to B as C is to D, tau_D = tau_C + (tau_B - tau_A) (section 5).
    """
    if not taus:
        raise ValueError("there is nothing to add: give at least one task vector")
    check_alike(taus, [f"task vector {i}" for i in range(1, len(taus) + 1)])
    return {name: torch.stack([tau[name] for tau in taus]).sum(0) for name in taus[0]}


def edit(base: Mapping[str, Tensor], tau: Mapping[str, Tensor], lam: float = 1.0) -> StateDict:
    """theta_base + lam · tau, in the base's dtypes. What tau leaves out (whole numbers) stays as it is in the base.

    Raises ValueError: a tensor of tau that the base does not have, shapes that differ.
    """
    if odd := tau.keys() - base.keys():
        raise ValueError(f"the task vector has a tensor that the base lacks: {sorted(odd)[0]}")
    check_alike([{name: base[name] for name in tau}, tau], ["the base", "the task vector"])
    edited = {name: value.clone() for name, value in base.items()}
    for name, direction in tau.items():
        edited[name] = apply_task_vectors(base[name], direction.unsqueeze(0), lam)
    return edited


def matching_states(
    models: Sequence[Mapping[str, Tensor]], base: Mapping[str, Tensor] | None = None
) -> list[Mapping[str, Tensor]]:
    """The base, if there is one, and the models. Errors as ``check_alike``; also ValueError: no models."""
    if not models:
        raise ValueError("there is nothing to merge: give at least one model")
    labels = [f"model {i}" for i in range(1, len(models) + 1)]
    states = list(models) if base is None else [base, *models]
    check_alike(states, labels if base is None else ["the base", *labels])
    return states


def check_alike(states: Sequence[Mapping[str, Tensor]], labels: Sequence[str]) -> None:
    """Raise ValueError, naming the tensor and the models, unless all have the names and shapes of the first."""
    for state, label in zip(states[1:], labels[1:]):
        if odd := states[0].keys() ^ state.keys():
            raise ValueError(f"{label} and {labels[0]} have different tensors, for example {sorted(odd)[0]}")
        for name, tensor in state.items():
            if tensor.shape != states[0][name].shape:
                raise ValueError(
                    f"{name} has shape {tuple(tensor.shape)} in {label} and {tuple(states[0][name].shape)} "
                    f"in {labels[0]}: only models of one architecture can be merged"
                )


def check_whole_numbers(name: str, tensors: Sequence[Tensor]) -> None:
    """Raise ValueError unless all the tensors are equal: whole numbers and booleans cannot be averaged."""
    if any(tensor.dtype != tensors[0].dtype or not torch.equal(tensor, tensors[0]) for tensor in tensors[1:]):
        raise ValueError(f"{name} holds whole numbers that differ between the models: they cannot be averaged")


def normalised(weights: Sequence[float]) -> list[float]:
    """w_i / sum_i w_i. Raises ValueError: weights that sum to 0."""
    if abs(total := sum(weights)) < 1e-8:
        raise ValueError("the weights sum to 0: they cannot be normalised")
    return [weight / total for weight in weights]


def check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is {value}: it is a share, from 0 to 1")


def check_choice(name: str, value: object, choices: Sequence[object]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}: choose one of {', '.join(map(repr, choices))}")


Pieces = Callable[..., Iterable]  # each call starts again at the beginning
_WHOLE = {2: torch.int16, 4: torch.int32, 8: torch.int64}
_DIGIT = 16  # bits; 2**16 counters fit into the cache


def magnitude_bits(x: Tensor) -> Tensor:
    """|x| as whole numbers in the same order: a float's bits without the sign, read as an integer (IEEE 754)."""
    whole = x.view(_WHOLE[x.element_size()])
    return whole & torch.iinfo(whole.dtype).max


class Mask:
    """Called with each piece of a task vector in order, gives it back in float32, some entries 0, the rest scaled.

    A subclass has `masked(piece)`, the next piece with 0 for what goes, and `restart()`, to begin with the first again.
    """

    scale = 1.0

    def __call__(self, piece: Tensor) -> Tensor:
        masked = self.masked(piece)
        return masked if self.scale == 1 else masked.mul_(self.scale)

    def restore_l1(self, pieces: Pieces) -> None:
        """Scale what stays so that the sum of magnitudes is what it was; takes a pass over the pieces."""
        before = after = 0.0
        for piece in pieces():
            before += piece.abs().sum(dtype=torch.float64).item()
            after += self(piece).abs().sum(dtype=torch.float64).item()
        self.scale = before / after if min(before, after) >= 1e-7 else 1.0
        self.restart()


class Largest(Mask):
    """Keep exactly the k = how_many(d) largest of all d entries; of equals at the threshold those that come first.

    The threshold is found by counting, without sorting: first how many entries have each value of the highest 16 bits,
    then, inside the one value where the k-th falls, the next 16. bfloat16 and float16 need one pass, float32 two.
    """

    def __init__(self, pieces: Pieces, how_many: Callable[[int], int]) -> None:
        self.none, self.threshold, self.room = True, 0, 0  # room: how many of those that equal the threshold stay
        size = unknown = 8 * next((piece.element_size() for piece in pieces()), 0) - 1  # bits of the threshold
        while unknown > 0:
            width = min(_DIGIT, unknown)
            counts = torch.zeros(2**width, dtype=torch.int64)
            for piece in pieces():
                bits = magnitude_bits(piece)
                if unknown < size:
                    bits = bits[(bits >> unknown) == self.threshold] & (2**unknown - 1)
                digits = bits >> (unknown - width) if unknown > width else bits
                counts += torch.bincount(digits, minlength=2**width)
            if unknown == size:
                self.room = how_many(int(counts.sum()))
                if not self.room:
                    break
                self.none = False
            at_least = counts.flip(0).cumsum(0).flip(0)  # entries with this digit or a larger one
            digit = int((at_least >= self.room).nonzero()[-1])
            self.room -= int(at_least[digit] - counts[digit])
            self.threshold, unknown = self.threshold << width | digit, unknown - width
        self.restart()

    def restart(self) -> None:
        self.left = self.room if self.threshold else 0  # entries that are 0 need no room

    def masked(self, piece: Tensor) -> Tensor:
        floats = piece.to(float_dtype(piece))
        if self.none:
            return torch.zeros_like(floats)
        at, below = (self._number(bits, piece.dtype) for bits in (self.threshold, max(0, self.threshold - 1)))
        if not self.left:
            return hardshrink(floats, at)  # 0 up to `at`, in one pass
        equal = magnitude_bits(piece) == self.threshold
        if (count := int(equal.count_nonzero())) <= self.left:
            self.left -= count
            return hardshrink(floats, below)
        masked, staying = hardshrink(floats, at), equal.nonzero().squeeze(1)[: self.left]
        masked[staying] = floats[staying]
        self.left = 0
        return masked

    def _number(self, bits: int, dtype: torch.dtype) -> float:
        return torch.tensor(bits, dtype=_WHOLE[dtype.itemsize]).view(dtype).item()


class RandomShare(Mask):
    """Keep each entry with probability density; with `inverse` divide what stays by the density."""

    def __init__(self, density: float, seed: int, inverse: bool = False) -> None:
        self.density, self.seed = density, seed
        self.generator = torch.Generator().manual_seed(seed)
        if inverse and density > 0:
            self.scale = 1 / density

    def restart(self) -> None:
        self.generator.manual_seed(self.seed)

    def masked(self, piece: Tensor) -> Tensor:
        return piece.to(float_dtype(piece)) * (torch.rand(piece.shape, generator=self.generator) < self.density)


class RankedShare(Mask):
    """DELLA's mask: keep each entry with the probability of its rank in its row of `width` entries.

    The pieces have to hold whole rows. inverse: divide what stays by its own probability.
    """

    def __init__(self, density: float, epsilon: float, width: int, seed: int, inverse: bool = False) -> None:
        self.density, self.epsilon, self.width, self.seed, self.inverse = density, epsilon, width, seed, inverse
        self.generator = torch.Generator().manual_seed(seed)

    def restart(self) -> None:
        self.generator.manual_seed(self.seed)

    def masked(self, piece: Tensor) -> Tensor:
        rescale = "inverse" if self.inverse else None
        rows = piece.to(float_dtype(piece)).unflatten(0, (-1, self.width))
        return magprune(rows, self.density, self.epsilon, self.generator, rescale).flatten()


def in_whole_rows(pieces: Pieces, width: int) -> Pieces:
    """The same pieces, cut where a row of `width` entries ends: what a piece has of an unfinished row waits."""

    def cut(*which: int) -> Iterator[list[Tensor]]:
        waiting: list[Tensor] | None = None
        for tensors in pieces(*which):
            if waiting is not None:
                tensors = [torch.cat(pair) for pair in zip(waiting, tensors, strict=True)]
            whole = len(tensors[0]) // width * width
            waiting = [tensor[whole:] for tensor in tensors]
            if whole or not tensors[0].numel():
                yield [tensor[:whole] for tensor in tensors]

    return cut


def seed_for(seed: int, model: int, name: str) -> int:
    """A seed for each model and tensor, the same on every machine and in whatever order the tensors are read."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{model}/{name}".encode(), digest_size=7).digest(), "big")
