"""The same YAML through mergekit and through our own program: the same tensors come out.

mergekit 0.1.5 is run inside this process (its start alone takes many seconds). Two things of its own are not repeated
here: it draws other random numbers for DARE (compared statistically), and where several entries are equal at the
trimming threshold it keeps those that an unstable sort happens to put first. `stable_sort` takes that accident away.
"""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from checkpoints import fine_tuned, load, random_state, save_llama

from course_utils import merging
from course_utils.merging import command
from course_utils.merging.task_vectors import seed_for

ROOT = Path(__file__).parents[2]
LEARNT = ROOT / "data" / "models"


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Three relatives of a base in each of three number types, as {"float32": [base, a, b, c], …}."""
    folder, found = tmp_path_factory.mktemp("models"), {}
    for dtype in ("float32", "bfloat16", "float16"):
        base = random_state(0, getattr(torch, dtype))
        states = [base, *(fine_tuned(base, seed) for seed in (1, 2, 3))]
        found[dtype] = [str(save_llama(folder / dtype / str(i), state)) for i, state in enumerate(states)]
    return found


def ours(text: str, tmp_path: Path, seed: int = 0) -> dict[str, torch.Tensor]:
    return load(command.merge(command.loads(text), tmp_path / f"ours-{seed}", seed=seed, progress=False))


def config(method: str, folders: list[str], each: list[dict] | None = None, base: bool = True, **rest) -> str:
    """The YAML of a merge of all folders; the first is the base, where the method has one, and gets no parameters."""
    listed = folders[1:] if base else folders
    parameters = each or [{}] * len(listed)
    models = [{"model": folder, "parameters": own} for folder, own in zip(listed, parameters, strict=True)]
    return yaml.safe_dump(
        {"merge_method": method, "models": models, **rest} | ({"base_model": folders[0]} if base else {})
    )


def weighted(*weights) -> list[dict]:
    return [{"weight": weight} for weight in weights]


MLP_AND_REST = [{"filter": "mlp", "value": [1, 0.5, 0.7, 0.3, 0]}, {"value": 0.5}]
THREE = weighted(1.0, 0.6, 0.3)
DENSE = [{"weight": 0.7, "density": 0.2}, {"weight": 0.5, "density": 0.5}, {"weight": 0.4, "density": 0.9}]
BY_PART = [
    {"weight": [{"filter": "mlp", "value": [0, 1]}, {"value": 0.5}]},
    {"weight": [{"filter": "self_attn", "value": 0.1}, {"value": 0.9}]},
    {"weight": 0.2},
]
BY_LAYER = [
    {"weight": 1, "density": [1, 0.7, 0.1]},
    {"weight": 1, "density": 0.5},
    {"weight": [0, 0.3, 0.7, 1], "density": 0.3},
]
CASES = {  # name, which begins with the method: (parameters of each model, parameters of the whole merge)
    "linear": (weighted(0.5, 2, 1, -0.3), {}),
    "linear, not normalised": (weighted(0.4, 0.3, 0.2, 0.2), {"normalize": False}),
    "linear, weight by layer": (weighted([0, 1], [1, 0.5, 1], 1, "1e-1"), {}),
    "task_arithmetic": (THREE, {}),
    "task_arithmetic, lambda": (THREE, {"lambda": 0.4}),
    "task_arithmetic, normalised": (THREE, {"normalize": True}),
    "task_arithmetic, negative weight": (weighted(-1, 1, 0.5), {}),
    "task_arithmetic, weight by part": (BY_PART, {}),
    "ties": (DENSE, {}),
    "ties, density 1": (THREE, {"density": 1.0}),
    "ties, density 0.01": (THREE, {"density": 0.01}),
    "ties, density 0": (THREE, {"density": 0}),
    "ties, not normalised": (DENSE, {"normalize": False}),
    "ties, lambda": (DENSE, {"lambda": 1.7, "int8_mask": True}),
    "ties, rescaled": (DENSE, {"rescale": True}),
    "ties, negative weight": (weighted(-0.5, 1, 0.5), {"density": 0.4}),
    "ties, density by layer": (BY_LAYER, {}),
    "dare_ties, nothing dropped": (THREE, {"density": 1}),
    "dare_ties, all dropped": (THREE, {"density": 0}),
    "dare_linear, nothing dropped": (THREE, {"density": 1}),
    "della, nothing dropped": (THREE, {"density": 1, "lambda": 0.6}),
    "della, all dropped": (THREE, {"density": 0}),
    "della_linear, nothing dropped": (THREE, {"density": 1, "normalize": True}),
    "model_stock": (None, {}),
    "model_stock, filter-wise": (None, {"filter_wise": True}),
    "slerp": (None, {"t": 0.3}),
    "slerp, t=0": (None, {"t": 0}),
    "slerp, t=1": (None, {"t": 1}),
    "slerp, beyond": (None, {"t": 1.4}),
    "slerp, by layer": (None, {"t": [0, 0.5, 0.3, 0.7, 1]}),
    "slerp, by part": (None, {"t": [{"filter": "self_attn", "value": [0, 0.5, 0.3, 0.7, 1]}, *MLP_AND_REST]}),
}


def text_of(name: str, folders: list[str], **rest) -> str:
    method, (each, parameters) = name.split(",")[0], CASES[name]
    folders = folders[:2] if method == "slerp" else folders
    return config(method, folders, each, base=method != "linear", parameters=parameters, **rest)


def difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    assert a.keys() == b.keys() and all(a[name].dtype == b[name].dtype and a[name].shape == b[name].shape for name in a)
    return max((a[name].double() - b[name].double()).abs().max().item() for name in a)


def steps(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """How many steps of b's number type lie between the two, entry by entry.

    Where large numbers cancel, what float32 itself leaves open (1e-7) is many steps of the small number that is left.
    """
    assert a.keys() == b.keys()
    counts = {}
    for name, right in b.items():
        kind = torch.finfo(right.dtype)
        assert a[name].dtype == right.dtype
        step = kind.eps * 2.0 ** right.double().abs().clamp_min(kind.smallest_normal).log2().floor()
        counts[name] = ((a[name].double() - right.double()).abs() - 1e-7).clamp_min(0) / step
    return counts


@pytest.mark.parametrize("name", CASES)
def test_float32_is_equal(name, models, mergekit, tmp_path):
    text = text_of(name, models["float32"])
    found = difference(ours(text, tmp_path), mergekit(text))
    print(f"PARITY | {name} | float32 | {found:.1e}")
    assert found <= 1e-5


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", CASES)
def test_half_precision_is_within_one_rounding(name, dtype, models, mergekit, stable_sort, tmp_path):
    """Read as float32 by both, rounded once at the end: never more than one step of the number type apart."""
    text = text_of(name, models[dtype], dtype="float32", out_dtype=dtype)
    most = max(count.max().item() for count in steps(ours(text, tmp_path), mergekit(text)).values())
    print(f"PARITY | {name} | {dtype}, read as float32 | {most:.0f} steps")
    assert most <= 1


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith("model_stock")])
def test_half_precision_throughout(name, dtype, models, mergekit, stable_sort, tmp_path):
    """`dtype: bfloat16`: mergekit then also weighs, adds, votes and divides in bfloat16, we do that in float32.

    Linear and slerp use float32 in both. Elsewhere mergekit rounds three to five times where we round once, so a few
    entries are more than one step apart, and a vote that is balanced to within its rounding can go the other way.
    (Model Stock is left out: mergekit then adds up its inner products in bfloat16, and gets other angles.)
    """
    text = text_of(name, models[dtype], dtype=dtype)
    a, b = ours(text, tmp_path), mergekit(text)
    states, counts = [load(folder) for folder in models[dtype]], []
    for key, theirs in b.items():
        taking_part = torch.stack([theirs, *(state[key] for state in states)])
        size = taking_part.double().abs().amax(0)  # the largest number
        step = torch.finfo(theirs.dtype).eps * 2.0 ** size.log2().floor()
        counts.append(((a[key].double() - theirs.double()).abs() / step).flatten())
    count = torch.cat(counts)
    shares = [(count > most).double().mean().item() for most in (1, 3)]
    print(f"PARITY | {name} | {dtype} throughout | {shares[0]:.2%} over 1 step, {shares[1]:.2%} over 3")
    if name.startswith(("linear", "slerp")):
        assert shares[0] == 0
    else:
        assert shares[0] <= (0.03 if "lambda" in name or "rescaled" in name else 0.005) and shares[1] <= 0.005


# ---------------------------------------------------------------- layers


def sliced(method: str, parts: list[list[tuple]], **rest) -> str:
    """A merge of slices; each source is (model, first layer, end layer) and, perhaps, its parameters."""
    keys = ("model", "layer_range", "parameters")
    slices = [{"sources": [dict(zip(keys, (m, [start, end], *own))) for m, start, end, *own in part]} for part in parts]
    return yaml.safe_dump({"merge_method": method, "slices": slices, **rest})


def test_passthrough_stacks_layers(models, mergekit, tmp_path):
    """What stands before the layers comes from the first slice's model, what stands behind them from the last one's."""
    _, a, b, _ = models["float32"]
    text = sliced("passthrough", [[(a, 0, 3)], [(b, 1, 4)], [(b, 3, 4)]])
    found, source_a, source_b = ours(text, tmp_path), load(a), load(b)
    assert difference(found, mergekit(text)) == 0 and len({key for key in found if "input_layernorm" in key}) == 7
    assert torch.equal(found["model.layers.3.mlp.up_proj.weight"], source_b["model.layers.1.mlp.up_proj.weight"])
    assert torch.equal(found["model.embed_tokens.weight"], source_a["model.embed_tokens.weight"])
    assert torch.equal(found["lm_head.weight"], source_b["lm_head.weight"])


def test_passthrough_scale(models, mergekit, tmp_path):
    _, a, _, _ = models["float32"]
    scale = {"scale": [{"filter": "o_proj", "value": 0.0}, {"filter": "down_proj", "value": [0.5, 2]}, {"value": 1.0}]}
    text = sliced("passthrough", [[(a, 0, 3)], [(a, 2, 4, scale)]])
    assert difference(ours(text, tmp_path), mergekit(text)) == 0


def test_passthrough_of_one_model_is_a_copy(models, mergekit, tmp_path):
    text = yaml.safe_dump({"merge_method": "passthrough", "models": [{"model": models["bfloat16"][1]}]})
    assert difference(ours(text, tmp_path), mergekit(text)) == 0


@pytest.mark.parametrize("method", ["slerp", "ties", "linear"])
def test_slices_of_merged_layers(method, models, mergekit, tmp_path):
    """Two slices, the second with layers that do not stand at the same height, parameters at every level."""
    base, a, *_ = models["float32"]
    each = {"slerp": {}, "ties": {"weight": 0.7, "density": [0.2, 0.9]}, "linear": {"weight": [0.2, 1]}}[method]
    rest = {"slerp": {"t": [0.1, 0.9]}, "ties": {"lambda": 0.8, "weight": 1}, "linear": {"weight": 0.5}}[method]
    parts = [[(base, 0, 3), (a, 0, 3, each)], [(base, 1, 3), (a, 2, 4)]]
    text = sliced(method, parts, parameters=rest, **({} if method == "linear" else {"base_model": base}))
    assert difference(ours(text, tmp_path), mergekit(text)) <= 1e-5


# ---------------------------------------------------------------- real models, and what real folders look like


HALF = [{"weight": 0.5, "density": 0.5}, {"weight": 0.3, "density": 0.7}, {"weight": 1, "density": 0.3}]
REAL = {
    "linear": (weighted(1, 2, 3, 4), {}),
    "task_arithmetic": (weighted(0.4, 0.4, 0.4), {}),
    "ties": (weighted(1.0, 1.0, 1.0), {"density": 0.2}),
    "ties, half": (HALF, {}),
    "model_stock": (None, {}),
    "model_stock, filter-wise": (None, {"filter_wise": True}),
}


@pytest.mark.parametrize("name", REAL)
def test_learnt_models(name, mergekit, stable_sort, tmp_path):
    """Children of one base: the base, both Bibles and the film reviews, stored in float16, computed in float32."""
    method, (each, parameters) = name.split(",")[0], REAL[name]
    folders = [str(LEARNT / model) for model in ("base", "web", "kjv", "movies")]
    text = config(method, folders, each, base=method != "linear", dtype="float32", parameters=parameters)
    found = difference(ours(text, tmp_path), mergekit(text))
    print(f"PARITY | {name} | base, web, kjv, movies in float32 | {found:.1e}")
    assert found <= 1e-5


def test_learnt_models_slerp(mergekit, tmp_path):
    """mergekit wants a tokenizer in the base's folder, and takes the same for a model that has none."""
    web = shutil.copytree(LEARNT / "web", tmp_path / "web")
    shutil.copytree(LEARNT / "tokenizer", web, dirs_exist_ok=True)
    t = [{"filter": "self_attn", "value": [0, 1]}, {"value": 0.4}]
    rest = {"dtype": "float32", "tokenizer_source": "base", "parameters": {"t": t}}
    text = config("slerp", [str(web), str(LEARNT / "kjv")], **rest)
    found = difference(ours(text, tmp_path), mergekit(text))
    print(f"PARITY | slerp, by part | web, kjv in float32 | {found:.1e}")
    assert found <= 1e-5


