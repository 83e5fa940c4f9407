"""The live chart of the cascade: how many items each tier answers, how well and at what cost, for all thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from course_utils.explore import vega
from course_utils.explore.chart import LiveChart, clipped, how_many, live_chart, short, shorts, text_lines, unfit
from course_utils.explore.labels import stacked_numbers, with_room
from course_utils.explore.style import INK, PALE, ROLE_COLOURS

RATIOS = (1, 1.5, 2, 3, 5, 10, 20, 50, 100)  # the stops of the price slider
FIRST = RATIOS.index(10)  # where it starts
STOPS = {2: 51, 3: 51, 4: 21}  # of each threshold: the page gets a table over all thresholds together
DEAREST = 1.6  # end of the cost axis: beyond it a cascade costs more than anything worth a look
PLANE, HEIGHT, SIDE = 340, 300, 240  # pixels: of the accuracy-cost plane, and width of the histograms
GAP, BELOW = 62, 46  # pixels: beside the plane, and between the histograms
WIDTH = PLANE + GAP + SIDE + 12
ABOVE, LONGEST = 16, 12  # pixels above the bars, for the name of the cut; characters of a name
RIGHT, WRONG, CASCADE = (ROLE_COLOURS[role] for role in ("core", "negative", "result"))


@dataclass(frozen=True, eq=False)
class _Tiers:
    """What is drawn. The counts are tables over the stops of the thresholds before a tier, m of them before tier m.

    reach[m]: items that come to tier m (from 0); at[m]: of these, where tier m is right; left[m], with m + 1 axes: of
    those that tier m passes on, where it is right. prices (settings, M), the dearest 1, and what each setting is
    called.
    """

    names: list[str]
    stops: np.ndarray
    start: list[int]
    reach: list[np.ndarray]
    at: list[np.ndarray]
    left: list[np.ndarray]
    prices: np.ndarray
    said: list[str]
    first: int

    @property
    def items(self) -> int:
        return int(self.reach[0])

    @property
    def dearest(self) -> list[str]:
        """For each setting of the prices the tier that costs 1; of several the last."""
        return [self.names[int(np.flatnonzero(row == row.max())[-1])] for row in self.prices]

    @property
    def digits(self) -> int:
        """Decimals of a threshold."""
        return 2 if all(abs(stop - round(stop, 2)) < 1e-9 for stop in self.stops) else 3

    @property
    def alone(self) -> np.ndarray:
        """(M,): accuracy of each tier that answers everything."""
        return np.array([everything.flat[-1] for everything in self.at]) / self.items


def cascade_explorer(
    scores: Any,
    correct: Any,
    cost: Sequence[float] | None = None,
    *,
    names: Sequence[str],
    taus: Sequence[float],
    title: str = "A cascade of models, its accuracy and its price",
    context: str = "",
) -> LiveChart:
    """A cascade of M tiers on the outcomes of N items, with a slider for each threshold and one for the prices.

    Tier m answers the items that no tier before it answered and with scores[m] > τ_m, the last tier the rest; an item
    pays one call of each tier that it reaches. A call of tier m costs r^m (m from 0), r one of ``RATIOS``, or what was
    measured.

    scores: (M-1, N) from 0 to 1, M = 2 to 4; correct: (M, N), 0 or 1; cost: (M,) measured prices in any unit, which
    become the first stop of the price slider (which starts at r = 10). names: M strings. taus: (M-1,), where the
    sliders start: at the nearest of ``STOPS``[M] even stops from 0.5 (from 0 if there is a score below 0.5) to 1. The
    page gets counts at the stops, no items: what is shown is exact. Raises ValueError: shapes or numbers of names that
    do not fit, scores outside [0, 1], correct not 0 or 1, prices that are negative, not finite or all 0, a tau that is
    NaN. Source: Chen, Zaharia & Zou (2023), FrugalGPT, section 3 (LLM cascade).
    """
    tiers = _checked(scores, correct, cost, names, taus)
    M, (low, high) = len(tiers.names), _domain(tiers)
    params = []
    for m, (name, start) in enumerate(zip(tiers.names, tiers.start), 1):
        params += vega.stop_slider(f"tau{m}", f"τ{m}, threshold of {name}", tiers.stops.tolist(), start)
    ends = f"{RATIOS[0]} {'' if cost is not None else '(left) '}to {RATIOS[-1]} (right)"
    label = f"price ratio r, {'as measured (left), then ' if cost is not None else ''}from {ends}"
    params += [*vega.slider("setting", label, 0, len(tiers.said) - 1, 1, tiers.first), *_arithmetic(tiers)]
    histograms = {"vconcat": [_histogram(tiers, m) for m in range(M - 1)], "spacing": BELOW, "bounds": "flush"}
    cuts = " + ', ' + ".join(f"'τ{m} = ' + format(tau{m}, '.{tiers.digits}f')" for m in range(1, M))
    answered = " + ', ' + ".join(f"names[{m}] + ' ' + format(answered[{m}] / {tiers.items}, '.0%')" for m in range(M))
    best = int(tiers.alone.argmax())
    result = (
        f"'accuracy ' + format(accuracy, '.3f') + ' (best single: ' + names[{best}] + ' {tiers.alone[best]:.3f}) at '"
        " + format(cost, '.3g') + ' times the price of ' + dearest[setting]"
    )
    lines = [f"'answered by ' + {answered}", f"{cuts} + '; ' + said[setting]", result]
    said = [
        "blue: right answers, red: wrong ones, pale: passed on to the next tier",
        "line: the best that any thresholds reach on these items; dashed: the best single tier",
    ]
    # Flush: a dot may stand on the edge.
    panels = [text_lines(lines, WIDTH), vega.hconcat(_plane(tiers, low, high), histograms, spacing=GAP)]
    sliders = [*(f"τ{m}" for m in range(1, M)), "price ratio r."]
    text = f"{_in_words(tiers)} Sliders: {', '.join(sliders)}"
    return live_chart(title, context, said, text, params, panels, spacing=12)


def _checked(scores, correct, cost, names, taus) -> _Tiers:
    """The counts and prices that the page gets. Raises ValueError if that cannot be drawn."""
    scores, correct, taus = (np.asarray(a, dtype=float) for a in (scores, correct, taus))
    M = len(correct) if correct.ndim == 2 else 0
    if not 2 <= M <= 4 or not correct.size:
        raise unfit("correct", "(M, N), M = 2 to 4 tiers and at least one item", correct.shape)
    if scores.shape != (M - 1, correct.shape[1]):
        raise unfit("scores", f"{(M - 1, correct.shape[1])}, a row for each tier but the last", scores.shape)
    if not ((scores >= 0) & (scores <= 1)).all():  # NaN fails too
        raise ValueError(f"scores must be numbers from 0 to 1, without NaN: got {scores.min()} to {scores.max()}")
    if not np.isin(correct, (0, 1)).all():
        raise ValueError("correct must hold 0 and 1 only: 1 where the tier's answer is right")
    if isinstance(names, str) or len(names) != M:
        raise ValueError(f"{M} tiers need a list of {M} names, got {how_many(names)}")
    if taus.shape != (M - 1,) or np.isnan(taus).any():
        raise unfit("taus", f"{M - 1} numbers, a threshold for each tier but the last", taus.tolist())
    prices = [[r**m / r ** (M - 1) for m in range(M)] for r in RATIOS]
    said = [f"prices {' : '.join(_digits(r**m) for m in range(M))} (r = {r:g})" for r in RATIOS]
    if cost is not None:
        cost = np.asarray(cost, dtype=float)
        if cost.shape != (M,) or not (np.isfinite(cost) & (cost >= 0)).all() or not cost.any():
            raise unfit(
                "cost", f"{M} finite prices of at least 0, one of a call of each tier, not all 0", cost.tolist()
            )
        prices.insert(0, (cost / cost.max()).tolist())
        said.insert(0, f"prices {' : '.join(map(_digits, cost))} (as measured)")
    lowest = 0.5 if scores.min() >= 0.5 else 0.0
    stops = np.array([round(lowest + (1 - lowest) * i / (STOPS[M] - 1), 6) for i in range(STOPS[M])])
    start = [int(np.abs(stops - min(max(tau, 0), 1)).argmin()) for tau in taus]
    bins = np.searchsorted(stops, scores, side="left")  # scores > stops[i] where bins > i
    reach = [_counts(bins[:m], np.ones(len(correct[0])), len(stops)) for m in range(M)]
    at = [_counts(bins[:m], correct[m], len(stops)) for m in range(M)]
    left = [_counts(bins[: m + 1], correct[m], len(stops)) for m in range(M - 1)]
    shown = [clipped(str(name), LONGEST) for name in names]
    return _Tiers(shown, stops, start, reach, at, left, np.array(prices), said, len(said) - len(RATIOS) + FIRST)


def _digits(x: float) -> str:
    return f"{x:,.0f}" if 1000 <= x < 1e7 else f"{x:.3g}"


def _counts(bins: np.ndarray, weights: np.ndarray, K: int) -> np.ndarray:
    """(K,) * m table: the sum of the weights (N,) of the items with bins[j] <= i_j for all m tiers; bins (m, N)."""
    flat = np.zeros(len(weights), dtype=int)
    for row in bins:
        flat = flat * K + row
    table = np.bincount(flat, weights, minlength=K ** len(bins)).reshape((K,) * len(bins))
    for axis in range(table.ndim):
        table = table.cumsum(axis=axis)
    return table.astype(int)


def _outcomes(tiers: _Tiers, price: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy and mean cost at all stops of all thresholds, (K,) * (M-1) each."""

    def wide(table: np.ndarray) -> np.ndarray:
        return table.reshape(table.shape + (1,) * (len(tiers.names) - 1 - table.ndim))

    right = sum(map(wide, tiers.at)) - sum(map(wide, tiers.left))
    return right / tiers.items, sum(p * wide(reach) for p, reach in zip(price, tiers.reach)) / tiers.items


