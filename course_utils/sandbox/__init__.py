"""The one confinement of foreign code: `run_python` runs what a model wrote, the grader what a student wrote; `jail` is the fence."""
