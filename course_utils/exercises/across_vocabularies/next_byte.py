"""From a distribution over tokens to the next byte, inside a token that has begun."""

import torch

from course_utils.ensembling.across_vocabularies import END, next_byte
from course_utils.exercises.engine import Exercise, case, draw

PIECES = (b"", b" th", b" the", b" then", b" to", b" t", b"the", b"re", b" thin", b"\xc3\xa9", b" ", b"in the")


def _probs(seed: int) -> torch.Tensor:
    return draw(len(PIECES), seed=seed).softmax(0)


def _without_the_end(probs, pieces, begun):
    found = next_byte(probs, pieces, begun)
    found[END] = 0
    return found / found.sum()


def _of_the_best(probs, pieces, begun):
    best = max(range(len(probs)), key=lambda i: probs[i] * pieces[i].startswith(begun))
    return next_byte(torch.zeros_like(probs).index_fill(0, torch.tensor([best]), 1), pieces, begun)


EXERCISE = Exercise(
    "across_vocabularies.next_byte",
    reference=next_byte,
    what="your distribution",
    returns="probabilities",
    sizes=lambda probs, pieces, begun: {END + 1: "257 outcomes", len(probs): f"V = {len(probs)} tokens"},
    unnormalised="Divide by the probability of all tokens that begin like this.",
    errors={"IndexError": "A token that is exactly `begun` has no next byte: its place is 256."},
    cases=[
        case("the token has begun with a blank and th", _probs(1), PIECES, b" th"),
        case("nothing has begun: the first byte of every token", _probs(2), PIECES, b""),
        case("only a blank", _probs(3), PIECES, b" "),
        case("half of a letter of two bytes", _probs(4), PIECES, b"\xc3"),
        case("a token that nothing longer begins with", _probs(5), PIECES, b" thin"),
    ],
    mistakes={
        "You do not look at what has begun.\nOnly tokens that begin with these bytes are still possible.": (
            lambda probs, pieces, begun: next_byte(probs, pieces)
        ),
        "Tokens that end here are left out.\nThey are an outcome of their own, at place 256.": _without_the_end,
        "This is the first byte of the tokens that are possible.\nTake the byte behind what has begun.": (
            lambda probs, pieces, begun: next_byte(
                torch.where(torch.tensor([p.startswith(begun) for p in pieces]), probs, 0), pieces
            )
        ),
        "You count tokens.\nAdd their probabilities.": lambda probs, pieces, begun: next_byte(
            torch.ones_like(probs), pieces, begun
        ),
        "You follow only the most probable token.\nAll tokens that begin like this count.": _of_the_best,
        "You keep tokens that have these bytes anywhere.\nThey have to begin with them.": lambda probs, pieces, begun: (
            next_byte(probs, [piece[piece.index(begun) :] if begun in piece else b"\x00" for piece in pieces], begun)
        ),
    },
    hints=[
        "Which tokens are still possible, and where does each of them put its probability?",
        "piece.startswith(begun); the byte behind it is piece[len(begun)]; a token that ends there goes to place 256.",
        "for p, piece in zip(probs, pieces): if piece.startswith(begun): "
        "found[piece[len(begun)] if len(piece) > len(begun) else 256] += p; then found / found.sum()",
    ],
)
