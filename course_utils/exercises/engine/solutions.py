"""The source of a reference solution, in a form that runs when it is pasted into a notebook."""

from __future__ import annotations

import ast
import builtins
import inspect
import sys
import textwrap
from types import ModuleType
from typing import Any

import torch

__all__ = ["solution_source"]


def solution_source(reference: Any, as_name: str | None = None) -> str:
    """The source of a function or class, led by the imports that it needs, or the literal of a value.

    as_name: the name that the notebook uses for it; a last line `as_name = ...` is added where it differs.
    Raises ValueError if a function was not written in a file.
    """
    if not callable(reference):
        text = _literal(reference)
        return f"{as_name} = {text}" if as_name else text
    try:
        source = textwrap.dedent(inspect.getsource(reference)).rstrip()
    except (OSError, TypeError):
        raise ValueError(f"the source of {reference!r} is not at hand") from None
    lines = [*_imports(source, reference), source]
    if as_name and as_name != reference.__name__:
        lines += ["", f"{as_name} = {reference.__name__}"]
    return "\n".join(lines)


def _imports(source: str, reference: Any) -> list[str]:
    """One import line for every name that the source takes from its module, then one empty line."""
    module = inspect.getmodule(reference)
    tree = ast.parse(source)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} - {reference.__name__}
    made = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    lines = []
    for name in sorted(used - made):
        if not hasattr(module, name) or hasattr(builtins, name):
            continue
        value = getattr(module, name)
        if isinstance(value, ModuleType):
            lines.append(f"import {value.__name__}" + ("" if value.__name__ == name else f" as {name}"))
        else:
            home = sys.modules.get(getattr(value, "__module__", None) or "")
            home = home if getattr(home, name, None) is value else module
            lines.append(f"from {home.__name__} import {name}")
    lines.sort(key=lambda line: line.startswith("from"))
    return [*lines, ""] if lines else []


def _literal(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"torch.tensor({value.tolist()}, dtype={value.dtype})"
    return repr(value)
