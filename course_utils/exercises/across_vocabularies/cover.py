"""All token sequences that a prefix may be the beginning of."""

from course_utils.ensembling.across_vocabularies import cover
from course_utils.exercises.engine import Exercise, Mistake, case

PIECES = (b"", b"n", b"o", b"no", b"on", b"non")


def _greedy(prefix, pieces):
    """Always the longest token that fits, as a tokenizer would cut the prefix."""
    tokens = []
    while prefix:
        fitting = [i for i, piece in enumerate(pieces) if piece and prefix.startswith(piece)]
        if not fitting:
            return []
        tokens.append(max(fitting, key=lambda i: len(pieces[i])))
        prefix = prefix[len(pieces[tokens[-1]]) :]
    return [tuple(tokens)]


def _ways(found, prefix, pieces):
    """{sequence: how often it is in the list}: their order does not count."""
    if not isinstance(found, (list, tuple, set)) or not all(isinstance(tokens, (list, tuple)) for tokens in found):
        raise Mistake("Your result should be a list of tuples, one for each token sequence.")
    written = [" ".join(repr(t) if isinstance(t, bytes) else str(int(t)) for t in tokens) for tokens in found]
    return {tokens: float(written.count(tokens)) for tokens in written}


def _missing_or_wrong(got, expected, prefix, pieces):
    for tokens, count in got.items():
        if tokens not in expected:
            return f"({tokens}) is in your list, and does not belong to the cover of {prefix!r}."
        if count > 1:
            return f"({tokens}) is in your list more than once."
    return f"({next(tokens for tokens in expected if tokens not in got)}) is missing in your list."


def _exactly(prefix, pieces):
    return [tokens for tokens in cover(prefix, pieces) if b"".join(pieces[i] for i in tokens) == prefix]


EXERCISE = Exercise(
    "across_vocabularies.cover",
    reference=cover,
    what="your list",
    explain=_missing_or_wrong,
    errors={
        "RecursionError": "A token that writes nothing (b'') fits everywhere, again and again: leave it out.",
        "TypeError: 'NoneType'": "One of your branches returns nothing: return a list in every case.",
    },
    cases=[
        case("three bytes, tokens that overlap", prefix=b"non", pieces=PIECES, view=_ways),
        case("one byte: every token that begins with it", prefix=b"n", pieces=PIECES, view=_ways),
        case(
            "the last token crosses the end",
            prefix=b"too",
            pieces=(b"t", b"to", b"o", b"oo", b"ok", b"tool", b""),
            view=_ways,
        ),
        case("nothing is read: one sequence, without tokens", prefix=b"", pieces=PIECES, view=_ways),
        case("no token fits: an empty list", prefix=b"nox", pieces=PIECES, view=_ways),
        case("a longer one", prefix=b"nonono", pieces=PIECES, view=_ways),
    ],
    mistakes={
        "You list only sequences that end exactly with the prefix.\nThe last token may cross its end.": _exactly,
        "This is one way to cut the prefix, with the longest token each time.\nList all of them.": _greedy,
        "You list only single tokens.\nA prefix can be covered by several.": lambda prefix, pieces: [
            tokens for tokens in cover(prefix, pieces) if len(tokens) < 2
        ],
        "You list only sequences in which the last token crosses the end.\n"
        "Those that end exactly there belong to the cover, too.": lambda prefix, pieces: [
            tokens for tokens in cover(prefix, pieces) if tokens not in _exactly(prefix, pieces)
        ],
        "You go on after the end of the prefix.\nStop with the token that reaches it: what follows is free.": (
            lambda prefix, pieces: (
                cover(prefix, pieces)
                + [(*t, i) for t in cover(prefix, pieces) for i, piece in enumerate(pieces) if piece]
            )
        ),
        "The empty prefix is covered by one sequence, the empty one: [()].\nAn empty list has the sum 0, not 1.": (
            lambda prefix, pieces: cover(prefix, pieces) if prefix else []
        ),
        "These are the tokens' bytes.\nReturn their numbers.": lambda prefix, pieces: [
            tuple(pieces[i] for i in tokens) for tokens in cover(prefix, pieces)
        ],
    },
    hints=[
        "Which tokens can be the first? There are two kinds: one reaches the end of the prefix, the other does not.",
        "A token that begins with the whole prefix is a cover by itself. One that the prefix begins with is "
        "followed by every cover of what is left.",
        "if piece.startswith(prefix): [(i,)]; elif piece and prefix.startswith(piece): "
        "[(i, *rest) for rest in my_cover(prefix[len(piece):], pieces)]",
    ],
)
