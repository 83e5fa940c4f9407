"""Cases of the instructor's own: `grade --cases extra_cases.py --seed 7`.

    from course_utils.exercises.engine import case, draw

    cases = {
        "start_here.average": lambda seed: [
            case("nine words", *draw(2, 9, seed=seed).log_softmax(-1)),
        ],
    }

For each exercise a function of the seed that gives cases in the form of `course_utils.exercises.engine.case`. They are
tried after the exercise's own and count like them; what is expected is what the reference gives. The file may import
what the course imports, and has to draw the same for the same seed. It is run in the fence, where nothing lies beside
it.

No student sees the inputs. The judge reads the file from a descriptor after the student's process was divided off, so
they are in no memory or folder of that process before they are asked; reports call each of them NAME, and say no more
of a failure than which known mistake it is, or the name of Python's own exception. A submission that keeps what it is
asked has no way to send it.
"""

from __future__ import annotations

import builtins
import hashlib
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

__all__ = ["NAME", "Extra", "extended", "read_extra"]

NAME = "a further case of your instructor"
LARGEST = 1 << 20  # bytes of the file


@dataclass(frozen=True)
class Extra:
    """An instructor's file that was tried: counts: {exercise: how many cases}."""

    source: bytes
    seed: int
    counts: dict[str, int]

    @property
    def known(self) -> dict:
        """What workers, and kept results, know of it."""
        return {"digest": hashlib.sha256(self.source).hexdigest(), "seed": self.seed, "counts": self.counts}


def read_extra(path: Path, seed: int, environment: Mapping[str, str], folder: str) -> Extra:
    """The file, tried with the reference in a process of its own. Raises ValueError, in one line, if it is no use."""
    source = path.read_bytes()
    if len(source) > LARGEST:
        raise ValueError(f"{path} is larger than {LARGEST >> 20} MB")
    command = [sys.executable, "-B", "-P", "-m", "course_utils.classroom.grading.extra", str(seed)]
    done = subprocess.run(command, input=source, capture_output=True, env=environment, cwd=folder)
    try:
        told = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        told = {"error": "it ended its process"}
    if "error" in told:
        raise ValueError(f"{path.name}: {told['error']}, so nothing was graded")
    return Extra(source, seed, told["counts"])


def extended(name: str, source: str, seed: int):
    """The exercise with the cases that the file has for it. Raises ValueError where they cannot be used."""
    from course_utils.exercises.engine.registry import find

    exercise, make = find(name), _declared(source).get(name)
    if make is None:
        return exercise
    return replace(
        exercise, checks=[*exercise.checks, *(_test(exercise, each) for each in _drawn(exercise, make, seed))]
    )


def _declared(source: str) -> dict[str, Callable]:
    space = {"__name__": "extra_cases"}
    exec(compile(source, "extra_cases.py", "exec"), space)
    found = space.get("cases")
    if not isinstance(found, dict) or not found:
        raise ValueError("it defines no dictionary `cases` of {exercise: function of the seed}")
    return found


def _drawn(exercise, make: Callable, seed: int) -> list:
    """The cases with their arguments by the names of the reference's parameters."""
    from course_utils.exercises.engine.exercise import Case

    if not exercise.is_function:
        raise ValueError(f"{exercise.name}: its answer is a value, so there is nothing to call with other inputs")
    found = list(make(seed))
    if not found or not all(isinstance(each, Case) for each in found):
        raise ValueError(f"{exercise.name}: its function has to give a list of case(...)")
    signature = inspect.signature(exercise.called(exercise.reference))
    bound = []
    for number, each in enumerate(found, start=1):
        try:
            named = dict(signature.bind(*each.args, **each.named).arguments)
        except TypeError as error:
            raise ValueError(f"{exercise.name}, case {number}: {error}") from None
        bound.append(replace(each, args=(), named=named, names=False))
    return bound


def _test(exercise, each) -> Callable:
    """The test of one case, which gives nothing of it away."""
    from course_utils.exercises.engine.calls import Mistake, NotAttempted, StudentError
    from course_utils.exercises.engine.diagnose import Named, test_case

    def test(answer: Callable) -> None:
        try:
            test_case(exercise, each, answer)
        except (NotAttempted, Named):
            raise
        except StudentError as wrapped:
            kind = type(wrapped.error).__name__
            kind = kind if isinstance(getattr(builtins, kind, None), type) else "an exception of its own"
            raise Mistake(f"Your function raised {kind}.") from None
        except Exception:
            raise Mistake("The result is not the one of the course's own answer.") from None

    test.__doc__ = NAME
    return test


def _tried(source: str, seed: int) -> dict[str, int]:
    """How many cases there are of each exercise. Raises what is wrong with them."""
    from course_utils.classroom.grading.wire import Codec
    from course_utils.exercises.engine import time_limit
    from course_utils.exercises.engine.calls import StudentError, guard
    from course_utils.exercises.engine.diagnose import test_case
    from course_utils.exercises.engine.registry import find

    def sent(cases: list) -> list[bytes]:
        return [Codec(strict=True, follow=True).pack(list(each.named.values())) for each in cases]

    counts = {}
    for name, make in _declared(source).items():
        exercise = find(name)
        cases = _drawn(exercise, make, seed)
        if sent(cases) != sent(_drawn(exercise, make, seed)):
            raise ValueError(f"{name}: the same seed gives other cases the second time: draw with the seed alone")
        for number, each in enumerate(cases, start=1):
            reference = guard(exercise.called(exercise.reference))
            try:
                time_limit.run(partial(test_case, exercise, each, reference), exercise.seconds)
            except time_limit.TimeUp:
                raise ValueError(f"{name}, case {number}: it takes more than {exercise.seconds:g} seconds") from None
            except StudentError as wrapped:
                kind = type(wrapped.error).__name__
                raise ValueError(f"{name}, case {number}: the reference raises {kind}: {wrapped}") from None
            except Exception as error:
                raise ValueError(f"{name}, case {number}: the reference does not pass it: {error}") from None
        counts[name] = len(cases)
    return counts


def main() -> None:
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the file prints is no answer
    try:
        told = {"counts": _tried(sys.stdin.buffer.read().decode(), int(sys.argv[1]))}
    except ValueError as error:
        told = {"error": str(error).split("\n")[0][:400]}
    except Exception as error:
        told = {"error": f"{type(error).__name__}: {error}".split("\n")[0][:400]}
    print(json.dumps(told), file=out, flush=True)


if __name__ == "__main__":
    main()
