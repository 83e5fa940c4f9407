"""Wrong answers to the exercises of notebook 12 that are no declared mistake: other forms, crashes, unknown ones."""

from __future__ import annotations

from . import WrongAnswer, function

SIGNATURES = {
    "residual": "p, q",
    "accepted_tokens": "p, q, proposed, uniforms",
    "tokens_per_pass": "alpha, gamma",
    "best_gamma": "alpha, draft, check, most",
    "cascade_target": "p, q, threshold",
}


def _wrong(exercise: str, label: str, says: str, *lines: str) -> WrongAnswer:
    code = function(f"my_{exercise}({SIGNATURES[exercise]})", "\n".join(lines))
    return WrongAnswer(f"speculative_decoding.{exercise}", label, code, says)


KEPT = "kept = uniforms < (p.gather(-1, proposed[..., None]) / q.gather(-1, proposed[..., None]))[..., 0]"
SPEED = "speeds = [(1 - alpha ** (g + 1)) / (1 - alpha) / (1 + g * (draft + check)) for g in range(most + 1)]"
WRONG = [
    _wrong("residual", "not normalised", "Divide each row by its own sum", "return (p - q).clamp(min=0)"),
    _wrong("residual", "0/0", "0/0 is nan", "rest = (p - q).clamp(min=0)", "return rest / rest.sum(-1, keepdim=True)"),
    _wrong(
        "residual",
        "logarithms",
        "You return logarithms",
        "rest = (p - q).clamp(min=1e-30)",
        "return (rest / rest.sum(-1, keepdim=True)).log()",
    ),
    _wrong(
        "residual", "in place", "changed its input", "p -= q", "p.clamp_(min=0)", "return p / p.sum(-1, keepdim=True)"
    ),
    _wrong(
        "accepted_tokens",
        "no gather",
        "pick p and q at the proposed ids",
        "return (uniforms < p / q).long().cumprod(-1).sum(-1)",
    ),
    _wrong("accepted_tokens", "over the texts", "runs over the texts", KEPT, "return kept.long().cumprod(0).sum(-1)"),
    _wrong("accepted_tokens", "nothing returned", "did you forget `return`?", KEPT, "kept.long().cumprod(-1).sum(-1)"),
    _wrong(
        "tokens_per_pass", "the closed form", "0/0. All gamma tokens", "return (1 - alpha ** (gamma + 1)) / (1 - alpha)"
    ),
    _wrong("tokens_per_pass", "printed", "did you forget `return`?", "print(sum(alpha**k for k in range(gamma + 1)))"),
    _wrong("best_gamma", "the closed form", "add up the terms instead", SPEED, "return speeds.index(max(speeds))"),
    _wrong("best_gamma", "a pair", "should be a number, and is a tuple", "return (0, 1.0)"),
    _wrong(
        "cascade_target",
        "no dimension kept",
        "The two do not line up",
        "return torch.where(q.amax(-1) >= threshold, q, p)",
    ),
    _wrong(
        "cascade_target",
        "argmax",
        "is a token id",
        "return torch.where(q.argmax(-1, keepdim=True) >= threshold, q, p)",
    ),
    _wrong(
        "cascade_target",
        "in place",
        "changed its input",
        "p[q.amax(-1) >= threshold] = q[q.amax(-1) >= threshold]",
        "return p",
    ),
]