def _domain(tiers: _Tiers) -> tuple[float, float]:
    """The ends of the axis of accuracy: all that can be shown, and room for the names."""
    every = np.concatenate([_outcomes(tiers, tiers.prices[0])[0].ravel(), tiers.alone])
    low, high = with_room(every.min(), every.max(), HEIGHT, lines=1.3)
    return short(low), short(high)


def _arithmetic(tiers: _Tiers) -> list[dict]:
    """Tables and the expressions over them: who is asked, who answers, who is right, accuracy and cost."""
    M, K = len(tiers.names), len(tiers.stops)
    tables = {name: [table.ravel().tolist() for table in getattr(tiers, name)] for name in ("reach", "at", "left")}
    values = {**tables, "prices": shorts(tiers.prices.tolist(), 12)}
    values |= {"names": tiers.names, "said": tiers.said, "dearest": tiers.dearest}
    # key[m]: where the m thresholds before tier m stand in the flat tables of tier m.
    keys = ["0"]
    for m in range(1, M):
        keys.append(f"({keys[-1]}) * {K} + tau{m}_i")
    left = [*(f"left[{m}][key[{m + 1}]]" for m in range(M - 1)), "0"]
    asked = [f"asked[{m}] - {f'asked[{m + 1}]' if m + 1 < M else 0}" for m in range(M)]
    return vega.given(**values) + vega.computed(
        key=f"[{', '.join(keys)}]",
        asked=f"[{', '.join(f'reach[{m}][key[{m}]]' for m in range(M))}]",
        answered=f"[{', '.join(asked)}]",
        right=f"[{', '.join(f'at[{m}][key[{m}]] - {left[m]}' for m in range(M))}]",
        price="prices[setting]",
        accuracy=f"({' + '.join(f'right[{m}]' for m in range(M))}) / {tiers.items}",
        cost=f"({' + '.join(f'asked[{m}] * price[{m}]' for m in range(M))}) / {tiers.items}",
    )


