"""Tests of 03_parameter_averaging: what an ensemble of language models costs at inference."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import Any

import torch

from course_utils.exercises.engine import Mistake

NAMES = ("members", "layers", "kv_heads", "head_dim", "context", "bytes_per_value", "parameters")
PARTS = ("weight_bytes", "cache_bytes", "multiply_adds_per_token")
FORMULAS = {
    "weight_bytes": "members * parameters * bytes_per_value",
    "cache_bytes": "members * 2 * layers * kv_heads * head_dim * context * bytes_per_value",
    "multiply_adds_per_token": "members * parameters",
}


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


ONE_MODEL = (
    "This is the cost of ONE model: that is what an averaged model costs, and why averaging is so cheap. An ensemble"
    " runs all its members, each with its own weights and its own cache."
)
MISSING = {
    ("weight_bytes", "members"): "An ensemble holds the weights of ALL its members.",
    ("weight_bytes", "bytes_per_value"): "This counts parameters, not bytes: each takes bytes_per_value.",
    ("weight_bytes", "parameters"): "The weights are the parameters: how many has each member?",
    (
        "cache_bytes",
        "members",
    ): "Each member computes its own keys and values: an ensemble has as many caches as members.",
    ("cache_bytes", "2"): "Keys without values: the cache keeps BOTH for each token, so there is a factor of 2.",
    ("cache_bytes", "context"): "The context is forgotten: the cache keeps a key and a value for EACH of its tokens.",
    ("cache_bytes", "bytes_per_value"): "This counts numbers, not bytes: each takes bytes_per_value.",
    (
        "cache_bytes",
        "kv_heads",
    ): "The heads are forgotten: each KV head has keys and values of its own, of head_dim numbers.",
    ("cache_bytes", "head_dim"): "head_dim is forgotten: a key is a vector of head_dim numbers, not one number.",
    ("cache_bytes", "layers"): "The layers are forgotten: each has keys and values of its own.",
    (
        "multiply_adds_per_token",
        "members",
    ): "Every member computes every token: the multiply-adds of all of them count.",
    ("multiply_adds_per_token", "parameters"): "Each parameter is multiplied and added once for each token.",
}
EXTRA = {
    ("multiply_adds_per_token", "2"): (
        "These are FLOPs: one multiply-add is two of them. Multiply-adds are asked, one for each parameter."
    ),
    ("multiply_adds_per_token", "context"): (
        "This is the cost of the whole context: it is asked for ONE token. The tokens before it are in the cache, and"
        " are not computed again."
    ),
    (
        "multiply_adds_per_token",
        "bytes_per_value",
    ): "Arithmetic is counted, not bytes: bytes_per_value has no place here.",
    ("multiply_adds_per_token", "layers"): "`parameters` already counts all the layers.",
    ("weight_bytes", "layers"): "`parameters` already counts all the layers.",
    ("weight_bytes", "2"): "Keys and values belong to the cache: the weights are there once.",
    ("weight_bytes", "context"): "The weights do not grow with the context: the cache does.",
    ("cache_bytes", "parameters"): "The cache holds keys and values, whatever the number of parameters is.",
    ("cache_bytes", "2"): "Keys and values are two, not four.",
}
ADVICE = {
    "a power": "a factor enters once, and nothing is squared",
    "1024": "in bytes, not in KiB, MiB or GiB",
    "1000": "in bytes, not in kB, MB or GB",
}


def _check(answer: Callable, numbers: dict[str, int], prime: bool) -> None:
    right = inference_cost(**numbers)
    got = _three(answer(**numbers))
    if all(_equal(mine, theirs) for mine, theirs in zip(got, right, strict=True)):
        return
    for order in permutations(range(3)):
        if all(_equal(got[i], right[place]) for place, i in enumerate(order)):
            raise Mistake(f"The three numbers are right, in another order: return {', '.join(PARTS)}.")
    if all(_equal(mine * numbers["members"], theirs) for mine, theirs in zip(got, right, strict=True)):
        raise Mistake(ONE_MODEL)
    said = [
        _explained(*values, numbers, prime) for values in zip(PARTS, got, right, strict=True) if not _equal(*values[1:])
    ]
    raise Mistake(" ".join(said[:2]))


def _three(got: Any) -> list[float]:
    """The answer as three numbers. Raises Mistake if it is anything else."""
    what = f"Three numbers are asked, ({', '.join(PARTS)})"
    if isinstance(got, torch.Tensor):
        got = got.tolist()
    if isinstance(got, dict):
        raise Mistake(f"{what}: a tuple, and not a dict.")
    if not isinstance(got, (tuple, list)):
        raise Mistake(
            f"{what}: they have different units, so they cannot be added up. You return {type(got).__name__}."
        )
    if len(got) != 3:
        raise Mistake(f"{what}, and you return {len(got)}.")
    try:
        return [value if isinstance(value, int) else float(value) for value in got]
    except (TypeError, ValueError):
        raise Mistake(f"{what}: yours are {got!r}.") from None


def _explained(part: str, got: float, right: int, numbers: dict[str, int], prime: bool) -> str:
    """Why this part is wrong. Where all the inputs are different primes, the factors of the answer tell."""
    found = _factors(part, got, right, numbers) if prime else []
    reasons = " ".join(found) or f"It is {got / right:.4g} times what it should be: {FORMULAS[part]}."
    return f"{part} is {got:,.6g}, expected {right:,}. {reasons}"


def _factors(part: str, got: float, right: int, numbers: dict[str, int]) -> list[str]:
    """The factors by which `got` differs from `right`, in words; [] if it is no product of the inputs and of 2s."""
    for unit, note in ((1024, ADVICE["1024"]), (1000, ADVICE["1000"])):
        for power in (1, 2, 3):
            if _equal(got * unit**power, right):
                return [f"The unit is wrong: {note}."]
    if got == right * 8:
        return ["These are bits: a byte has eight."]
    if not (got > 0 and float(got).is_integer()):
        return ["Something was divided: all the factors multiply."] if got > 0 and not float(got).is_integer() else []
    values, rest, found, most = {**numbers, "2": 2}, int(got), [], 0
    for name, value in values.items():
        times = 0
        while rest % value == 0:
            rest, times = rest // value, times + 1
        wanted = FORMULAS[part].replace("*", " ").split().count(name)
        most = max(most, times - wanted)  # factors too many may be chance, as in layers + 3 = 32
        if times < wanted:
            found.append(MISSING[part, name])
        elif times > wanted:
            twice = f"`{name}` enters twice: {ADVICE['a power']}."
            found.append(
                EXTRA.get((part, name), twice if wanted else f"`{name}` has no place in it: {FORMULAS[part]}.")
            )
    return found if rest == 1 and (most <= 0 or most == 1 and len(found) <= 2) else []


def _equal(a: float, b: float) -> bool:
    return abs(a - b) <= 1e-6 * abs(b)


def cost_primes(answer: Callable) -> None:
    """small prime numbers, so that a forgotten factor can be named"""
    numbers = dict(zip(NAMES, (5, 29, 11, 13, 31, 3, 10_007), strict=True))
    _check(answer, numbers, prime=True)


def cost_real(answer: Callable) -> None:
    """four members of SmolLM2-135M's size, 2048 tokens of context, float16"""
    _check(answer, dict(zip(NAMES, (4, 30, 3, 64, 2048, 2, 134_515_008), strict=True)), prime=False)


def cost_averaged(answer: Callable) -> None:
    """members = 1: what the averaged model costs"""
    _check(answer, dict(zip(NAMES, (1, 30, 3, 64, 2048, 2, 134_515_008), strict=True)), prime=False)