def test_an_unstable_sort_changes_nothing_but_ties(mergekit, tmp_path):
    """mergekit as it is. float16 children have many entries that moved equally far: it matters at the threshold."""
    base, child = (str(LEARNT / name) for name in ("base", "kjv"))
    text = config("ties", [base, child], [{"weight": 1.0, "density": 0.3}], dtype="float32")
    a, b, old, new = ours(text, tmp_path), mergekit(text), load(base), load(child)
    for name, start in old.items():
        tau = (new[name].float() - start.float()).abs()
        threshold = tau.flatten().sort(descending=True).values[max(1, int(0.3 * tau.numel())) - 1]
        differ = (a[name] - b[name]).abs() > 1e-6
        assert (tau[differ] == threshold).all()
        assert (a[name] != start.float()).sum() == (b[name] != start.float()).sum()


def test_tied_head_beside_an_own_head(mergekit, tmp_path):
    """A model whose head is its embeddings, merged with one that has a head of its own."""
    state = random_state(0)
    tied = save_llama(tmp_path / "tied", {k: v for k, v in state.items() if "lm_head" not in k}, tied=True)
    own = save_llama(tmp_path / "own", fine_tuned(state, 1))
    for first, second in ((tied, own), (own, tied)):
        text = config("linear", [str(first), str(second)], [{"weight": 1}] * 2, base=False)
        out = tmp_path / f"out-{first.name}"
        command.merge(command.loads(text), out, progress=False)
        assert difference(load(out), mergekit(text)) <= 1e-6
        assert yaml.safe_load((out / "config.json").read_text(encoding="utf-8"))["tie_word_embeddings"] is False


