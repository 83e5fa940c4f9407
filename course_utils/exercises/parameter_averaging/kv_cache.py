"""What an ensemble of language models costs at inference: weights, key-value cache, arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from course_utils.exercises.engine import Exercise, Mistake, anywhere, case
from course_utils.exercises.engine.compare import kind

NAMES = ("members", "layers", "kv_heads", "head_dim", "contexts", "bytes_per_value", "parameters")
PARTS = ("weight_bytes", "cache_bytes", "multiply_adds")
FACTORS = (  # of each of the three numbers
    ("members", "parameters", "bytes_per_value"),
    ("two", "members", "layers", "kv_heads", "head_dim", "tokens", "bytes_per_value"),
    ("members", "parameters", "texts"),
)
# Different primes, also 7 texts with 131 past tokens: so a factor too many or too few can be told.
PRIMES = (5, 29, 11, 13, [4, 40, 9, 1, 30, 17, 30], 3, 10_007)


def inference_cost(
    members: int,
    layers: int,
    kv_heads: int,
    head_dim: int,
    contexts: Sequence[int],
    bytes_per_value: int,
    parameters: int,
) -> tuple[int, int, int]:
    """What an ensemble costs that continues several texts at once: (weight_bytes, cache_bytes, multiply_adds).

    members: equal language models, each of `layers` layers with kv_heads KV heads of head_dim numbers. contexts: the
    number of past tokens of each text. cache_bytes: the KV cache, one key and one value for each past token of each
    text, each KV head, each layer, each member. multiply_adds: of one step, which adds a token to each text; one for
    each parameter and new token (the usual estimate; attention over the context, which grows with its length, is left
    out). An averaged model costs what members = 1 costs. Units: bytes, and multiply-adds (one is two FLOPs).
    Sources: Kaplan et al. (2020), section 2.1, for the estimate; Shazeer (2019), "Fast transformer decoding", for
    the cache.
    """
    weight_bytes = members * parameters * bytes_per_value
    cache_bytes = members * 2 * layers * kv_heads * head_dim * sum(contexts) * bytes_per_value  # 2: keys and values
    multiply_adds = members * parameters * len(contexts)
    return weight_bytes, cache_bytes, multiply_adds


def named_factors(given: Sequence[Any]) -> dict[str, int]:
    """The arguments by their names, and what is counted besides."""
    named = dict(zip(NAMES, given, strict=True))
    contexts = named.pop("contexts")
    return {**named, "two": 2, "tokens": sum(contexts), "texts": len(contexts)}


def _all(result: Any, *_: Any) -> Tensor:
    """A view: the three numbers. Raises Mistake if the result is anything else."""
    what = f"Three numbers are asked for, ({', '.join(PARTS)})"
    if isinstance(result, dict):
        raise Mistake(f"{what}: a tuple, not a dict.")
    if not isinstance(result, (tuple, list, np.ndarray, Tensor)):
        raise Mistake(f"{what}: they have different units, and cannot be added up. You return {kind(result)}.")
    if len(result) != 3:
        raise Mistake(f"{what}, and you return {len(result)}.")
    try:
        return torch.tensor([float(value) for value in result], dtype=torch.float64)
    except (TypeError, ValueError):
        kinds = ", ".join(kind(value) for value in result)
        raise Mistake(f"{what}, and yours are {kinds}.", "contexts is a list: what do its entries add up to?") from None


def _part(part: int) -> Callable:
    """A view: one of the three numbers."""
    return lambda result, *_: _all(result)[part].item()


def _but(part: int, scale: Callable[[Sequence[int]], float] = lambda contexts: 1, **powers: int) -> Callable:
    """A mistake in one of the three numbers: factors too many (1) or forgotten (-1). Each number has its own case, so
    it is recognised whatever the other two are."""

    def wrong(*given: Any) -> tuple[float, ...]:
        values, named = list(inference_cost(*given)), named_factors(given)
        values[part] *= scale(given[4]) * math.prod(named[key] ** n for key, n in powers.items())
        return tuple(values)

    return anywhere(wrong)


def _without(part: int, name: str) -> list[Callable]:
    """This factor is forgotten, alone or together with one that is looked for after it."""
    later = FACTORS[part][FACTORS[part].index(name) + 1 :]
    return [_but(part, **{name: -1}), *(_but(part, **{name: -1, other: -1}) for other in later)]


def _explain(got: Any, expected: Any, *given: Any) -> str:
    """By which factor one number is off, and what has that value."""
    if not isinstance(got, float) or not got > 0:
        return ""
    more, off = got > expected, max(got / expected, expected / got)
    values = {value: name for name, value in named_factors(given).items()}
    name = next((f": {name} is {value}" for value, name in values.items() if math.isclose(off, value)), "")
    return f"Yours is {off:.4g} times too {'large' if more else 'small'}{name}. Which factor is that?"


EXERCISE = Exercise(
    "parameter_averaging.kv_cache",
    reference=inference_cost,
    atol=1e-6,
    rtol=1e-6,
    cases=[
        *(case(f"{part}, contexts = {PRIMES[4]}", *PRIMES, view=_part(i)) for i, part in enumerate(PARTS)),
        case("four SmolLM2-135M, contexts = [2048, 500, 7]", 4, 30, 3, 64, [2048, 500, 7], 2, 134_515_008, view=_all),
        case("one: what an averaged model costs", 1, 30, 3, 64, [256], 4, 134_515_008, view=_all),
    ],
    explain=_explain,
    errors={"can't multiply|'list'|not iterable": "contexts is a list with the number of past tokens of each text."},
    mistakes={
        "This is the cost of one model: that is what an averaged model costs, and why averaging is so cheap.\n"
        "An ensemble runs all its members, each with its own weights and its own cache.": (
            lambda members, *others: inference_cost(1, *others)
        ),
        f"The three numbers are right, in another order: return {', '.join(PARTS)}.": [
            lambda *given, order=order: tuple(inference_cost(*given)[i] for i in order)
            for order in list(permutations(range(3)))[1:]
        ],
        "The unit is wrong: it is asked for in bytes, not in KiB, MiB or GiB, kB, MB or GB.": [
            _but(part, lambda c, x=x, n=n: x**-n) for part in (0, 1) for x in (1024.0, 1000.0) for n in (1, 2, 3)
        ],
        "An ensemble holds the weights of all its members.": _without(0, "members"),
        "The weights are the parameters: how many has each member?": _without(0, "parameters"),
        "This counts parameters, not bytes: each takes bytes_per_value.": _without(0, "bytes_per_value"),
        "The weights are there once, however many texts are continued.": _but(0, texts=1),
        "The weights do not grow with the context: the cache does.": _but(0, tokens=1),
        "The cache counts one text only, the longest, the first or the last: each text has keys and values.": [
            _but(1, lambda c, f=f: f(c) / sum(c)) for f in (max, lambda c: c[0], lambda c: c[-1])
        ],
        "All texts are counted as long as the longest: a cache holds what was read, and nothing is padded.": _but(
            1, lambda c: len(c) * max(c) / sum(c)
        ),
        "The new token of each text is counted too: the cache holds the past ones.": _but(
            1, lambda c: 1 + len(c) / sum(c)
        ),
        "This is the cache of a text of mean length: all texts have theirs.": _but(1, texts=-1),
        "The cache counts texts, not tokens: it keeps a key and a value for each past token of each text.": _but(
            1, tokens=-1, texts=1
        ),
        "Keys without values: the cache keeps both for each token.\nSo there is a factor of 2.": _without(1, "two"),
        "Each member computes its own keys and values.\nAn ensemble has as many caches as members.": _without(
            1, "members"
        ),
        "The layers are forgotten: each has keys and values of its own.": _without(1, "layers"),
        "The heads are forgotten: each KV head has keys and values of its own.": _without(1, "kv_heads"),
        "head_dim is forgotten: a key is a vector of head_dim numbers, not one number.": _without(1, "head_dim"),
        "The contexts are forgotten: the cache keeps a key and a value for each past token.": _without(1, "tokens"),
        "This counts numbers, not bytes: each takes bytes_per_value.": _without(1, "bytes_per_value"),
        "Every member computes every token: the multiply-adds of all of them count.": _without(2, "members"),
        "Each parameter is multiplied and added once for each token.": _without(2, "parameters"),
        "This is the work for one text: a step adds one token to each of them.": _but(2, texts=-1),
        "These are FLOPs: one multiply-add is two of them.\nMultiply-adds are asked for, one for each parameter.": _but(
            2, two=1
        ),
        "This is the cost of reading all past tokens: a step computes one new token for each text.\n"
        "The tokens before it are in the cache, and are not computed again.": [
            _but(2, tokens=1, texts=-1),
            _but(2, tokens=1),
        ],
        "Arithmetic is counted, not bytes.\nLeave out bytes_per_value.": _but(2, bytes_per_value=1),
        "`parameters` already counts all the layers.": [_but(0, layers=1), _but(2, layers=1)],
    },
    hints=[
        "Begin with one model and one text. What does it keep in memory whatever it reads, what does it keep for each"
        " token it has read, and what does it compute for the next one? Which of these grow with the number of texts?",
        "The cache of one model: keys and values, for each layer, each KV head, each past token of any text, a vector"
        " of head_dim numbers. Each parameter is one multiply-add for each new token. Then times the members, all"
        " three.",
        "members * parameters * bytes_per_value, members * 2 * layers * kv_heads * head_dim * sum(contexts) *"
        " bytes_per_value, members * parameters * len(contexts)",
    ],
)
