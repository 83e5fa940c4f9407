"""An exercise as data: the right function, the cases it is tried on, the mistakes that people make, the hints.

    EXERCISE = Exercise(
        "toy.double",
        reference=double,
        cases=[case("three numbers", x=torch.tensor([1.0, 2.0, 3.0])), case("a matrix", x=torch.ones(2, 3))],
        mistakes={"You squared it.\nA double is a sum.": lambda x: x**2},
        hints=["What is x + x?"],
    )

The engine calls the answer with the arguments of each case, and the expected result is the reference's. If they differ,
it looks for the mistake whose function gives what the answer gives, on all cases; if there is none, it says how the
two results differ.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from course_utils.exercises.engine.calls import Mistake, in_two

__all__ = [
    "Case",
    "Corner",
    "Exercise",
    "KnownMistake",
    "anywhere",
    "case",
    "draw",
    "gradient_for",
    "in_float64",
    "in_integers",
    "long_input",
    "mistake",
    "one_row",
    "with_zeros",
]


def draw(*shape: int, seed: int) -> Tensor:
    """Random normal numbers, float32."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@dataclass(frozen=True)
class Case:
    """One input of an exercise; `says` tells the student in one line what is tested. See `case`."""

    says: str
    args: tuple = ()
    named: Mapping[str, Any] = field(default_factory=dict)
    view: Callable | None = None
    names: bool = True
    advice: str = ""
    excuses: str = ""


def case(says: str, *args: Any, view: Callable | None = None, names: bool = True, **named: Any) -> Case:
    """An input, by position or by the names of the reference's parameters (the answer gets it by position).

    view: view(result, *args) is compared instead of the result, for the answer, the reference and every mistake: the
    gradient for an argument, for example, or what a returned function gives.
    names: False for a case that takes no part in naming mistakes found elsewhere, because there (with ties, or where
    something is 0/0) the same mistake has several results.
    """
    return Case(says, args, named, view, names)


def gradient_for(position: int, says: str = "") -> Callable:
    """A view: the gradient of the result's sum for the argument at `position` (0, 1, ...), zeros where none reaches it.

    says: what to say if the result carries no gradient at all, as a number or a detached tensor.
    """

    def view(result: Any, *args: Any) -> Tensor:
        if not isinstance(result, Tensor) or not result.requires_grad:
            raise Mistake(
                *in_two(
                    says or "The result carries no gradient: stay with tensors, without .item(), .detach() or no_grad."
                )
            )
        found = torch.autograd.grad(result.sum(), args[position], allow_unused=True)[0]
        return torch.zeros_like(args[position]) if found is None else found

    return view


@dataclass(frozen=True)
class KnownMistake:
    """A misconception. See `mistake`."""

    says: str
    wrong: tuple[Callable, ...]
    pointer: str = ""
    anywhere: bool = False

    @property
    def key(self) -> str:
        """What stands for it where its text does not: the same in every copy of the course that has this sentence."""
        return hashlib.sha256(self.says.encode()).hexdigest()[:12]


def mistake(says: str, *wrong: Callable, pointer: str = "", anywhere: bool = False) -> KnownMistake:
    """A misconception: what the student reads at the first failed check, and functions that make it.

    wrong: functions of the answer's own signature, one for each way to make this mistake. It is recognised if the
    answer gives what one of them gives on every case (cases in which one of the two raises or gives nan tell nothing).
    pointer: shown besides from the second failed check on: what to do instead. The line of code belongs in the hints.
    anywhere: it is enough if they are equal on the case that failed.
    """
    return KnownMistake(says, wrong, pointer, anywhere)


def anywhere(wrong: Callable) -> Callable:
    """The same function: as a mistake, it is recognised on the case that failed alone."""
    wrong.anywhere = True
    return wrong


# --- corners: cases that the engine makes from an exercise's first case ---------------------------------------------


@dataclass(frozen=True)
class Corner:
    """A change to the arguments. `change(named)` gets {parameter: value} and returns what is to be different.

    advice: added to what is said of a failure. excuses: a regular expression; errors that it fits are no failure.
    """

    says: str
    change: Callable[[dict[str, Any]], dict[str, Any]]
    advice: str = ""
    excuses: str = ""

    def of(self, made_from: Case) -> Case | None:
        """The case with this change; None if it changes nothing."""
        changed = self.change(dict(made_from.named))
        if not changed:
            return None
        says, named = f"{made_from.says}; {self.says}", {**made_from.named, **changed}
        return replace(made_from, says=says, named=named, names=False, advice=self.advice, excuses=self.excuses)


