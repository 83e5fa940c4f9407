"""The live chart of the way out in diffusion: a text in three discrete processes, an image under Gaussian noise."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from course_utils.diffusion.discrete import even_schedule
from course_utils.diffusion.edits import corrupt
from course_utils.explore import letters, vega
from course_utils.explore.chart import LiveChart, live_chart, short, shorts, text_lines
from course_utils.explore.style import FAINT, INK, ROLE_COLOURS

TEXTS, LETTERS = (1, 8), (2, 128)  # texts, characters of one
STEPS, START = 12, 0.3  # of edits; where the slider starts
MASK = "_"
LINE, GAP = 21, 12  # pixels: height of a line, space between two rows
UNIFORM, ABSORBING, EDITS = range(3)
SAME, NEW, MASKED, AGAIN = range(4)  # a character of x0; drawn anew; masked; drawn anew and the same as before
FILLS = {NEW: "#FFD58A", MASKED: "#D0D0D0", AGAIN: "#FFFFFF"}  # dark text on each of them has a contrast above 10
SIDE, PIXEL, BETWEEN = 8, 11, 84  # the images: their own pixels in a row, the chart's for one of them, and between two


class _Row(NamedTuple):
    """One text in one process (for edits: at one step). chars before, new ones, and u: new where u < t / T."""

    chars: list[str]
    new: list[str]
    u: list[float]


def corruption_explorer(
    texts: Mapping[str, str] | Sequence[str],
    vocabulary: Sequence[str],
    *,
    seed: int = 0,
    image: tuple[Tensor, Tensor, Tensor] | None = None,
    title: str = "What is left of x0",
    context: str = "",
) -> LiveChart:
    """A text of characters x0 and what is left of it at t / T, by three processes, with a slider for t / T.

    uniform: a character with u < t / T is drawn anew from the K of the vocabulary;  absorbing: it becomes the mask;
    edits: at step k = round(12 t / T) the text after k calls of ``edits.corrupt``, each on the text before. Each
    position has one u, uniform in [0, 1), and one replacement: what is hit stays hit, and both processes hit the same
    positions. Expected share that is left: absorbing 1 - t / T;  uniform 1 - t / T + (t / T) / K;  edits 1 - k / 12, as
    step k keeps a character with chance 1 - 1 / (12 - k + 1) (``even_schedule``; replace, insert, delete 2 : 1 : 1).
    Gaussian: x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) eps at t = round(T t / T).

    texts: names -> strings, or a list of strings: 1 to 8 of 2 to 128 characters, all from the vocabulary; more than one
    adds a slider. vocabulary: K >= 2 different printable characters, without "_", the mask. seed: of u, replacements,
    edits. image: (x0 (64,), eps (64,), alphas_bar (T + 1,), which begins with 1, that of x0 itself): an 8 x 8 image of
    about unit scale and its noise. Raises ValueError: texts, characters or shapes that do not fit, numbers not finite.
    Source: Austin et al. (2021), D3PM, section 3; Reid et al. (2022), DiffusER; Ho et al. (2020), DDPM, equation 4.
    """
    named = _checked(texts, vocabulary)
    known, K = list(vocabulary), len(vocabulary)
    rows = _rows(list(named.values()), known, torch.Generator().manual_seed(int(seed)))
    lines = [
        max(-(-len(row.chars) // letters.COLUMNS) for (_, r, _), row in rows.items() if r == which)
        for which in range(3)
    ]
    tops = [sum(lines[:r]) * LINE + r * (LINE + GAP) for r in range(3)]
    height = tops[-1] + (1 + lines[-1]) * LINE + 2
    values = [
        {"e": e, "r": r, "s": s, "p": list(range(len(row.chars))), "c": row.chars, "n": row.new, "u": row.u}
        for (e, r, s), row in rows.items()
    ]
    params = [
        *vega.numbered("text", f"text, 1 to {len(named)}", len(named)),
        *vega.slider("share", "t / T, from 0 (the text) to 1 (nothing left)", 0, 1, 0.02, START, width=300),
        *vega.computed(step=f"round({STEPS} * share)"),
        *vega.given(tops=tops, names=list(named), lengths=[len(text) for text in named.values()]),
    ]
    said = "white: as in x0; orange: drawn anew (only framed: the same again); grey: masked"
    what = ["'t / T = ' + format(share, '.2f') + ', ' + names[text - 1]"]
    panels = [text_lines(what, letters.WIDTH), _panel(values, height, K)]
    words = _in_words(next(iter(named.items())), rows, K)
    if image is not None:
        x0, eps, abar = _checked_image(image)
        params += vega.given(x0=shorts(x0.tolist()), eps=shorts(eps.tolist()))
        params += vega.given(abars=shorts(abar.tolist(), 9))  # 1 - abar loses digits near 1
        params += vega.computed(t=f"round({len(abar) - 1} * share)", abar="abars[t]")
        panels.append(_images(len(abar) - 1, short(max(1.5, x0.abs().max().item()))))
        t = math.floor((len(abar) - 1) * START + 0.5)  # as Vega rounds
        signal, noise = abar[t].sqrt(), (1 - abar[t]).sqrt()
        words += f" Gaussian, step {t} of {len(abar) - 1}: {signal:.2f} of the image, {noise:.2f} of the noise."
    sliders = f"Slider{'s: text,' if len(named) > 1 else ':'} t / T."
    return live_chart(title, context, [said], f"{words} {sliders}", params, panels, spacing=12)


def edited(text: str, vocabulary: Sequence[str], generator: torch.Generator) -> list[list[tuple[int, str]]]:
    """The text after 0, 1, ..., STEPS steps of edits: characters with their place in ``text``, -1 for a new one.

    Step k keeps each character with chance 1 - beta_k, beta_k = 1 / (STEPS - k + 1); replace, insert and delete share
    the rest of the edits 2 : 1 : 1. An insertion uses no character up, hence keep / (1 - insert) = 1 - beta_k.
    """
    tokens, fresh = list(enumerate(text)), [(-1, c) for c in vocabulary]
    found = [tokens]
    for beta in even_schedule(STEPS).tolist():
        keep = 3 * (1 - beta) / (3 + beta)
        rest = 1 - keep
        tokens = corrupt(tokens, fresh, generator, keep=keep, replace=rest / 2, insert=rest / 4, delete=rest / 4).tokens
        found.append(tokens)
    return found


def _checked(texts, vocabulary) -> dict[str, str]:
    """Names and texts. Raises ValueError if they cannot be drawn."""
    if isinstance(texts, str) or not isinstance(texts, Iterable):
        raise ValueError("texts must be a dict of names and strings, or a list of strings: put a single text in [ ]")
    given = dict(texts) if isinstance(texts, Mapping) else {f"text {e}": text for e, text in enumerate(texts, 1)}
    if not TEXTS[0] <= len(given) <= TEXTS[1]:
        raise ValueError(f"texts must be {TEXTS[0]} to {TEXTS[1]} texts, got {len(given)}: choose some of them")
    known = list(vocabulary)
    bad = [c for c in known if not isinstance(c, str) or len(c) != 1 or not c.isprintable()]
    if len(known) < 2 or len(set(map(str, known))) < len(known) or bad:
        got = f"got {bad[0]!r}" if bad else f"got {len(known)}, {len(set(map(str, known)))} of them different"
        raise ValueError(f"vocabulary must be at least 2 different printable characters, {got}")
    if MASK in known:
        raise ValueError(f"{MASK!r} is the mask: the vocabulary must not have it")
    for name, text in given.items():
        if not isinstance(text, str) or not LETTERS[0] <= len(text) <= LETTERS[1]:
            got = f"{len(text)} characters" if isinstance(text, str) else type(text).__name__
            raise ValueError(f"text {name!r} must be a string of {LETTERS[0]} to {LETTERS[1]} characters, got {got}")
        if strange := sorted(set(text) - set(known)):
            some = ", ".join(map(repr, strange[:5]))
            raise ValueError(f"text {name!r} has characters that the vocabulary does not: {some}")
    return {str(name): text for name, text in given.items()}


def _checked_image(image) -> tuple[Tensor, Tensor, Tensor]:
    if not isinstance(image, Sequence) or len(image) != 3:
        raise ValueError("image must be three things: x0 (64,), noise (64,) and alphas_bar (T + 1,)")
    x0, eps, abar = (torch.as_tensor(x).detach().double() for x in image)
    if x0.numel() != SIDE**2 or eps.numel() != SIDE**2 or abar.dim() != 1 or len(abar) < 2:
        shapes = ", ".join(str(tuple(x.shape)) for x in (x0, eps, abar))
        raise ValueError(f"image must be x0 (64,), noise (64,) and alphas_bar (T + 1,) with T at least 1, got {shapes}")
    if not (x0.isfinite().all() and eps.isfinite().all() and ((abar >= 0) & (abar <= 1)).all()):
        raise ValueError("image must hold finite numbers, and alphas_bar numbers from 0 to 1")
    if abs(abar[0].item() - 1) > 1e-6 or (abar[1:] > abar[:-1]).any():
        wanted = f"alphas_bar must go down from 1, that of x0 itself, got {abar[0]:.4g} first"
        raise ValueError(f"{wanted}: put a 1 before the schedule's (T,)")
    return x0.flatten(), eps.flatten(), abar


def _rows(texts: list[str], known: list[str], generator: torch.Generator) -> dict[tuple[int, int, int], _Row]:
    """(text, process, step) -> row; the step is -1 where u decides."""
    rows = {}
    for e, text in enumerate(texts):
        n = len(text)
        # Five digits and below 1: what the page gets is what is compared here, and at t = T all are hit.
        u = [min(round(x, 5), 0.99999) for x in torch.rand(n, generator=generator, dtype=torch.float64).tolist()]
        new = [known[i] for i in torch.randint(len(known), (n,), generator=generator).tolist()]
        rows[e, UNIFORM, -1] = _Row(list(text), new, u)
        rows[e, ABSORBING, -1] = _Row(list(text), [MASK] * n, u)
        for step, tokens in enumerate(edited(text, known, generator)):
            tokens = tokens or [(-1, "")]  # an empty text needs a row, too, to say that it is empty
            chars = [c for _, c in tokens]
            rows[e, EDITS, step] = _Row(chars, chars, [-1 if place < 0 else 2 for place, _ in tokens])
    return rows


def _panel(values: list[dict], height: int, K: int) -> dict:
    """The three processes, one under the other, each with its name, its numbers and its text."""
    again = f"datum.r == {UNIFORM} && datum.n == datum.c ? {AGAIN} : {NEW}"
    steps = [
        {"filter": f"datum.e == text - 1 && (datum.r != {EDITS} || datum.s == step)"},
        {"flatten": ["p", "c", "n", "u"]},
        *vega.calculate(hit="datum.u < share", shown="datum.hit ? datum.n : datum.c"),
        *vega.calculate(kind=f"!datum.hit ? {SAME} : datum.r == {ABSORBING} ? {MASKED} : {again}"),
    ]
    # For edits u is 2 (kept) or -1 (new), so that share = 0 hits none of x0 and share = 1 none that is kept.
    placed = letters.cells(LINE, f"tops[datum.r] + {LINE} * (1 + floor(datum.p / {letters.COLUMNS})) + 1")
    uniform = f"datum.r == {UNIFORM} ? 1 - share + share / {K}"
    names = f"[{', '.join(map(repr, (f'uniform: drawn from {K} characters', 'absorbing: masked', 'edits')))}]"
    shares = "format(datum.left / lengths[text - 1], '.0%') + ', expected ' + format(datum.expected, '.0%')"
    counted = [
        *vega.calculate(left=f"datum.kind == {SAME} || datum.kind == {AGAIN} ? 1 : 0"),
        *vega.calculate(one="length(datum.shown) ? 1 : 0"),
        vega.aggregate(("sum", "left", "left"), ("sum", "one", "length"), by=["r"]),
        *vega.calculate(y=f"tops[datum.r] + {LINE / 2}"),
        *vega.calculate(expected=f"{uniform} : datum.r == {ABSORBING} ? 1 - share : 1 - step / {STEPS}"),
        *vega.calculate(of=f"datum.r == {EDITS} ? '; length ' + datum.length + ', x0 ' + lengths[text - 1] : ''"),
        *vega.calculate(name=f"{names}[datum.r] + (datum.r == {EDITS} ? ', step ' + step + ' of {STEPS}' : '')"),
        *vega.calculate(words=f"'characters left of x0: ' + {shares} + datum.of"),
    ]
    fills = [{"test": f"datum.kind == {kind}", "value": fill} for kind, fill in FILLS.items()]
    cells = vega.layer(
        vega.mark("rect", strokeWidth=1, aria=False),
        transform=[{"filter": f"datum.kind != {SAME} && length(datum.shown)"}],
        **vega.span("x", "x2", "top", "bottom"),
        fill={"condition": fills, "value": "white"},
        stroke=vega.condition(f"datum.kind == {AGAIN}", ROLE_COLOURS["result"], "white"),
    )
    name = vega.mark("text", fontSize=12, limit=letters.WIDTH, x=0, align="left", fontWeight="bold")
    words = vega.mark("text", fontSize=12, limit=letters.WIDTH, x=letters.WIDTH - 4, align="right")
    both = (name, "name"), (words, "words")
    heads = [vega.layer(mark, y=vega.pixels("y"), text=vega.nominal(field)) for mark, field in both]
    layers = [{"transform": counted, "layer": heads}, {"transform": placed, "layer": [cells, letters.layer("shown")]}]
    return vega.panel(letters.WIDTH, height, data={"values": values}, transform=steps, layer=layers)


def _images(T: int, bound: float) -> dict:
    """x_t = sqrt(abar) x0 + sqrt(1 - abar) eps as three images; 0 is grey, ``bound`` black, -``bound`` white."""
    size, pitch = SIDE * PIXEL, SIDE * PIXEL + BETWEEN
    name = "['x_t', 'x0', 'noise'][datum.which] + ' ' + datum.k"
    placed = [
        *vega.calculate(which=f"floor(datum.i / {SIDE**2})", k=f"datum.i % {SIDE**2}"),
        *vega.calculate(x=f"{pitch} * datum.which + {PIXEL} * (datum.k % {SIDE})", x2=f"datum.x + {PIXEL}"),
        *vega.calculate(y=f"{LINE} + {PIXEL} * floor(datum.k / {SIDE})", y2=f"datum.y + {PIXEL}"),
    ]
    described = vega.calculate(described=f"{name} + ': ' + format(datum.grey, '.5f')")
    shade = {"domain": [-bound, bound], "range": ["#FFFFFF", "#000000"], "clamp": True}
    place = vega.span("x", "x2", "y", "y2")
    looks = {**place, "color": vega.quantitative("grey", legend=None, scale=shade), **vega.DESCRIBED}

    def cells(first: int, last: int, value: str) -> dict:
        data = {"sequence": {"start": first * SIDE**2, "stop": last * SIDE**2, "as": "i"}}
        steps = [*placed, *vega.calculate(grey=value), *described]
        return vega.layer(vega.mark("rect"), data=data, transform=steps, **looks)

    # What the slider does not change is a layer of its own, which is not computed again.
    drawn = [
        cells(0, 1, "sqrt(abar) * x0[datum.k] + sqrt(1 - abar) * eps[datum.k]"),
        cells(1, 3, "[x0, eps][datum.which - 1][datum.k]"),
    ]
    corners = [{"x": pitch * i, "x2": pitch * i + size, "y": LINE, "y2": LINE + size} for i in range(3)]
    frames = vega.layer(vega.mark("rect", fillOpacity=0, stroke=FAINT, aria=False), data=corners, **place)
    signs = [("'=  ' + format(sqrt(abar), '.2f') + '  ×'", 0), ("'+  ' + format(sqrt(1 - abar), '.2f') + '  ×'", 1)]
    middle, font = LINE + size / 2, vega.mark("text", fontSize=13, color=INK)
    texts = [{**font, "x": pitch * i + size + BETWEEN / 2, "y": middle, "text": {"expr": sign}} for sign, i in signs]
    right, plain = 3 * size + 2 * BETWEEN + 16, {**font, "align": "left", "fontSize": 12}
    ratio = "abar < 1 ? format(abar / (1 - abar), '.3~g') + ' : 1' : '1 : 0'"
    told = [f"'step t = ' + t + ' of {T}'", "'ᾱ = ' + format(abar, '.4f')", "'signal : noise ='", ratio]
    texts += [{**plain, "x": right, "y": LINE + 10 + 18 * i, "text": {"expr": line}} for i, line in enumerate(told)]
    said = enumerate(("Gaussian: x_t", "the image x0", "the noise ε"))
    names = [{**plain, "x": pitch * i, "y": LINE / 2, "text": name} for i, name in said]
    names[0]["fontWeight"] = "bold"
    layers = [*drawn, frames, *(vega.layer(text, data=[{}]) for text in (*texts, *names))]
    return vega.panel(letters.WIDTH, LINE + size + 2, layer=layers)


def _in_words(first: tuple[str, str], rows: dict[tuple[int, int, int], _Row], K: int) -> str:
    """The first text where the slider starts, in each process."""
    name, text = first
    step = round(STEPS * START)
    parts = []
    for r, who in enumerate(("uniform", "absorbing", f"edits, step {step} of {STEPS}")):
        row = rows[0, r, step if r == EDITS else -1]
        hit = [u < START for u in row.u]
        shown = "".join(new if h else old for old, new, h in zip(row.chars, row.new, hit))
        same = [not h or (r == UNIFORM and new == old) for old, new, h in zip(row.chars, row.new, hit)]
        expected = [1 - START + START / K, 1 - START, 1 - step / STEPS][r]
        left, likely = (math.floor(100 * share + 0.5) for share in (sum(same) / len(text), expected))
        parts.append(f"{who} ({left}% left, expected {likely}%): {shown}")
    return f"{name[:1].upper()}{name[1:]}: {text} | At t / T = {START}, {' | '.join(parts)} |"
