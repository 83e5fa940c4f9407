"""The parts of the grader, whose command is `python -m course_utils.classroom.grade`.

`cells` chooses the cells to run, `worker` runs them in the sandbox, `judge` and `student` are its two processes, `wire`
carries values between them, `report` writes the grades."""