def _plane(tiers: _Tiers, low: float, high: float) -> dict:
    """Accuracy over cost: every single tier, the cascade, and the best that it reaches at these prices."""
    # Only here: it brings scikit-learn, which the other charts do not need.
    from course_utils.selection.cascades import pareto

    M = len(tiers.names)
    axis = {"title": "mean cost of an item (1: one call of the dearest tier)", "grid": False, "tickCount": 6}
    x = vega.along("x", [0, DEAREST], {**axis, "format": "~g"})
    axis = {"title": None, "tickCount": 6, "minExtent": 34, "format": ".2f"}
    y = vega.along("y", [low, high], axis, zero=False)
    curves = []
    for setting, price in enumerate(tiers.prices):
        accuracy, paid = (table.ravel() for table in _outcomes(tiers, price))
        best = pareto(paid, accuracy)
        curves.append({"s": setting, "x": shorts(paid[best].tolist()), "y": shorts(accuracy[best].tolist())})
    grey, singles = {"colour": ROLE_COLOURS["other"], "text": PALE, "size": 90}, zip(tiers.names, tiers.alone)
    dots = [{"m": m, "name": name, "y": short(one, 9), **grey} for m, (name, one) in enumerate(singles)]
    dots.append({"m": M, "name": "cascade", "y": 0, "colour": CASCADE, "text": INK, "size": 190})
    alone = "datum.name + ' alone: accuracy ' + format(datum.y, '.5f') + ', price ' + format(datum.real, '.5f')"
    within = (
        "'; in the cascade asked ' + asked[datum.m] + ', answers ' + answered[datum.m] + ', of these right ' "
        "+ right[datum.m]"
    )
    together = "'cascade: accuracy ' + format(accuracy, '.9f') + ', cost ' + format(cost, '.9f')"
    moving = [
        *vega.calculate(y=f"datum.m < {M} ? datum.y : accuracy", real=f"datum.m < {M} ? price[datum.m] : cost"),
        *vega.calculate(x=f"min(datum.real, {DEAREST})", words="datum.name + ' ' + format(datum.y, '.3f')"),
        *vega.calculate(described=f"datum.m < {M} ? {alone} + {within} : {together}"),
    ]
    moved = {"data": {"values": dots}, "transform": moving}
    aside = f"datum.x * {PLANE / DEAREST:g} + 8 * length(datum.words) + 14 > {PLANE}"
    looks = {"color": vega.nominal("colour", scale=None), "size": vega.nominal("size", scale=None)}
    single = vega.mark("rule", color=ROLE_COLOURS["other"], strokeDash=[4, 3], aria=False)
    reached = vega.mark("line", color=CASCADE, strokeWidth=2, opacity=0.6, clip=True, aria=False)
    now = [{"filter": "datum.s == setting"}, {"flatten": ["x", "y"]}]
    point = vega.mark("point", filled=True, stroke=INK, opacity=1)
    layers = [
        vega.layer(single, data=[{"y": short(tiers.alone.max())}], y=y),
        vega.layer(reached, data=curves, transform=now, x=x, y=y),
        vega.layer(point, **moved, x=x, y=y, **looks, **vega.DESCRIBED),
        *stacked_numbers(moved, x, y, f"datum.words + (datum.real > {DEAREST} ? ' →' : '')", M + 1, HEIGHT, aside),
    ]
    return vega.panel(PLANE, HEIGHT, vega.caption("accuracy and cost", 6), layer=layers)