def _doubles(named: dict[str, Any]) -> dict[str, Any]:
    def double(value: Any) -> Any:
        if isinstance(value, Tensor) and value.dtype == torch.float32:
            return value.double()
        if isinstance(value, Mapping) and any(isinstance(item, Tensor) for item in value.values()):
            return type(value)((key, double(item)) for key, item in value.items())
        if isinstance(value, (list, tuple)) and value and all(isinstance(item, (Tensor, Mapping)) for item in value):
            return type(value)(double(item) for item in value)
        return value

    return {name: new for name, value in named.items() if (new := double(value)) is not value}


in_float64 = Corner(
    "everything in float64",
    _doubles,
    "The arguments are float64 here: name no dtype, or take the argument's, as zeros_like and x.dtype do.",
    # torch.zeros(n) is float32, and does not meet float64 everywhere: the stubs do not ask for that.
    excuses=r"dtype|scalar type|Double|Float|float64",
)


def one_row(*names: str, dim: int = 0) -> Corner:
    """Only the first row (along `dim`) of these arguments: `.squeeze()` and a batch of one do not go together."""
    index = (*[slice(None)] * dim, slice(1))
    return Corner(
        "one row only",
        lambda named: {name: named[name][index] for name in names},
        "There is one row only: does squeeze(), or an index without a colon, take away a dimension that should stay?",
    )


def with_zeros(*names: str, dim: int = -1) -> Corner:
    """One probability of 0, that is a log-probability of -inf, in each row of these log-probabilities, at another place
    in each."""

    def change(named: dict[str, Any]) -> dict[str, Any]:
        return {name: _without_one(named[name], i, dim) for i, name in enumerate(names)}

    return Corner(
        "with a probability of 0 (-inf) in it",
        change,
        "log 0 is -inf, and 0 * -inf and -inf - (-inf) are nan; a small constant in the logarithm changes the result.",
    )


def _without_one(log_probs: Tensor, place: int, dim: int) -> Tensor:
    index = torch.tensor([place % log_probs.shape[dim]])
    return log_probs.index_fill(dim, index, -torch.inf).log_softmax(dim)


def long_input(*names: str, times: int = 1000) -> Corner:
    """These arguments repeated along their last dimension: a product of thousands of probabilities underflows to 0."""
    return Corner(
        f"{times} times as long",
        lambda named: {
            name: named[name].repeat(*[1] * (named[name].dim() - 1), times)
            if isinstance(named[name], Tensor)
            else np.tile(named[name], times)
            for name in names
        },
        "A product of many probabilities is 0 in the computer: add logarithms.",
    )


def in_integers(*names: str) -> Corner:
    """These arguments as whole numbers, 0 and 1 for example: what is made like them cuts off the decimals."""

    def whole(value: Any) -> Any:
        return value.round().long() if isinstance(value, Tensor) else np.round(value).astype(int)

    return Corner(
        f"{' and '.join(names)} as whole numbers",
        lambda named: {name: whole(named[name]) for name in names},
        "An array that is made with the dtype of whole numbers (zeros_like, dtype=x.dtype) cuts off the decimals.",
    )


