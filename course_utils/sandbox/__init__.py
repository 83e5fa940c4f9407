"""A sandbox for code that nobody has read: `run_python` runs what a model wrote, the grader what a student wrote, both
in `jail`."""
