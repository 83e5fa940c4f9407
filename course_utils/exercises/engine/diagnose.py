"""Try an answer on one case and, if the result is wrong, say why: the mistake by its name, or how the results
differ."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from course_utils.exercises.engine import distributions
from course_utils.exercises.engine.calls import Mistake, NotAttempted, StudentError, clone, in_two, same
from course_utils.exercises.engine.compare import alike, capitalised, close, kind
from course_utils.exercises.engine.exercise import Case, Exercise, KnownMistake

__all__ = ["Named", "test_case", "tried"]

SHAPES_CLASH = (
    r"must match|Expected size|not broadcastable|shape mismatch|inconsistent tensor size|cannot be multiplied|subscript"
    r"|size mismatch|could not (be )?broadcast|boolean index did not match|mismatch in its core dimension|not aligned"
)
NUMPY = (
    "The arguments are NumPy arrays: NumPy says axis= instead of dim=, np.argsort(-x)[:k] instead of topk and x.copy()"
    " instead of x.clone(). Or turn them into tensors first: torch.from_numpy(x)."
)
OWN = (
    "Two calls with the same input give two results: you draw random numbers of your own. All that is random is given."
)
AMBIGUOUS = (
    "`if`, `and`, `or` and `not` need one truth value, and here there is one for every entry: use np.where or a "
    "mask, & | ~, or a loop over the single items."
)


class _Failed:
    """In the place of a result: a call that raised."""


def test_case(exercise: Exercise, case: Case, answer: Callable, say_why: bool = True) -> None:
    """Raises Mistake if the answer is wrong on this case; what it raises itself goes through.

    say_why: False only says that it is wrong, which is much faster.
    """
    args = tuple(case.named.values())
    try:
        got = _seen(tried(exercise, answer, args), case, args)
    except StudentError as wrapped:
        if case.excuses and re.search(case.excuses, str(wrapped.error)):
            return
        wrapped.advice = case.advice
        raise
    except Mistake as found:
        if case.excuses and re.search(case.excuses, str(found)):  # in the words of the exercise's `errors`
            return
        raise
    expected = _seen(exercise.called(exercise.reference)(*clone(args)), case, args)
    if _is_right(exercise, got, expected, args):
        return
    if not say_why:
        raise Mistake("This is not right.")
    try:
        _name_the_mistake(exercise, case, answer, got, expected)
        said = _explained(exercise, got, expected, args)
        if said:
            raise _graded(said)
        _say_if_it_draws(exercise, case, answer, got, expected)
        comparable = isinstance(got, (Tensor, np.ndarray, float)) and np.shape(got) == np.shape(expected)
        if comparable and not case.advice:  # a corner is explained by its advice
            _say_what_it_depends_on(exercise, answer)
        _say_the_difference(exercise, got, expected, args)
    except Mistake as found:
        if case.advice and not isinstance(found, Named):
            found = Mistake(f"{found} {case.advice}", found.pointer)
        raise found from None
    raise _graded(f"{capitalised(exercise.what)} is not right. {exercise.right}".strip())


def _explained(exercise: Exercise, got: Any, expected: Any, args: tuple) -> str:
    try:
        return exercise.explain(got, expected, *args) if exercise.explain else ""
    except Mistake:
        raise
    except Exception:  # a result of another kind, of which the difference tells
        return ""


def _graded(text: str, also: str = "") -> Mistake:
    """A Mistake of a text whose second line is for the second time; `also` ends the first line."""
    says, pointer = in_two(text)
    return Mistake(says + also, pointer)


class Named(Mistake):
    """A mistake that was recognised."""

    def __init__(self, known: KnownMistake, note: str) -> None:
        super().__init__(f"{known.says} {note}".strip(), known.pointer)
        self.known = known.key


def tried(exercise: Exercise, answer: Callable, args: tuple) -> Any:
    """answer(*args), with what Python, torch and NumPy commonly complain about said in words."""
    arrays = any(isinstance(value, np.ndarray) for value in args)
    try:
        return answer(*args)
    except StudentError as wrapped:
        said = str(wrapped.error).split("\n")[0]
        error = type(wrapped.error).__name__
        for pattern, hint in exercise.errors.items():
            if pattern != "shapes" and re.search(pattern, f"{error}: {said}"):
                raise _graded(hint, f" (Python said: {said})") from None
        if arrays and "ambiguous" in said:
            raise Mistake(f"{AMBIGUOUS} (NumPy said: {said})") from None
        if arrays and re.search(r"^AttributeError.*numpy\.|'dim'|must be Tensor, not numpy", f"{error}: {said}"):
            raise Mistake(f"{NUMPY} (Python said: {said})") from None
        if "shapes" in exercise.errors and error in ("RuntimeError", "IndexError", "ValueError"):
            if re.search(SHAPES_CLASH, said):
                raise _graded(exercise.errors["shapes"], f" ({'NumPy' if arrays else 'torch'} said: {said})") from None
        raise


def _seen(result: Any, case: Case, args: tuple) -> Any:
    if not case.view:
        return result
    try:
        return case.view(result, *args)
    except (Mistake, StudentError):
        raise
    except Exception as error:
        raise Mistake(
            f"Your result is {kind(result)}, which cannot be used here ({type(error).__name__}: {error})."
        ) from None


def _is_right(exercise: Exercise, got: Any, expected: Any, args: tuple) -> bool:
    if exercise.equal:
        try:
            return bool(exercise.equal(got, *args))
        except Exception:  # a result of another kind, of which the difference tells
            return False
    if exercise.returns:
        return distributions.is_right(got, expected, exercise.returns, exercise.atol)
    try:
        close(got, expected, exercise.atol, exercise.rtol)
    except Mistake:
        return False
    return True


def _say_the_difference(exercise: Exercise, got: Any, expected: Any, args: tuple) -> None:
    sizes = exercise.sizes(*args) if exercise.sizes else {}
    try:
        if exercise.returns:
            distributions.explain(got, expected, exercise, sizes)
        distributions.check_shape(got, expected, sizes, exercise.what)
        close(got, expected, exercise.atol, exercise.rtol, exercise.what)
    except Mistake as difference:
        says, pointer = in_two(exercise.right)
        raise Mistake(f"{difference} {says}".strip(), f"{difference.pointer} {pointer}".strip()) from None


def _say_if_it_draws(exercise: Exercise, case: Case, answer: Callable, got: Any, expected: Any) -> None:
    """Raise a Mistake if the answer draws random numbers of its own: then another seed gives another result."""
    if callable(got):  # one function never equals another
        return
    np.random.seed(1)
    torch.manual_seed(1)
    again = _result(answer, case)
    if again is not _Failed and not same(got, again) and same(expected, _right(exercise, case)):
        raise Mistake(OWN)


def _say_what_it_depends_on(exercise: Exercise, answer: Callable) -> None:
    """Raise a Mistake if there is an argument that the answer never looks at, in any declared case."""
    told: dict[str, bool] = {}
    for case in exercise.all_cases[: len(exercise.cases)]:
        mine, right = _result(answer, case), _right(exercise, case)
        if not isinstance(mine, (Tensor, np.ndarray, float)) or np.shape(mine) != np.shape(right):
            continue
        for name, value in case.named.items():
            other = _backwards(value)
            if other is None or told.get(name):
                continue
            changed = replace(case, named={**case.named, name: other})
            mine_then, right_then = _result(answer, changed), _right(exercise, changed)
            if mine_then is not _Failed and right_then is not _Failed and not alike(right_then, right):
                told[name] = not alike(mine_then, mine)
    for name, depends in told.items():
        if not depends:
            raise Mistake(
                f"Your result does not depend on {name}: it is the same for another {name}, and should not be."
            )


def _backwards(value: Any) -> Any:
    """The same numbers in reverse; None for what is no tensor or array of decimals."""
    if isinstance(value, Tensor) and value.is_floating_point() and value.dim():
        return value.detach().flip(-1)
    if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.ndim:
        return value[..., ::-1].copy()
    return None


# --- recognition -----------------------------------------------------------------------------------------------------


def _name_the_mistake(exercise: Exercise, failed: Case, answer: Callable, got: Any, expected: Any) -> None:
    """Raise the mistake that gives what the answer gives, on all declared cases and the one that failed.

    One case alone is not enough: two misconceptions may agree on it by chance.
    """
    others = [each for each in exercise.all_cases[: len(exercise.cases)] if each is not failed and each.names]
    results: dict[int, Any] = {id(failed): got}
    rights: dict[int, Any] = {id(failed): expected}

    def told(known: KnownMistake, wrong: Callable) -> Iterator[tuple[Any, Any, Any]]:
        """(the answer's result, the mistake's, the right one) of the cases that can tell, the failed one first."""
        for each in [failed] if known.anywhere else [failed, *others]:
            if id(each) not in results:
                results[id(each)] = _result(answer, each)
            if id(each) not in rights:
                rights[id(each)] = _right(exercise, each)
            triple = results[id(each)], _called(wrong, each), rights[id(each)]
            if any(result is _Failed for result in triple) or (known.anywhere and _has_nan(triple[0])):
                continue
            if each is failed or not (_has_nan(triple[0]) or _has_nan(triple[1])):
                yield tuple(map(exercise.form, triple)) if exercise.form else triple

    pairs = [(known, wrong) for known in exercise.known for wrong in known.wrong]
    for known, wrong in pairs:
        if _alike_everywhere(told(known, wrong)):
            note = distributions.sum_note(got, exercise) if exercise.returns else ""
            raise Named(known, note)
    if exercise.returns:
        distributions.explain_form(got, expected, exercise)
        for known, wrong in pairs:
            note = distributions.in_another_form(told(known, wrong), exercise)
            if note is not None:
                raise Named(known, note)


def _alike_everywhere(triples: Iterable[tuple[Any, Any, Any]]) -> bool:
    """Whether the first two of all are alike, and not always the third; ends at the first that differs."""
    told = False
    for mine, wrong, right in triples:
        if not alike(mine, wrong):
            return False
        told = told or not alike(right, wrong)
    return told


def _called(function: Callable, case: Case) -> Any:
    args = tuple(case.named.values())
    try:
        return _seen(function(*clone(args)), case, args)
    except Exception:
        return _Failed


def _result(answer: Callable, case: Case) -> Any:
    args = tuple(case.named.values())
    try:
        return _seen(answer(*args), case, args)
    except (StudentError, Mistake, NotAttempted):  # told where that case is tried
        return _Failed


def _right(exercise: Exercise, case: Case) -> Any:
    return _called(exercise.called(exercise.reference), case)


def _has_nan(value: Any) -> bool:
    if isinstance(value, Tensor):
        return bool(value.isnan().any())
    if isinstance(value, np.ndarray):
        return value.dtype.kind == "f" and bool(np.isnan(value).any())
    return isinstance(value, float) and value != value