# --- the exercise ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Exercise:
    """One exercise. `reference` is the right function (the library's, where it has one) or the right value.

    name: "topic.name"; it lies in course_utils/exercises/topic/name.py as EXERCISE.
    cases: see `case`. hints: given one per call of `hint`, each saying more.
    mistakes: {what a student reads: a function of the answer's own signature that makes this mistake, or several}. The
        first line is the diagnosis, shown at once; the lines after it say what to do instead, and are shown from the
        second failed check on. The line of code belongs in the hints. A mistake is recognised if the answer gives what
        one of its functions gives on every case (a case in which one of the two raises or gives nan tells nothing);
        `anywhere(function)` is recognised if they are equal on the case that failed.
    corners: further cases, made from the first one. in_float64 is always among them, unless `float64` is False.
    seconds: the limit for the whole check.
    returns: "log-probabilities" or "probabilities" over the dimension `dim`, if the result is a distribution: the right
        one not normalised, or with or without logarithm, is then told apart, also for each mistake. "" for anything
        else.
    sizes: a function of the arguments, {size: "M members"}: names the dimensions where a shape is wrong.
    what: how messages call the result. nan, unnormalised: what to say of a result with nan, and of one that is right up
        to its normalisation.
    errors: {regular expression: what to say}, looked for in "TypeError: message" of what the answer raised; the key
        "shapes" stands for what torch and NumPy say of shapes that do not fit.
    equal: equal(result, *args) -> bool, where more than one result is right. explain: explain(result, expected, *args)
        -> text or "", what to say if no mistake is recognised; `right` goes behind the plain difference.
    form: applied to both results before a mistake is looked for, to sort a set for example.
    atol, rtol: how far a right result may be off.
    checks: functions of the answer that raise Mistake, for what cases cannot show; the first line of the docstring says
        what is tested.
    run: run(answer, ...) -> result, where an answer is not called with the arguments of the cases, as a kernel. Cases
        and mistakes then have the arguments of `run` after its first.
    """

    name: str
    reference: Any
    checks: Sequence[Callable[[Any], None]] = ()
    hints: Sequence[str] = ()
    seconds: float = 5.0
    cases: Sequence[Case] = ()
    mistakes: Mapping[str, Callable | Sequence[Callable]] | Sequence[KnownMistake] = field(default_factory=dict)
    corners: Sequence[Corner] = ()
    float64: bool = True
    returns: str = ""
    dim: int = -1
    sizes: Callable[..., Mapping[int, str]] | None = None
    what: str = "the result"
    nan: str = ""
    unnormalised: str = ""
    errors: Mapping[str, str] = field(default_factory=dict)
    equal: Callable[..., bool] | None = None
    explain: Callable[..., str] | None = None
    right: str = ""
    form: Callable[[Any], Any] | None = None
    atol: float = 1e-4
    rtol: float = 1e-4
    run: Callable[..., Any] | None = None

    def called(self, answer: Any) -> Any:
        """The answer (or the reference) as a function of the cases' arguments; a mistake is one already."""
        return answer if self.run is None or getattr(answer, "is_mistake", False) else partial(self.run, answer)

    @property
    def is_function(self) -> bool:
        return callable(self.reference)

    @property
    def topic(self) -> str:
        return self.name.split(".")[0]

    @cached_property
    def known(self) -> list[KnownMistake]:
        """The mistakes, one by one."""
        if not isinstance(self.mistakes, Mapping):
            return list(self.mistakes)
        found = []
        for text, functions in self.mistakes.items():
            says, pointer = in_two(text)
            functions = tuple(functions) if isinstance(functions, (list, tuple)) else (functions,)
            found.append(KnownMistake(says, functions, pointer, any(getattr(f, "anywhere", False) for f in functions)))
            for function in functions if self.run else ():
                function.is_mistake = True
        return found

    @cached_property
    def all_cases(self) -> list[Case]:
        """The declared cases, by the reference's parameters, and the corners made from the first one."""
        signature = inspect.signature(self.called(self.reference)) if self.is_function else None
        bound = [
            replace(each, args=(), named=dict(signature.bind(*each.args, **each.named).arguments))
            for each in self.cases
        ]
        corners = [in_float64, *self.corners] if self.float64 else self.corners
        return bound + [made for corner in corners if bound and (made := corner.of(bound[0]))]

    @cached_property
    def tests(self) -> list[Callable[[Any], None]]:
        """Functions of the answer that raise Mistake: one for each case, and then the exercise's own checks."""
        return [_test_of(self, each) for each in self.all_cases] + [*self.checks]


def _test_of(exercise: Exercise, each: Case) -> partial:
    """The test of one case; `quick` is the same without an explanation, for those after the first that fails."""
    from course_utils.exercises.engine.diagnose import test_case

    test = partial(test_case, exercise, each)
    test.__doc__ = _described(each)
    test.quick = partial(test_case, exercise, each, say_why=False)
    return test


def _described(each: Case) -> str:
    """What was tested and with what: "two tasks [tau (2, 8), density = 0.5]"."""
    given = []
    for name, value in each.named.items():
        if isinstance(value, (Tensor, np.ndarray)) and value.ndim:
            given.append(f"{name} {tuple(value.shape)}")
        elif isinstance(value, (int, float)) or (isinstance(value, (Tensor, np.ndarray)) and not value.ndim):
            given.append(f"{name} = {value if isinstance(value, int) else format(float(value), 'g')}")
        elif (
            isinstance(value, (list, tuple)) and 0 < len(value) <= 8 and all(isinstance(v, (int, float)) for v in value)
        ):
            given.append(f"{name} = {list(value)}")
    return each.says + (f" [{', '.join(given)}]" if given else "")