def _histogram(tiers: _Tiers, m: int) -> dict:
    """The scores of the items that reach tier m, right and wrong, and the cut at its threshold."""
    M, K, stops = len(tiers.names), len(tiers.stops), tiers.stops.tolist()
    height = (HEIGHT - (M - 2) * BELOW) // (M - 1)
    # Bar b holds the scores over stops[b - 1] and up to stops[b]; most come to a tier where no other one accepts any.
    most = np.diff(tiers.reach[m + 1].reshape(-1, K)[-1], prepend=0).max()
    at = f"key[{m}] * {K} + datum.b"
    said = "'score up to ' + format(datum.to, '.3~f') + ': ' + datum.good + ' right, ' + datum.bad + ' wrong'"
    counted = [
        *vega.calculate(n=f"reach[{m + 1}][{at}] - (datum.b ? reach[{m + 1}][{at} - 1] : 0)"),
        *vega.calculate(good=f"left[{m}][{at}] - (datum.b ? left[{m}][{at} - 1] : 0)", bad="datum.n - datum.good"),
        *vega.calculate(described=said),
        {"filter": "datum.n > 0"},
    ]
    axis = {"title": "score of an answer" if m == M - 2 else None, "grid": False, "tickCount": 6, "format": "~g"}
    x = vega.along("from", [2 * stops[0] - stops[1], 1], axis, zero=False)
    axis = {"title": None, "tickCount": 3, "minExtent": 26, "grid": False, "format": "~s"}
    y = vega.along("bad", [0, int(most)], axis, range=[height, ABOVE])
    span = {"x": x, "x2": {"field": "to"}, "y": y, "opacity": vega.condition(f"datum.b > tau{m + 1}_i", 1, 0.35)}
    rows = [{"b": b, "from": round(stop + stops[0] - stops[1], 6), "to": stop} for b, stop in enumerate(stops)]
    cut = {"data": [{}], "transform": vega.calculate(**{"from": f"tau{m + 1}"}), "x": x}
    side = f"tau{m + 1} > {(stops[0] + 1) / 2}"
    place = {"y": 6, "align": {"expr": f"{side} ? 'right' : 'left'"}, "dx": {"expr": f"{side} ? -4 : 4"}}
    name = {"expr": f"'τ{m + 1} = ' + format(tau{m + 1}, '.{tiers.digits}f')"}
    wrong, right = vega.mark("rect", color=WRONG), vega.mark("rect", color=RIGHT, aria=False)
    layers = [
        vega.layer(wrong, data=rows, transform=counted, **span, y2={"datum": 0}, **vega.DESCRIBED),
        vega.layer(right, data=rows, transform=counted, **span, y2={"field": "n"}),
        vega.layer(vega.mark("rule", color=INK, strokeWidth=2, aria=False), **cut),
        vega.layer(vega.mark("text", text=name, fontWeight="bold", aria=False, **place), **cut),
    ]
    who = f"names[{m}] + ': answers ' + format(answered[{m}], ',') + ' of ' + format(asked[{m}], ',')"
    return vega.panel(SIDE, height, vega.caption({"expr": who}, 4, fontSize=12, limit=SIDE + 10), layer=layers)


def _in_words(tiers: _Tiers) -> str:
    """The single tiers, and the cascade where the sliders start."""
    price = tiers.prices[tiers.first]
    accuracy, paid = (table[tuple(tiers.start)] for table in _outcomes(tiers, price))
    asked = [int(reach[tuple(tiers.start[:m])]) for m, reach in enumerate(tiers.reach)] + [0]
    alone = ", ".join(f"{name} {one:.3f}" for name, one in zip(tiers.names, tiers.alone))
    answered = [100 * (asked[m] - asked[m + 1]) / tiers.items for m in range(len(tiers.names))]
    shares = ", ".join(f"{name} {share:.0f}%" for name, share in zip(tiers.names, answered))
    cuts = ", ".join(f"τ{m} = {tiers.stops[i]:.{tiers.digits}f}" for m, i in enumerate(tiers.start, 1))
    return (
        f"Accuracy of single tiers on {tiers.items:,} items: {alone}. Cascade at {cuts}, {tiers.said[tiers.first]}: "
        f"answered by {shares}; accuracy {accuracy:.3f} at {paid:#.3g} times the price of {tiers.dearest[tiers.first]}."
    )
