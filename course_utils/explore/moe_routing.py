"""The live chart of the mixture of experts: which experts each token goes to,
and how even the load is, for each k, noise and temperature."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from course_utils.explore import vega
from course_utils.explore.chart import ROW, LiveChart, how_many, live_chart, row_names, shorts, text_lines, unfit
from course_utils.explore.style import FAINT, INK, ROLE_COLOURS
from course_utils.explore.tokens import token_label
from course_utils.moe.gating import cv_squared

TEMPERATURES = (0.25, 0.35, 0.5, 0.7, 1, 1.4, 2, 2.8, 4)  # the stops of the T slider: about even in log T
LAYERS, TOKENS, EXPERTS = (1, 6), (4, 24), (4, 16)
WIDTH, GAP = 620, 10  # pixels: of the chart, between its panels
NAMES, CELL = 76, 56  # pixels: at least, the names; at most, a cell (at least it is 31, and two decimals need 26)
PLOT, ABOVE = 84, 16  # pixels: height of the histogram, and what of it stays free for a number
PALEST, LIGHT = 0.1, 0.86  # opacity of a chosen cell: of a gate of 0; from where white is easier to read than ink
ONCE, EACH_EXPERT = {"filter": "datum.row == 1 && datum.c == 1"}, {"filter": "datum.row == 1"}


def routing_explorer(
    logits: Tensor,
    noise: Tensor,
    tokens: Sequence[str],
    *,
    title: str = "Who reads which word?",
    context: str = "",
    top_k: int = 2,
    experts: Sequence[str] | None = None,
) -> LiveChart:
    """The gates of the N tokens of a sentence and the load of E experts, with sliders for layer, top-k, noise and T.

    H = logits / T + a noise;  gates = softmax over the k largest of each row of H, 0 elsewhere (exactly k: of equal
    ones the lower index first);  load_i = the number of tokens that chose expert i, k N / E if it is even;
    effective experts of a token = exp(-sum_i gate_i log gate_i), from 1 to k.

    logits: (L, N, E), the clean scores in L = 1 to 6 layers, N = 4 to 24, E = 4 to 16, or (N, E) for one layer; noise:
    of the same shape, standard normal, times the router's own scale of the noise if it has one. tokens: N strings.
    top_k: where the slider starts. experts: E short names, instead of the numbers 1 to E. Scores reach the page with
    five digits. Raises ValueError: shapes or numbers of names that do not fit, numbers that are not finite, top_k
    outside 1..E. Source: Shazeer et al. (2017), section 2.1, equations 3 to 5, and section 4 for CV^2; T is ours.
    """
    clean, shake = _checked(logits, noise, tokens, top_k)
    L, N, E = clean.shape
    experts = [str(c + 1) for c in range(E)] if experts is None else list(experts)
    if len(experts) != E:
        raise ValueError(f"{E} experts need {E} names, got {len(experts)}")
    places = [f"layer {number}" for number in range(1, L + 1)]
    labels = [token_label(token) for token in tokens]
    rows = [
        {"row": n + 1, "c": c + 1, "name": name, "expert": expert}
        for n, name in enumerate(labels)
        for c, expert in enumerate(experts)
    ]
    params = [
        *vega.numbered("layer", f"layer, 1 to {L}", L),
        *vega.slider("k", f"top-k, experts a token, 1 to {E}", 1, E, 1, int(top_k)),
        *vega.slider("a", "noise, times the router's own", 0, 2, 0.1, 0),
        *vega.stop_slider("T", "temperature T of the scores", TEMPERATURES, TEMPERATURES.index(1)),
        *vega.given(clean=clean.tolist(), shake=shake.tolist(), places=places),
    ]
    names_width = max(NAMES, 7 * max(map(len, labels)) + 4)
    cell = min(CELL, (WIDTH - names_width - GAP) // E)
    said = "blue: chosen, the darker the larger the gate; hollow: not chosen; the gates of a row add up to 1"
    setting = f"places[layer - 1] + ': top-' + k + ' of {E} experts, noise '"
    setting += " + format(a, '.1f') + ', T = ' + format(T, '~g')"
    panels = [
        text_lines([setting], WIDTH),
        vega.hconcat(row_names("name", N, names_width, labels), _gates(N, experts, cell), spacing=GAP),
        vega.hconcat(_even(N, E, names_width), _loads(N, E, cell), spacing=GAP),
        _summary(N, E),
    ]
    text = f"{_in_words(clean[0], int(top_k), labels, experts)} Sliders: {'layer, ' if L > 1 else ''}top-k, noise, T."
    content = {"data": {"values": rows}, "transform": _steps(N, E), "spacing": 12}
    return live_chart(title, context, [said], text, params, panels, **content)


def _checked(logits, noise, tokens, top_k) -> list[Tensor]:
    """The scores and what noise 1 adds, both (L, N, E) as the page gets them. Raises ValueError if they do not fit."""
    both = [torch.as_tensor(x).detach().double() for x in (logits, noise)]
    shape = both[0].shape
    sizes = [1, *shape] if len(shape) == 2 else list(shape)
    if len(sizes) != 3 or not all(low <= size <= high for size, (low, high) in zip(sizes, (LAYERS, TOKENS, EXPERTS))):
        wanted = "(L, N, E) or (N, E) for L = 1 to 6 layers, N = 4 to 24 tokens, E = 4 to 16 experts"
        raise unfit("logits", wanted, tuple(shape))
    if both[1].shape != shape:
        raise ValueError(f"noise must have the shape of logits, {tuple(shape)}, got {tuple(both[1].shape)}")
    for name, x in zip(("logits", "noise"), both):
        if not x.isfinite().all():
            raise ValueError(f"{name} holds numbers that are not finite: give the scores before top-k sets any to -inf")
    L, N, E = sizes
    if isinstance(tokens, str) or len(tokens) != N:
        raise ValueError(f"{N} rows of logits need a list of {N} tokens, got {how_many(tokens)}")
    if int(top_k) != top_k or not 1 <= top_k <= E:
        raise unfit("top_k", f"a whole number from 1 to the number of experts, {E}", top_k)
    return [torch.tensor(shorts(x.tolist()), dtype=x.dtype).view(L, N, E) for x in both]


def _steps(N: int, E: int) -> list[dict]:
    """Scores, the k largest, gates, loads and the four summaries in Vega, for each token and expert."""
    at = "[layer - 1][datum.row - 1][datum.c - 1]"
    return [
        *vega.calculate(H=f"clean{at} / T + a * shake{at}"),
        vega.row_number("rank", by=["row"], H="descending", c="ascending"),  # ties: the lower index
        *vega.calculate(chosen="datum.rank <= k ? 1 : 0"),
        vega.joinaggregate(("max", "H", "top"), by=["row"]),
        *vega.calculate(weight="datum.chosen ? exp(datum.H - datum.top) : 0"),
        vega.joinaggregate(("sum", "weight", "Z"), by=["row"]),
        *vega.calculate(gate="datum.weight / datum.Z", surprise="datum.gate > 0 ? -datum.gate * log(datum.gate) : 0"),
        vega.joinaggregate(("sum", "surprise", "entropy"), by=["row"]),
        vega.joinaggregate(("sum", "chosen", "load"), by=["c"]),
        *vega.calculate(spread="exp(datum.entropy)", idle="datum.load ? 0 : 1"),
        # Every expert has N rows and every token E: over all rows, mean and variance weigh them evenly.
        vega.joinaggregate(
            ("variancep", "load", "variance"),
            ("max", "load", "largest"),
            ("sum", "idle", "empty"),
            ("mean", "spread", "effective"),
        ),
        *vega.calculate(even=f"k * {N} / {E}"),
    ]


def _gates(N: int, experts: Sequence[str], cell: int) -> dict:
    """The gates, tokens x experts, each with its number, under the names of the experts."""
    E = len(experts)
    x, y = vega.band("c", E), vega.band("row", N)
    described = (
        "datum.name + ', expert ' + datum.expert + ': ' + (datum.chosen ? format(datum.gate, '.4f') : 'not chosen')"
    )
    strength = f"datum.chosen ? {PALEST} + {round(1 - PALEST, 4)} * datum.gate : 0"
    opacity = vega.quantitative("strength", scale=None)
    colour = vega.condition(f"datum.strength > {LIGHT}", "white", INK)
    number = {"x": x, "y": y, "color": colour, "text": vega.quantitative("gate", format=".2f")}
    cells = vega.mark("rect", fill=ROLE_COLOURS["core"], stroke=ROLE_COLOURS["other"], strokeWidth=0.6)
    told = vega.calculate(described=described)
    heads = {"x": x, "y": {"value": -8}, "text": vega.nominal("expert")}
    names = [{"c": c + 1, "expert": expert} for c, expert in enumerate(experts)]
    layers = [
        vega.layer(cells, transform=told, x=x, y=y, fillOpacity=opacity, **vega.DESCRIBED),
        vega.layer(vega.mark("text", fontSize=10, aria=False), transform=[{"filter": "datum.chosen"}], **number),
        vega.layer(vega.mark("text", limit=cell, aria=False), data=names, **heads),
    ]
    steps = vega.calculate(strength=strength)
    return vega.panel(E * cell, N * ROW, vega.caption("gate of each expert", 18), transform=steps, layer=layers)


def _height(field: str, N: int) -> dict:
    """The axis of loads: an expert has at most all N tokens, so that nothing is laid out again."""
    scale = {"domain": [0, N], "range": [PLOT, ABOVE], "nice": False}
    return vega.quantitative(field, axis=None, stack=None, scale=scale)


def _even(N: int, E: int, width: int) -> dict:
    """The name of the line at the even load, beside the histogram."""
    name = vega.mark("text", align="right", x=width, color=ROLE_COLOURS["negative"])
    steps = [ONCE, *vega.calculate(words="'even ' + format(datum.even, '.4~g')")]
    words = vega.layer(name, transform=steps, y=_height("even", N), text=vega.nominal("words"))
    return vega.panel(width, PLOT, **words)


def _loads(N: int, E: int, cell: int) -> dict:
    """The number of tokens of each expert, under its column, and the line at the even load."""
    x, y = vega.band("c", E), _height("load", N)
    told = vega.calculate(described="'expert ' + datum.expert + ' has ' + datum.load + ' tokens'")
    across = {"x": {"value": 0}, "x2": {"value": E * cell}}
    number, halo = vega.mark("text", dy=-8, aria=False), {"stroke": "white", "strokeWidth": 4}
    bar = vega.mark("bar", width=cell - 6, color=ROLE_COLOURS["core"], opacity=0.75)
    even = vega.mark("rule", color=ROLE_COLOURS["negative"], strokeWidth=1.5, strokeDash=[5, 3], aria=False)
    layers = [
        vega.layer(bar, transform=told, x=x, y=y, **vega.DESCRIBED),
        vega.layer(even, transform=[ONCE], **across, y=_height("even", N)),
        vega.layer(vega.mark("rule", color=FAINT, aria=False), data=[{}], **across, y={"value": PLOT}),
        vega.layer({**number, **halo}, x=x, y=y, text=vega.quantitative("load")),  # the line may run behind a number
        vega.layer(number, x=x, y=y, text=vega.quantitative("load")),
    ]
    title = vega.caption("load: tokens of each expert", 4)
    return vega.panel(E * cell, PLOT, title, transform=[EACH_EXPERT], layer=layers)


def _summary(N: int, E: int) -> dict:
    """Two lines of words: how even the load is, and how many experts a token really uses."""
    load = (
        "'load: CV² ' + format(datum.variance / (datum.even * datum.even), '.2f') + ', largest / mean '"
        f" + format(datum.largest / datum.even, '.2f') + ', experts without a token: ' + datum.empty / {N} + ' of {E}'"
    )
    gates = (
        "'gates: ' + format(datum.effective, '.2f') + ' effective experts a token (mean of exp entropy; at "
        "most ' + k + ')'"
    )
    line = vega.mark("text", align="left", x=0, fontSize=12, limit=WIDTH)
    layers = []
    for i, words in enumerate((load, gates)):
        steps = vega.calculate(words=words)
        layers.append(vega.layer({**line, "y": ROW * i + ROW // 2}, transform=steps, text=vega.nominal("words")))
    return vega.panel(WIDTH, 2 * ROW, transform=[ONCE], layer=layers)


def _in_words(scores: Tensor, k: int, labels: list[str], experts: Sequence[str]) -> str:
    """The first layer at T = 1 without noise: each token's first expert, the loads and the summaries."""
    N, E = scores.shape
    kept = scores.sort(dim=1, descending=True, stable=True).indices[:, :k]  # of equal ones the lower index first
    gates = torch.zeros_like(scores).scatter(1, kept, scores.gather(1, kept).softmax(dim=1))
    load = torch.bincount(kept.flatten(), minlength=E).double()
    effective = torch.special.entr(gates).sum(dim=1).exp().mean()
    chosen = zip(labels, kept[:, 0].tolist(), gates.tolist())
    first = ", ".join(f"{label} {experts[i]} ({gate[i]:.2f})" for label, i, gate in chosen)
    loads = ", ".join(f"{int(x)}" for x in load)
    return (
        f"Layer 1, top-{k} of {E} experts, noise 0, T = 1. Each token's first expert (its gate): {first}. "
        f"Tokens of experts {experts[0]} to {experts[-1]}: {loads}, even {k * N / E:.4g}; CV² {cv_squared(load):.2f}, "
        f"largest / mean {load.max() / load.mean():.2f}, experts without a token: {int((load == 0).sum())} of {E}; "
        f"{effective:.2f} effective experts a token."
    )
