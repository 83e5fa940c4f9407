"""Wrong answers to the exercises of notebook 13 that are no declared mistake: other forms, crashes, unknown ones."""

from __future__ import annotations

from . import WrongAnswer, function

SIGNATURES = {
    "cover": "prefix, pieces",
    "next_byte": "probs, pieces, begun",
    "mix_bytes": "log_p, log_q, lam, only",
    "bits_per_byte": "nats, texts",
}


def _wrong(exercise: str, label: str, says: str, *lines: str) -> WrongAnswer:
    code = function(f"my_{exercise}({SIGNATURES[exercise]})", "\n".join(lines))
    return WrongAnswer(f"across_vocabularies.{exercise}", label, code, says)


MIXED = "((1 - lam) * log_p.exp() + lam * log_q.exp())"
WRONG = [
    _wrong(
        "cover",
        "tokens without bytes",
        "A token that writes nothing",
        "if not prefix: return [()]",
        "found = [(i,) for i, piece in enumerate(pieces) if piece.startswith(prefix)]",
        "for i, piece in enumerate(pieces):",
        "    if prefix.startswith(piece) and piece != prefix:",
        "        found += [(i, *rest) for rest in my_cover(prefix[len(piece):], pieces)]",
        "return found",
    ),
    _wrong(
        "cover",
        "a branch without return",
        "return a list in every case",
        "if not prefix: return",
        "return [(i, *rest) for i, piece in enumerate(pieces) if piece and prefix.startswith(piece)"
        " for rest in my_cover(prefix[len(piece):], pieces)]",
    ),
    _wrong(
        "next_byte",
        "no place for the end",
        "its place is 256",
        "found = torch.zeros(257)",
        "for p, piece in zip(probs, pieces):",
        "    if piece.startswith(begun): found[piece[len(begun)]] += p",
        "return found / found.sum()",
    ),
    _wrong(
        "next_byte",
        "not divided",
        "Divide by the probability of all tokens",
        "found = torch.zeros(257, dtype=probs.dtype)",
        "for p, piece in zip(probs, pieces):",
        "    if piece.startswith(begun): found[piece[len(begun)] if len(piece) > len(begun) else 256] += p",
        "return found",
    ),
    _wrong(
        "mix_bytes",
        "probabilities",
        "You return probabilities",
        "keep = list(only)",
        "found = torch.zeros_like(log_p)",
        "found[..., keep] = (1 - lam) * log_p[..., keep].softmax(-1) + lam * log_q[..., keep].softmax(-1)",
        "return found",
    ),
    _wrong(
        "mix_bytes",
        "only these columns",
        "257 outcomes",
        "p, q = log_p[..., list(only)].softmax(-1), log_q[..., list(only)].softmax(-1)",
        "return ((1 - lam) * p + lam * q).log()",
    ),
    _wrong("bits_per_byte", "nothing returned", "did you forget `return`?", "nats.sum() / len(texts)"),
    _wrong(
        "bits_per_byte",
        "a list has no encode",
        "take the bytes of each text",
        "return float(nats.sum()) / math.log(2) / len(texts.encode())",
    ),
]
