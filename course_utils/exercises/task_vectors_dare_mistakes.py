"""What the check of `dare` says to a draw that is not right: the rate, the factor, and where chance comes from."""

from __future__ import annotations

import math

NO_RESCALE = (
    "The others are not rescaled: their mean is (1 - p) tau then, a task vector that is too short. Divide what stays by"
    " 1 - p."
)
BY_P = (
    "You divide by p: what must be made up for is the share that STAYS, 1 - p. With p = 0.3 seven tenths are left, so"
    " divide by 0.7."
)
TIMES_KEEP = "You multiply by 1 - p: divide by it. Less is left, so what stays must become LARGER."
TIMES_P = "You multiply by p: divide by 1 - p. Less is left, so what stays must become LARGER."
TWICE = "You divide by 1 - p twice: once keeps the mean. (F.dropout has divided already, a mask divided by 1 - p too.)"
ROOT = (
    "You divide by the root of 1 - p, which keeps the length of the vector. DARE keeps the MEAN of each entry: divide by"
    " 1 - p itself."
)
ONE_PLUS = "You multiply by 1 + p, which is near 1 / (1 - p) for a small p only: divide by 1 - p."
COUNTED = (
    "You divide by the share that happened to stay in this draw: divide by its expectation, 1 - p, whatever was drawn."
    " Only then has each entry exactly the mean tau."
)
L1 = (
    "You restore the sum of the magnitudes of this draw (that is what mergekit does): DARE divides by 1 - p, so that"
    " each entry keeps its mean."
)
L2 = (
    "You restore the length of the vector in this draw: DARE divides by 1 - p, so that each entry keeps its MEAN (the"
    " vector becomes longer)."
)
NEGATIVE = "The sign of the kept entries is turned round: divide tau by 1 - p, which is positive."
KEEP_RATE = (
    "You keep with the probability p: p is the probability to DROP (mergekit's density is the share that stays, 1 - p)."
    " Keep where torch.rand(tau.shape, generator=generator) >= p, and divide by 1 - p."
)
MASK = "This is the mask, one and the same number wherever an entry stays. Multiply it with tau: mask * tau / (1 - p)."
ONLY_KEPT = (
    "You return the kept entries alone: the dropped ones become 0 and keep their place. Multiply with the mask:"
    " tau * mask, and not tau[mask]."
)
NOISE = (
    "No entry became 0: this looks like noise on tau. DARE throws coins: each entry is 0 with the probability p, else it"
    " is tau / (1 - p)."
)
ABSOLUTE = "The signs are lost: an entry that stays keeps its sign."
NO_NEGATIVE = (
    "All negative entries became 0: do you compare tau itself with p? Compare random numbers with it, torch.rand("
    "tau.shape, generator=generator) >= p, whatever the value of the entry."
)
NOT_FINITE = "The result holds inf or nan: a dropped entry is 0, and the others are divided by 1 - p, which is not 0."
ALL_GONE = (
    "Everything became 0, though p is below 1. Is there one coin for all of them, or a mask of whole numbers"
    " (.int() of a random number is 0)? Each entry needs its own: torch.rand(tau.shape, generator=generator) >= p."
)
UNCHANGED = (
    "Nothing was dropped, the result is tau. Each entry becomes 0 with the probability p: torch.rand(tau.shape,"
    " generator=generator) >= p says which ones stay. (F.dropout does nothing with training=False.)"
)
EXPECTATION = (
    "You multiply everything by 1 - p, which is the MEAN of dropping: nothing became 0. Draw for each entry whether it"
    " stays, torch.rand(tau.shape, generator=generator) >= p."
)
ONE_COIN = (
    "One coin decides for a whole vector here: all of it stays, or all of it goes. Each entry has its own:"
    " torch.rand(tau.shape, generator=generator) >= p."
)
SMALLEST = (
    "You drop the smallest entries: that is trimming, and it needs no rescaling. DARE asks chance alone, whatever the"
    " size of the entry: torch.rand(tau.shape, generator=generator) >= p."
)
LARGEST = (
    "You drop the largest entries: DARE asks chance alone, whatever the size of the entry: torch.rand(tau.shape,"
    " generator=generator) >= p."
)
BLOCK = (
    "You drop entries that stand side by side, as tau[:k] does: each entry has its own coin, torch.rand(tau.shape,"
    " generator=generator) >= p."
)
BY_SIZE = (
    "It depends on their size which entries are dropped: those that go are {} than the others (mean magnitude {:.3g}, and"
    " {:.3g} of those that stay). Chance alone decides: compare torch.rand(tau.shape, generator=generator) with p, and"
    " never tau itself."
)
ONE_MASK = (
    "All tasks drop the same coordinates: there is one mask for all rows. Draw as many numbers as tau has:"
    " torch.rand(tau.shape, generator=generator), and not tau.shape[-1] of them."
)
DEPENDENT = (
    "Rows {} and {} drop or keep the same coordinate in {:.3g} of the cases, and with a coin for each entry it would be"
    " {:.3g}. Draw torch.rand(tau.shape, generator=generator) once, for all rows."
)
IGNORED = (
    "Two generators of one seed drop different entries: the random numbers do not come from `generator`. Hand it on, as"
    " torch.rand(tau.shape, generator=generator) or torch.bernoulli(..., generator=generator). F.dropout drops and"
    " rescales in the same way, but it takes no generator, and nobody could repeat the merge."
)
SAME_ALWAYS = (
    "Generators of different seeds drop the very same entries: is there a fixed seed in your function"
    " (torch.manual_seed, generator.manual_seed)? Use `generator` as it comes, the caller has seeded it."
)
SAME_EACH_CALL = (
    "Two calls with one generator drop the same entries: you start it anew each time (from its initial_seed or its"
    " state). Draw from `generator` itself, which goes on from call to call."
)
EXACT_COUNT = (
    "Exactly {} of 12 entries were dropped in each of {} draws: you drop a fixed NUMBER (randperm, or the smallest random"
    " numbers). Asked is a coin for each entry, torch.rand(tau.shape, generator=generator) >= p, so that the number"
    " varies."
)
BIASED = (
    "The number {:.3g} has the mean {:.3g} over 1500 draws, and must keep its own. (It was dropped in {:.3g} of the"
    " draws, with p = 0.5.)"
)
TOGETHER = (
    "Between {} and {} of the 12 entries were dropped, which does not fit 12 independent coins with p = 0.5: each entry"
    " needs its own number of torch.rand(tau.shape, generator=generator)."
)
AT_ZERO = "With p = 0 nothing may be dropped, and {} of {} entries became 0: an entry goes if its random number is < p."
CLASH = (
    "The result has the shape of tau, (d,) or (n, d), and so has the mask: torch.rand(tau.shape, generator=generator) >="
    " p."
)
COMPLAINTS = [
    (
        r"dropout\(\) got an unexpected",
        (
            "F.dropout takes no generator, so nobody could repeat the merge: build it yourself, mask ="
            " torch.rand(tau.shape, generator=generator) >= p."
        ),
    ),
    (
        r"Expected p_in",
        (
            "torch.bernoulli takes PROBABILITIES between 0 and 1, one for each entry: torch.bernoulli("
            "torch.full_like(tau, 1 - p), generator=generator) is 1 where an entry stays."
        ),
    ),
    (
        r"bernoulli\(\) received",
        "torch.bernoulli takes a tensor, one probability for each entry: torch.full_like(tau, 1 - p).",
    ),
    (
        r"generator|Generator",
        "A torch.Generator is handed on by its name: torch.rand(tau.shape, generator=generator).",
    ),
    (r"unpack|out of range", "tau may be one task vector, (d,), or several, (n, d): use tau.shape as it is."),
    (
        r"bool tensor is not supported",
        "A mask of True and False: ~mask turns it round, and mask.float() makes numbers of it.",
    ),
    (r"must be Tensor", "p is a plain number: compare a tensor of random numbers with it, torch.rand(...) >= p."),
]