def test_shards_and_mixed_number_types(mergekit, stable_sort, tmp_path):
    base = random_state(0, torch.bfloat16)
    folders = [
        save_llama(tmp_path / "base", base, shards=3),
        save_llama(tmp_path / "half", fine_tuned(base, 1, dtype=torch.float16), shards=2),
        save_llama(tmp_path / "full", fine_tuned(base, 2, dtype=torch.float32)),
    ]
    text = config("ties", list(map(str, folders)), [{"weight": 1.0, "density": 0.4}, {"weight": 0.5, "density": 0.6}])
    found, expected = ours(text, tmp_path), mergekit(text)
    assert all(tensor.dtype == torch.float32 for tensor in found.values()) and difference(found, expected) <= 1e-5


def test_both_programs_from_the_command_line(models, tmp_path):
    """One file, two commands; what comes out loads and says the same."""
    from click.testing import CliRunner
    from mergekit.scripts.run_yaml import main
    from transformers import LlamaForCausalLM

    base, a, *_ = models["float32"]
    parts = [[(base, 0, 2), (a, 0, 2)], [(base, 1, 4), (a, 1, 4)]]
    text = sliced("slerp", parts, base_model=base, parameters={"t": 0.4}, dtype="float32")
    (tmp_path / "config.yml").write_text(text, encoding="utf-8")
    arguments = [str(tmp_path / "config.yml"), str(tmp_path / "theirs")]
    result = CliRunner().invoke(main, [*arguments, "--no-write-model-card", "--quiet", "--no-copy-tokenizer"])
    assert result.exit_code == 0, result.output
    assert command.main([arguments[0], str(tmp_path / "ours"), "--quiet"]) == 0
    both = [LlamaForCausalLM.from_pretrained(tmp_path / name) for name in ("ours", "theirs")]
    logits = [model(torch.arange(12)[None]).logits for model in both]
    assert torch.allclose(*logits, atol=1e-5)


