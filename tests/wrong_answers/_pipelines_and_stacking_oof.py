"""Wrong answers to the exercises of notebook 09: out-of-fold predictions and the paired bootstrap."""

from __future__ import annotations

from . import WrongAnswer


def _function(exercise: str, signature: str, label: str, body: str, says: str) -> WrongAnswer:
    """Every answer brings the import it uses, as in a student's own cell."""
    lines = "\n".join("    " + line for line in body.strip().splitlines())
    code = f"import numpy as np\n\n\ndef {signature}:\n{lines}\n"
    return WrongAnswer(f"pipelines_and_stacking.{exercise}", label, code, says)


def _oof(label: str, body: str, says: str) -> WrongAnswer:
    return _function("oof_predictions", "my_oof(fit, X, y, k)", label, body, says)


def _folds(label: str, says: str, folds: str = "np.arange(N) % k", numbers: str = "range(k)", train: str = "~inside",
           labels: str = "~inside", test: str = "inside", write: str = "out[inside] = rows", value: str = "out") -> WrongAnswer:
    """The loop over the folds; `rows` are the predictions of one of them, `parts` all that came so far."""
    body = f"""
N = len(X)
folds, out, parts = {folds}, np.zeros((N, 3)), []
for fold in {numbers}:
    inside = folds == fold
    f = fit(X[{train}], y[{labels}])
    rows = f(X[{test}])
    parts.append(rows)
    {write}
return {value}"""
    return _oof(label, body, says)


def _bootstrap(label: str, value: str, says: str, before: str = "") -> WrongAnswer:
    """One line; `d` are the R mean differences, `q` the two quantiles."""
    body = f"""
q, d = [0.025, 0.975], (a - b)[index].mean(axis=1)
{before}
return {value}"""
    return _function("paired_bootstrap", "my_paired_bootstrap(a, b, index)", label, body, says)


