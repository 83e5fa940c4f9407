"""How the wrong answers of notebook 10 are written: a function with the imports it uses, as in a student's own cell."""

from __future__ import annotations

from . import WrongAnswer


def function(exercise: str, signature: str, label: str, body: str, says: str) -> WrongAnswer:
    lines = "\n".join("    " + line for line in body.strip().splitlines())
    modules = ("import math", "math."), ("import numpy as np", "np.")
    imports = "".join(f"{line}\n" for line, used in modules if used in body)
    code = f"{imports}import torch\nimport torch.nn.functional as F\n\n\ndef {signature}:\n{lines}\n"
    return WrongAnswer(f"refinement_and_diffusion.{exercise}", label, code, says)