# ---------------------------------------------------------------- state dicts


def theirs(base: dict, states: list[dict], method: object, **parameters) -> dict[str, torch.Tensor]:
    from mergekit.merge_methods import merge_state_dicts

    return merge_state_dicts([base, *states], method, base=0, parameters=parameters)


@pytest.mark.parametrize(
    "method, options, parameters",
    [
        ("task_arithmetic", {"weights": [1, 0.5], "lam": 0.3}, {"weight": [1, 0.5], "lambda": 0.3}),
        ("ties", {"density": 0.3, "weights": [1, 0.5]}, {"density": 0.3, "weight": [1, 0.5]}),
        ("ties", {"density": [0.1, 1], "normalize": False}, {"density": [0.1, 1], "weight": 1, "normalize": False}),
        ("dare_ties", {"density": 1.0}, {"density": 1, "weight": 1}),
        ("dare_linear", {"density": 1.0, "lam": 0.5}, {"density": 1, "weight": 1, "lambda": 0.5}),
        ("model_stock", {}, {}),
        ("model_stock", {"filter_wise": True}, {"filter_wise": True}),
    ],
)
def test_state_dicts_with_mergekits_options(method, options, parameters):
    base = random_state(0)
    states = [fine_tuned(base, seed) for seed in (1, 2)]
    found = merging.METHODS[method](base, states, **options, **merging.MERGEKIT.get(method, {}))
    assert difference(found, theirs(base, states, method, **parameters)) <= 1e-6


