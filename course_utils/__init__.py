"""Many Models: the small library behind the course's notebooks. A folder a topic of the lecture; see README.md."""

from importlib import import_module
from types import ModuleType

# What the notebooks import as `from course_utils import models`, and where it is. Loaded when asked for: most need
# transformers.
SHORT_NAMES = {
    **{name: f"course_utils.shelf.{name}" for name in ("chat", "corpora", "denoisers", "models", "polarity")},
    "plots": "course_utils.explore.style",
}


def __getattr__(name: str) -> ModuleType:
    if name in SHORT_NAMES:
        return import_module(SHORT_NAMES[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
