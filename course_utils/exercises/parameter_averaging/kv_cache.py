"""What an ensemble of language models costs at inference: weights, key-value cache, arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import permutations
from typing import Any

import torch
from torch import Tensor

from course_utils.exercises.engine import Exercise, Mistake, case, mistake

NAMES = ("members", "layers", "kv_heads", "head_dim", "context", "bytes_per_value", "parameters")
PARTS = ("weight_bytes", "cache_bytes", "multiply_adds_per_token")
FACTORS = (  # of each of the three numbers
    ("members", "parameters", "bytes_per_value"),
    ("two", "members", "layers", "kv_heads", "head_dim", "context", "bytes_per_value"),
    ("members", "parameters"),
)
PRIMES = (5, 29, 11, 13, 31, 3, 10_007)  # so that a factor too many or too few can be told


def inference_cost(
    members: int, layers: int, kv_heads: int, head_dim: int, context: int, bytes_per_value: int, parameters: int
) -> tuple[int, int, int]:
    """What an ensemble costs for one sequence: (weight_bytes, cache_bytes, multiply_adds_per_token) of all its members.

    members: equal language models, each of `layers` layers with kv_heads KV heads of head_dim numbers.
    weight_bytes: all parameters of all members. cache_bytes: the KV cache, one key and one value for each token of the
    context, each KV head, each layer, each member. multiply_adds_per_token: each parameter is multiplied and added once
    for each new token (the usual estimate; attention over the context, which grows with its length, is left out).
    An averaged model costs what members = 1 costs. Units: bytes, and multiply-adds (one is two FLOPs).
    Sources: Kaplan et al. (2020), section 2.1, for the estimate; Shazeer (2019), "Fast transformer decoding", for
    the cache.
    """
    weight_bytes = members * parameters * bytes_per_value
    cache_bytes = members * 2 * layers * kv_heads * head_dim * context * bytes_per_value  # 2: keys and values
    multiply_adds_per_token = members * parameters
    return weight_bytes, cache_bytes, multiply_adds_per_token


def _all(result: Any, *_: int) -> Tensor:
    """A view: the three numbers. Raises Mistake if the result is anything else."""
    what = f"Three numbers are asked for, ({', '.join(PARTS)})"
    if isinstance(result, dict):
        raise Mistake(f"{what}: a tuple, not a dict.")
    if not isinstance(result, (tuple, list, Tensor)):
        raise Mistake(f"{what}: they have different units, and cannot be added up. You return {type(result).__name__}.")
    if len(result) != 3:
        raise Mistake(f"{what}, and you return {len(result)}.")
    try:
        return torch.tensor([float(value) for value in result], dtype=torch.float64)
    except (TypeError, ValueError):
        raise Mistake(f"{what}: yours are {result!r}.") from None


def _part(part: int) -> Callable:
    """A view: one of the three numbers."""
    return lambda result, *_: _all(result)[part].item()


def _but(part: int, scale: float = 1, **powers: int) -> Callable:
    """The right answer but for one of the three numbers, which has factors too many (1) or forgotten (-1)."""

    def wrong(*given: int) -> tuple[float, ...]:
        values, named = list(inference_cost(*given)), {**dict(zip(NAMES, given, strict=True)), "two": 2}
        values[part] *= scale * math.prod(named[key] ** n for key, n in powers.items())
        return tuple(values)

    return wrong


one_number = partial(mistake, anywhere=True)  # recognised whatever the other two numbers are: each has its own case


def _forgotten(part: int, name: str, says: str, pointer: str = "") -> Any:
    """A mistake: this factor is forgotten, alone or together with one that is looked for after it."""
    later = FACTORS[part][FACTORS[part].index(name) + 1 :]
    forms = [_but(part, **{name: -1}), *(_but(part, **{name: -1, other: -1}) for other in later)]
    return one_number(says, *forms, pointer=pointer)


def _explain(got: Any, expected: Any, *_: int) -> str:
    if not isinstance(got, float) or not got > 0:
        return ""
    return f"Yours is {got / expected:.4g} times what it should be: which factor is that?"


EXERCISE = Exercise(
    "parameter_averaging.kv_cache",
    reference=inference_cost,
    atol=1e-6,
    rtol=1e-6,
    cases=[
        *(case(f"{part} for small prime numbers", *PRIMES, view=_part(i)) for i, part in enumerate(PARTS)),
        case("four of SmolLM2-135M's size, context 2048, float16", 4, 30, 3, 64, 2048, 2, 134_515_008, view=_all),
        case("members = 1: what the averaged model costs", 1, 30, 3, 64, 2048, 2, 134_515_008, view=_all),
    ],
    explain=_explain,
    mistakes=[
        mistake(
            "This is the cost of one model: that is what an averaged model costs, and why averaging is so cheap.",
            lambda members, *others: inference_cost(1, *others),
            pointer="An ensemble runs all its members, each with its own weights and its own cache.",
        ),
        mistake(
            f"The three numbers are right, in another order: return {', '.join(PARTS)}.",
            *(
                lambda *given, order=order: tuple(inference_cost(*given)[i] for i in order)
                for order in list(permutations(range(3)))[1:]
            ),
        ),
        one_number(
            "The unit is wrong: it is asked for in bytes, not in KiB, MiB or GiB, kB, MB or GB.",
            *(_but(part, float(unit) ** -n) for part in (0, 1) for unit in (1024, 1000) for n in (1, 2, 3)),
        ),
        one_number("These are bits: a byte has eight.", _but(0, 8), _but(1, 8)),
        _forgotten(0, "members", "An ensemble holds the weights of all its members."),
        _forgotten(0, "parameters", "The weights are the parameters: how many has each member?"),
        _forgotten(0, "bytes_per_value", "This counts parameters, not bytes: each takes bytes_per_value."),
        _forgotten(1, "two", "Keys without values: the cache keeps both for each token.", "So there is a factor of 2."),
        _forgotten(
            1,
            "members",
            "Each member computes its own keys and values.",
            "An ensemble has as many caches as members.",
        ),
        _forgotten(1, "layers", "The layers are forgotten: each has keys and values of its own."),
        _forgotten(1, "kv_heads", "The heads are forgotten: each KV head has keys and values of its own."),
        _forgotten(1, "head_dim", "head_dim is forgotten: a key is a vector of head_dim numbers, not one number."),
        _forgotten(1, "context", "The context is forgotten: the cache keeps a key and a value for each of its tokens."),
        _forgotten(1, "bytes_per_value", "This counts numbers, not bytes: each takes bytes_per_value."),
        _forgotten(2, "members", "Every member computes every token: the multiply-adds of all of them count."),
        _forgotten(2, "parameters", "Each parameter is multiplied and added once for each token."),
        one_number(
            "These are FLOPs: one multiply-add is two of them.",
            _but(2, two=1),
            pointer="Multiply-adds are asked for, one for each parameter.",
        ),
        one_number(
            "This is the cost of the whole context: it is asked for one token.",
            _but(2, context=1),
            pointer="The tokens before it are in the cache, and are not computed again.",
        ),
        one_number(
            "Arithmetic is counted, not bytes.", _but(2, bytes_per_value=1), pointer="Leave out bytes_per_value."
        ),
        one_number("`parameters` already counts all the layers.", _but(0, layers=1), _but(2, layers=1)),
        one_number("Keys and values belong to the cache: the weights are there once.", _but(0, two=1)),
        one_number("The weights do not grow with the context: the cache does.", _but(0, context=1)),
        one_number("The cache holds keys and values, whatever the number of parameters is.", _but(1, parameters=1)),
        one_number("Keys and values are two, not four.", _but(1, two=1)),
        *(
            one_number(
                f"`{name}` enters twice: a factor enters once, and nothing is squared.",
                *(_but(part, **{name: 1}) for part in range(3) if name in FACTORS[part]),
            )
            for name in NAMES
        ),
        *(
            one_number(
                f"`{name}` has no place in it: weights and arithmetic do not depend on it.",
                _but(0, **{name: 1}),
                _but(2, **{name: 1}),
            )
            for name in ("kv_heads", "head_dim")
        ),
        one_number(
            "Something was divided: all the factors multiply.",
            *(_but(part, **{name: -2}) for part in range(3) for name in FACTORS[part] if name != "two"),
        ),
    ],
    hints=[
        "Begin with one model. What does it keep in memory whatever it reads, what does it keep for each token it has"
        " read, and what does it compute for the next one?",
        "The cache of one model: keys and values, for each layer, each KV head, each token of the context, a vector of"
        " head_dim numbers. Each parameter is one multiply-add a token. Then times the members, all three.",
        "members * parameters * bytes_per_value, members * 2 * layers * kv_heads * head_dim * context * "
        "bytes_per_value, members * parameters",
    ],
)