def test_sign_by_count():
    from mergekit.merge_methods.generalized_task_arithmetic import ConsensusMethod, GeneralizedTaskArithmeticMerge
    from mergekit.sparsify import SparsificationMethod

    magnitude = SparsificationMethod.magnitude
    method = GeneralizedTaskArithmeticMerge(ConsensusMethod.count, magnitude, True, False, "ties_count", None, None)
    base = random_state(0)
    states = [fine_tuned(base, seed) for seed in (1, 2, 3)]
    found = merging.ties(base, states, density=0.6, elect="count", **merging.MERGEKIT["ties"])
    assert difference(found, theirs(base, states, method, density=0.6, weight=1.0)) <= 1e-6


# ---------------------------------------------------------------- DARE: other random numbers, the same distribution


@pytest.mark.parametrize("method", ["dare_linear", "dare_ties"])
def test_dare_has_mergekits_distribution(method):
    """Mean and spread of every entry over many draws, within five standard errors of one another."""
    from mergekit.merge_methods import merge_tensors

    draws, weights = 600, [1, 0.5, 0.7]
    base = random_state(0)["model.layers.0.self_attn.q_proj.weight"][:16]
    states = [fine_tuned({"w": base}, seed)["w"] for seed in (1, 2, 3)]
    torch.manual_seed(0)
    parameters = {"density": 0.4, "weight": weights}
    expected = [merge_tensors([base, *states], method, base_index=0, parameters=parameters) for _ in range(draws)]
    dare = partial(merging.METHODS[method], {"w": base}, [{"w": state} for state in states], **merging.MERGEKIT[method])
    found = [dare(density=0.4, weights=weights, seed=seed)["w"] for seed in range(draws)]
    found, expected = torch.stack(found), torch.stack(expected)
    error = ((found.var(0) + expected.var(0)) / draws).sqrt()
    z = (found.mean(0) - expected.mean(0)) / error
    assert z.abs().max() < 5 and z.mean().abs() < 0.15
    assert (found.std(0) / expected.std(0)).log().abs().max() < 0.4
    assert (found.std() / expected.std()).log().abs() < 0.02


def test_dare_from_the_same_yaml(models, mergekit, tmp_path):
    """In both programs each tensor's change has the undropped task vector's norm, and the same share is dropped."""
    base, a, *_ = models["float32"]
    text = config("dare_linear", [base, a], [{"weight": 1.0, "density": 0.3}])
    old, new = load(base), load(a)
    for merged in (ours(text, tmp_path, seed=1), mergekit(text, seed=1)):
        for name, start in old.items():
            change, tau = merged[name] - start, new[name] - start
            assert change.abs().sum() == pytest.approx(tau.abs().sum().item(), rel=1e-3)
            assert (change != 0).double().mean() == pytest.approx(0.3, abs=5 * (0.21 / start.numel()) ** 0.5)
    assert difference(ours(text, tmp_path, seed=2), load(tmp_path / "ours-1")) > 0