OUTER = "Every model was fitted on ALL rows"
WRONG = [
    # --- oof_predictions ---
    _oof("fitted on all", "return fit(X, y)(X)", OUTER),
    _folds("fitted on all, fold by fold", OUTER, train=":", labels=":"),
    _folds("fitted on the fold", "fitted on this very fold", train="inside", labels="inside"),
    _folds("inside and outside swapped", "The two are swapped", train="inside", labels="inside", test="~inside",
           write="out[~inside] = rows"),
    _folds("others averaged", "The two are swapped", train="inside", labels="inside", test="~inside",
           write="out[~inside] += rows / (k - 1)"),
    _folds("all models averaged", "You average the predictions of several models", test=":", write="out += rows / k"),
    _folds("models averaged at the end", "You average the predictions of several models", test=":", write="pass",
           value="np.mean(parts, axis=0)"),
    _folds("seen rows averaged", "You average the predictions of several models", test="~inside", write="out[~inside] += rows / (k - 1)"),
    _folds("seen rows overwritten", "fitted on row 0 itself", test="~inside", write="out[~inside] = rows"),
    _folds("model of the next fold", "a model that has seen it, that of another fold", test="folds == (fold + 1) % k",
           write="out[folds == (fold + 1) % k] = rows"),
    _folds("in fold order", "in the order of the folds", value="np.concatenate(parts)"),
    _folds("in fold order, stacked", "in the order of the folds", value="np.vstack(parts)"),
    _folds("a list of the parts", "all rows of one length", value="parts"),
    _folds("blocks", "blocks of neighbouring rows", folds="np.repeat(np.arange(k), -(-N // k))[:N]"),
    _oof("blocks of array_split", """
out = np.zeros((len(X), 3))
for part in np.array_split(np.arange(len(X)), k):
    rest = np.setdiff1d(np.arange(len(X)), part)
    out[part] = fit(X[rest], y[rest])(X[part])
return out""", "blocks of neighbouring rows"),
    _oof("blocks without the remainder", """
out, size = np.zeros((len(X), 3)), len(X) // k
for j in range(k):
    part = np.arange(j * size, (j + 1) * size)
    rest = np.setdiff1d(np.arange(len(X)), part)
    out[part] = fit(X[rest], y[rest])(X[part])
return out""", "The last N % k rows were not predicted"),
    _folds("remainder left out", "The last N % k rows were not predicted", value="out[: N // k * k]"),
    _folds("i // k", "You put row i into fold i // k", folds="np.arange(N) // k", numbers="range(N // k + 1)"),
    _folds("shuffled", "no shuffling here", folds="np.random.permutation(np.arange(N) % k)"),
    _folds("drawn folds", "Your folds are not i % k", folds="np.random.default_rng(3).permutation(np.arange(N) % k)"),
    _folds("last fold forgotten", "The last fold was never predicted", numbers="range(k - 1)"),
    _folds("counted from 1", "Fold 0 was never predicted", numbers="range(1, k)"),
    _folds("1 to k - 1 and 1 again", "Fold 0 was never predicted", numbers="[*range(1, k), 1]"),
    _folds("returned too early", "Only one fold was predicted", write="out[inside] = rows; return out"),
    _folds("one part returned", "Only one fold was predicted", write="return rows"),
    _folds("last part returned", "Only one fold was predicted", value="rows"),
    _oof("one model", """
inside = np.arange(len(X)) % k == k - 1
return fit(X[~inside], y[~inside])(X)""", "One model predicts all rows"),
    _oof("one model of the last folds", """
inside = np.arange(len(X)) % k == 0
return fit(X[~inside], y[~inside])(X)""", "One model predicts all rows"),
    _folds("leave one out", "You leave only the row itself out", folds="np.arange(N)", numbers="range(N)"),
    _folds("two folds out", "You leave more than its own fold out", train="~inside & (folds != (fold + 1) % k)",
           labels="~inside & (folds != (fold + 1) % k)"),
    _folds("fitted on the next fold alone", "should be fitted on all", train="folds == (fold + 1) % k", labels="folds == (fold + 1) % k"),
    _folds("first labels", "The labels do not belong to the rows", labels=": int((~inside).sum())"),
    _folds("all labels", "labels: cut X and y in the same way", labels=":"),
    _folds("labels of the fold", "labels: cut X and y in the same way", labels="inside"),
    _folds("decisions", "These are decisions (argmax)", value="out.argmax(axis=1)"),
    _folds("transposed", "The result is transposed", value="out.T"),
    _folds("true class", "the prediction for the true class only", value="out[np.arange(N), y]"),
    _folds("divided by k", "The predictions are divided by k", value="out / k"),
    _oof("method", """
inside = np.arange(len(X)) % k == 0
return fit(X[~inside], y[~inside]).predict_proba(X[inside])""", "fit returns a plain function f"),
    _oof("one row at a time", """
rest = np.arange(len(X)) % k
return np.array([fit(X[rest != i % k], y[rest != i % k])(X[i]) for i in range(len(X))])""", "f was given one row of shape (4,)"),
    _oof("labels", "return np.eye(3)[y]", "These are the labels themselves"),
    _oof("nothing fitted", "return np.full((len(X), 3), 1 / 3)", "Your function never calls fit"),
    _folds("written to the front", "The shapes do not line up", write="out[: len(X)] = rows"),
    _oof("two columns", """
out = np.zeros((len(X), 2))
for j in range(k):
    inside = np.arange(len(X)) % k == j
    out[inside] = fit(X[~inside], y[~inside])(X[inside])
return out""", "their predictions have C columns"),
    _folds("X in place", "changed its input (argument 2)", write="out[inside] = rows; X[inside] = 0"),
    _folds("nothing returned", "did you forget `return`", value="print(out.shape)"),
    # --- paired_bootstrap ---
    _bootstrap("unpaired, reversed", "np.quantile(a[index].mean(1) - b[index[::-1]].mean(1), q)",
               "resampled by different rows of index"),
    _bootstrap("unpaired, next row", "np.quantile(a[index].mean(1) - b[np.roll(index, 1, axis=0)].mean(1), q)",
               "resampled by different rows of index"),
    _bootstrap("all pairs of resamples", "np.quantile(a[index].mean(1)[:, None] - b[index].mean(1), q)",
               "resampled by different rows of index"),
    _bootstrap("b drawn anew", "np.quantile(a[index].mean(1) - b[other].mean(1), q)", "draw no sentences of your own",
               "other = np.random.randint(0, len(a), index.shape)"),
    _bootstrap("index drawn anew", "np.quantile((a - b)[index].mean(1), q)", "draw no sentences of your own",
               "index = np.random.randint(0, len(a), index.shape)"),
    _bootstrap("fixed draw", "np.quantile((a - b)[i].mean(1), q)", "Your result does not depend on index",
               "i = np.random.default_rng(0).integers(0, len(a), index.shape)"),
    _bootstrap("only a resampled", "np.quantile(a[index].mean(1) - b.mean(), q)", "Only one of the two systems is resampled"),
    _bootstrap("only b resampled", "np.quantile(a.mean() - b[index].mean(1), q)", "Only one of the two systems is resampled"),
    _bootstrap("intervals subtracted", "np.quantile(a[index].mean(1), q) - np.quantile(b[index].mean(1), q)",
               "an interval for each system"),
    _bootstrap("widest difference", "u[0] - v[1], u[1] - v[0]", "an interval for each system",
               "u, v = np.quantile(a[index].mean(1), q), np.quantile(b[index].mean(1), q)"),
    _bootstrap("1.96 deviations", "d.mean() - 1.96 * d.std(), d.mean() + 1.96 * d.std()", "a multiple of a standard deviation"),
    _bootstrap("two deviations", "(a - b).mean() - 2 * d.std(ddof=1), (a - b).mean() + 2 * d.std(ddof=1)",
               "a multiple of a standard deviation"),
    _bootstrap("standard error", "(a - b).mean() - 1.96 * s, (a - b).mean() + 1.96 * s", "a multiple of a standard deviation",
               "s = (a - b).std(ddof=1) / np.sqrt(len(a))"),
    _bootstrap("standard error of the resamples", "d.mean() - 1.96 * s, d.mean() + 1.96 * s", "a multiple of a standard deviation",
               "s = d.std() / np.sqrt(len(d))"),
    _bootstrap("5 and 95", "np.quantile(d, [0.05, 0.95])", "The quantiles are others"),
    _bootstrap("percentile 5 and 95", "np.percentile(d, [5, 95])", "The quantiles are others"),
    _bootstrap("0.25 and 97.5", "np.quantile(d, [0.0025, 0.9975])", "The quantiles are others"),
    _bootstrap("percents for quantile", "np.quantile(d, [2.5, 97.5])", "np.quantile counts from 0 to 1"),
    _bootstrap("shares for percentile", "np.percentile(d, [0.025, 0.975])", "from 0 to 100"),
    _bootstrap("b - a", "np.quantile(-d, q)", "This is b minus a"),
    _bootstrap("single differences", "np.quantile(a - b, q)", "quantiles of the single differences"),
    _bootstrap("no mean", "np.quantile((a - b)[index], q)", "The mean over the sentences of each resample is missing"),
    _bootstrap("no mean, axis 0", "np.quantile((a - b)[index], q, axis=0)", "The mean over the sentences of each resample is missing"),
    _bootstrap("mean over the resamples", "np.quantile((a - b)[index].mean(axis=0), q)", "The mean runs over the resamples"),
    _bootstrap("quantiles within", "np.quantile((a - b)[index], q, axis=1).mean(axis=1)", "You take quantiles within each resample"),
    _bootstrap("sum", "np.quantile((a - b)[index].sum(axis=1), q)", "Your differences are sums"),
    _bootstrap("median", "np.quantile(np.median((a - b)[index], axis=1), q)", "You take the median of each resample"),
    _bootstrap("extremes", "d.min(), d.max()", "the smallest and the largest difference"),
    _bootstrap("ratio", "np.quantile(a[index].mean(1) / b[index].mean(1), q)", "You compare by a ratio"),
    _bootstrap("absolute", "np.quantile(np.abs(d), q)", "The sign of the differences is lost"),
    _bootstrap("centred", "np.quantile(d - (a - b).mean(), q)", "The observed difference is subtracted"),
    _bootstrap("reflected", "2 * (a - b).mean() - h, 2 * (a - b).mean() - l", "the reflected interval", "l, h = np.quantile(d, q)"),
    _bootstrap("rounded", "np.quantile(d, q).round(2)", "Your result is rounded"),
    _bootstrap("swapped", "np.quantile(d, q[::-1])", "The two are swapped"),
    _bootstrap("share of wins", "(d > 0).mean()", "You return one number"),
    _bootstrap("shares of wins", "(d <= 0).mean(), (d > 0).mean()", "a share of resamples in which one system wins"),
    _bootstrap("sorted places", "s[int(0.025 * len(d))], s[int(0.975 * len(d))]", "at a whole-numbered place",
               "s = np.sort(d)"),
    _bootstrap("each sentence once", "np.quantile(e, q)", "You count every sentence of a resample once",
               "e = [(a - b)[np.unique(row)].mean() for row in index]"),
    _bootstrap("last resample left out", "np.quantile(d[:-1], q)", "Not all resamples"),
    _bootstrap("as many resamples as sentences", "np.quantile([(a - b)[index[r]].mean() for r in range(len(a))], q)", "Not all resamples"),
    _bootstrap("first resample only", "np.quantile((a - b)[index[0]], q)", "Not all resamples"),
    _bootstrap("divided by the root of N", "np.quantile(d, q) / np.sqrt(len(a))", "scaled by a power of N or R"),
    _bootstrap("width", "np.quantile(d, 0.975) - np.quantile(d, 0.025)", "You return one number"),
    _bootstrap("three numbers", "np.quantile(d, [0.025, 0.5, 0.975])", "low and high are one number each"),
    _bootstrap("three in a tuple", "d.mean(), np.quantile(d, 0.025), np.quantile(d, 0.975)", "You return 3 numbers"),
    _bootstrap("all differences", "d", "low and high are one number each"),
    _bootstrap("dim", "np.quantile((a - b)[index].mean(dim=1), q)", "NumPy says axis= in place of dim="),
    _bootstrap("in place", "np.quantile(a[index].mean(1), q)", "changed its input (argument 1)", "a -= b"),
    _bootstrap("nothing returned", "print(np.quantile(d, q))", "did you forget `return`"),
]
