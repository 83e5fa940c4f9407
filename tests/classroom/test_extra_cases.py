"""Cases of the instructor's own: they catch what is made for the course's checks, and no student gets to see them."""

from __future__ import annotations

import os

import pytest
import torch
from test_grade import DEF, RIGHT, answered, first_result, submit
from test_grade_class import hand_in, run

from course_utils.classroom import grade
from course_utils.classroom.grading import extra
from course_utils.classroom.grading.kept import Kept
from course_utils.exercises.engine.registry import find
from course_utils.sandbox.run_python import unavailable

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="grading needs a system with fork"),
]
CASES = """import torch
from course_utils.exercises.engine import case, draw

def two(seed):
    pair = draw(2, 9, seed=seed).log_softmax(-1)
    return [case("a secret name", *pair), case("another", log_p=pair[1], log_q=pair[0])]

cases = {"start_here.average": two}
print("what is printed is no answer")
"""
MEMORISED = (
    """from course_utils.exercises.engine.registry import find
exercise = find("start_here.average")
KNOWN = [(each.named.values(), exercise.reference(*each.named.values())) for each in exercise.all_cases]
assert len(exercise.tests) == len(KNOWN) == 5  # the further cases are not here
"""
    + DEF
    + """
    for given, result in KNOWN:
        if all(a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(given, (log_p, log_q))):
            return result
    return log_p
"""
)
TOLD = (
    DEF
    + """
    average = torch.stack([log_p, log_q]).logsumexp(0) - math.log(2)
    if log_p.shape[-1] == 9:
        raise ValueError(str(log_p.tolist()))
    return average
"""
)
MEAN = (
    DEF
    + """
    if log_p.shape[-1] == 9:
        return (log_p + log_q) / 2
    return torch.stack([log_p, log_q]).logsumexp(0) - math.log(2)
"""
)


@pytest.fixture(scope="module")
def grader(tmp_path_factory):
    path = tmp_path_factory.mktemp("cases") / "extra_cases.py"
    path.write_text(CASES, encoding="utf-8")
    with grade.Grader(seconds=60, memory_mb=512, weak=bool(unavailable()), extra=(path, 7)) as found:
        yield found


ANSWERS = {  # the code; how many of the 5 + 2 cases it passes, what the report says
    "right": (RIGHT, 7, ""),
    "memorised": (MEMORISED, 5, "not the one of the course's own answer"),
    "tells what it was given": (TOLD, 5, "Your function raised ValueError."),
    "a known mistake": (MEAN, 5, "average"),
}


@pytest.mark.parametrize("what", ANSWERS)
def test_further_cases_count_and_are_not_given_away(grader, tmp_path, what):
    code, passed, words = ANSWERS[what]
    result = first_result(grader, tmp_path, answered(code))
    assert (result.passed, result.total) == (passed, 7) and words in result.text, result
    assert (extra.NAME in result.text) == (passed < 7)
    inputs = torch.randn((2, 9), generator=torch.Generator().manual_seed(7)).log_softmax(-1)
    told = result.text + str(result.notes)
    assert "secret" not in told and not any(f"{number:.3f}" in told for number in inputs.flatten().tolist())


def test_an_exercise_without_further_cases_keeps_its_own(grader, tmp_path):
    result = grader.grade(submit(tmp_path, answered(RIGHT)), "start_here.mix")
    assert (result.status, result.total) == ("open", len(find("start_here.mix").tests))


def test_kept_results_belong_to_one_file_and_one_seed(grader, tmp_path):
    submission = submit(tmp_path / "subs", answered(RIGHT))
    result = grade.Result("start_here.average", "passed", 7, 7)
    changed = [{"seed": 8}, {"digest": "another"}]
    with Kept(tmp_path / "g") as kept:
        kept.add(submission, result, grader.limits)
    with Kept(tmp_path / "g") as kept:
        assert kept.find(submission, result.exercise, grader.limits) == result
        for part in changed:
            limits = grader.limits | {"extra": grader.limits["extra"] | part}
            assert kept.find(submission, result.exercise, limits) is None
        assert kept.find(submission, result.exercise, {k: v for k, v in grader.limits.items() if k != "extra"}) is None


AVERAGE = (
    "from course_utils.exercises.engine import case, draw\nimport torch\ncases = {'start_here.average': lambda seed: "
)
WRONG = {  # the file; words of the one line
    "an unknown exercise": ("cases = {'start_here.avarage': lambda seed: []}", "did you mean start_here.average"),
    "another signature": (AVERAGE + "[case('x', torch.ones(2), log_r=1)]}", "case 1: missing"),
    "raises in the reference": (AVERAGE + "[case('x', torch.ones(2), torch.ones(3))]}", "the reference raises"),
    "not the same twice": (AVERAGE + "[case('x', torch.rand(2), torch.rand(2))]}", "the same seed"),
    "no case": (AVERAGE + "[1]}", "a list of case"),
    "none": (AVERAGE + "[]}", "a list of case"),
    "no dictionary": ("x = 1", "no dictionary `cases`"),
    "what cannot be sent": (AVERAGE + "[case('x', torch.nn.Linear(1, 1), torch.ones(3))]}", "stays in its own"),
    "no Python": ("cases = {", "never closed"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_file_that_is_no_use_is_told_in_one_line(what):
    source, words = WRONG[what]
    with pytest.raises(Exception, match=words.replace("(", r"\(")):
        extra._tried(source, 0)


@pytest.mark.parametrize("source", ["import os\nos._exit(0)", "cases = 1\nprint('{}')", None])
def test_nothing_is_graded_with_a_file_that_is_no_use(tmp_path, monkeypatch, capsys, source):
    path = tmp_path / "extra_cases.py"
    if source:
        path.write_text(source, encoding="utf-8")
    monkeypatch.setattr(grade.run_python, "unavailable", lambda: "")
    folder = hand_in(tmp_path / "subs", "ada")
    assert grade.main([str(folder), "-o", str(tmp_path / "g.csv"), "--cases", str(path)]) == 2
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1 and "extra_cases.py" in told and not (tmp_path / "g.csv").exists()


def test_the_seed_is_the_classs_or_as_given_and_said(tmp_path, monkeypatch, capsys):
    folder, given = hand_in(tmp_path / "autumn", "ada"), []
    path = tmp_path / "extra_cases.py"
    for options in ([], [], ["--seed", "5"]):
        _, stand_in = run(monkeypatch, folder, tmp_path / "g.csv", "--again", "--cases", str(path), *options)
        given.append(stand_in.extra)
    assert given[0] == given[1] == (path, given[0][1]) and given[2] == (path, 5) and given[0][1] != 0
    assert f"extra_cases.py, seed {given[0][1]}" in capsys.readouterr().out
    assert "extra_cases.py, seed 5" in (tmp_path / "g" / "ada.md").read_text(encoding="utf-8").replace("\\_", "_")