# ---------------------------------------------------------------- DELLA: the same probabilities, and given masks


@pytest.fixture
def mergekits_coins(monkeypatch, stable_sort):
    """mergekit's probabilities in the order of its calls; its coins fall as those of the generators in `sources`."""
    import mergekit.sparsify

    stable, probabilities, sources = mergekit.sparsify.torch, [], []

    class Torch:
        def __getattr__(self, name):
            return self.toss if name == "bernoulli" else getattr(stable, name)

        def toss(self, p):
            probabilities.append(p)
            return (torch.rand(p.shape, generator=sources[len(probabilities) - 1]) < p).to(p.dtype)

    monkeypatch.setattr(mergekit.sparsify, "torch", Torch())
    return probabilities, sources


@pytest.mark.parametrize("shape", [(16, 24), (40,)])
@pytest.mark.parametrize("options", [{}, {"rescale": False, "normalize": False}, {"lambda": 0.7, "normalize": True}])
@pytest.mark.parametrize("method", ["della", "della_linear"])
def test_della_has_mergekits_probabilities_and_with_its_masks_its_result(method, options, shape, mergekits_coins):
    """Seeded draws of two programs cannot agree, so both get the same coins: what they make of them is compared."""
    from mergekit.merge_methods import merge_tensors

    probabilities, sources = mergekits_coins
    density, epsilon, weights = [0.4, 0.5, 0.7], [0.15, 0.3, 0.05], [1, 0.5, 0.7]
    base = torch.randn(shape, generator=torch.Generator().manual_seed(9))
    states = [fine_tuned({"w": base}, seed)["w"] for seed in (1, 2, 3)]
    sources += [torch.Generator().manual_seed(seed_for(6, i, "w")) for i in range(3)]
    parameters = {"density": density, "epsilon": epsilon, "weight": weights} | options
    expected = merge_tensors([base, *states], method, base_index=0, parameters=parameters)
    for p, state, share, window in zip(probabilities, states, density, epsilon, strict=True):
        assert (p.reshape(shape) - merging.keep_probabilities(state - base, share, window)).abs().max() <= 1e-6
    changed = {"lambda": "lam", "normalize": "normalize"}
    named = {changed[name]: value for name, value in options.items() if name in changed}
    named |= merging.MERGEKIT[method] | ({"rescale": None} if options.get("rescale") is False else {})
    function, models = merging.METHODS[method], [{"w": state} for state in states]
    found = function({"w": base}, models, density=density, epsilon=epsilon, weights=weights, seed=6, **named)["w"]
    assert (found != base).any() and (found - expected).abs().max() <= 1e-6


@pytest.mark.parametrize("method", ["della", "della_linear"])
def test_della_from_the_same_yaml(method, models, mergekit, tmp_path):
    """One model: in both programs the change of each tensor has the norm it had, and the same share is dropped."""
    base, a, *_ = models["float32"]
    text = config(method, [base, a], [{"weight": 1.0, "density": 0.3, "epsilon": 0.1}])
    old, new = load(base), load(a)
    for merged in (ours(text, tmp_path, seed=1), mergekit(text, seed=1)):
        for name, start in old.items():
            change, tau = merged[name] - start, new[name] - start
            assert change.abs().sum() == pytest.approx(tau.abs().sum().item(), rel=1e-3)
            assert (change != 0).double().mean() == pytest.approx(0.3, abs=5 * (0.21 / start.numel()) ** 0.5)


def test_what_neither_program_merges(models, mergekit):
    base, a, b, _ = models["float32"]
    for text, words in [
        (config("della", [base, a], [{"weight": 1.0, "density": 0.9, "epsilon": 0.1}]), "density 0.9 with epsilon 0.1"),
        (config("model_stock", [base, a]), "at least two models besides the base"),
    ]:
        with pytest.raises(command.MergeError, match=words), command.prepared(command.loads(text)):
            pass
        with pytest.raises(Exception, match="Epsilon must be chosen|at least 3"):
            mergekit(text)