def factor(scale: float, p: float, counted: float, l1: float, l2: float) -> str:
    """What to say of the number that the kept entries were multiplied by, which should be 1 / (1 - p)."""
    found = [
        (NO_RESCALE, 1.0),
        (BY_P, 1 / p),
        (TIMES_KEEP, 1 - p),
        (TIMES_P, p),
        (TWICE, (1 - p) ** -2),
        (ROOT, (1 - p) ** -0.5),
        (ONE_PLUS, 1 + p),
        (COUNTED, counted),
        (L1, l1),
        (L2, l2),
        (NEGATIVE, -1 / (1 - p)),
    ]
    hint = next((hint for hint, value in found if math.isclose(scale, value, rel_tol=1e-4)), "")
    said = f"(The entries that stay are tau times {scale:.4g}: it should be 1 / (1 - p) = {1 / (1 - p):.4g}.)"
    return f"{hint} {said}" if hint else f"The share that is dropped is right, the factor is not. {said}"


def keep_rate(scale: float, p: float) -> str:
    """1 - p of the entries were dropped."""
    if math.isclose(scale, 1 / p, rel_tol=1e-4):
        return f"{KEEP_RATE} (Dropped: {1 - p:.3g}. Divided by p, so the mean is right, but for another p.)"
    if math.isclose(scale, 1 / (1 - p), rel_tol=1e-4):
        return f"{KEEP_RATE} (Dropped: {1 - p:.3g}. The mean is p / (1 - p) tau so.)"
    return f"{KEEP_RATE} (Dropped: {1 - p:.3g}. And the kept entries are tau times {scale:.4g}, not 1 / (1 - p).)"


def another_rate(share: float, p: float, count: int) -> str:
    near, hint = min((abs(share - rate), hint) for rate, hint in _rates(p))
    hint = hint if near < 4.5 * math.sqrt(share * (1 - share) / count) else ""
    return (
        f"{share:.3g} of the {count} entries were dropped, and the probability p is {p:g}.{hint} Drop where"
        " torch.rand(tau.shape, generator=generator) < p."
    )


def _rates(p: float) -> list[tuple[float, str]]:
    two = " Are there two coins for each entry, where one is enough?"
    normal = (
        " Is torch.randn in the place of torch.rand? The latter is even between 0 and 1, so below p with probability p."
    )
    half = " Are the random numbers rounded, or compared with 0.5? Compare them with p."
    return [(p**2, two), (1 - (1 - p) ** 2, two), (_normal(p), normal), (0.5, half)]


def none_dropped(scale: float, p: float) -> str:
    for hint, value in ((UNCHANGED, 1.0), (EXPECTATION, 1 - p), (ONE_COIN, 1 / (1 - p))):
        if math.isclose(scale, value, rel_tol=1e-4):
            return hint
    return f"Nothing became 0, everything was multiplied by {scale:.4g}: each entry is dropped with the probability p."


def _normal(x: float) -> float:
    """The probability that a standard normal number is below x."""
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))
